"""Put the platform back to what it is right after `up`, whatever was changed, and wait until it is healthy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import redis
from psycopg import sql

from sandbox.cluster.kube import CLOSED, ready
from sandbox.derivatives import contents, manifests, settle
from sandbox.derivatives.access import Access
from sandbox.derivatives.service.models import Models, write_store
from sandbox.derivatives.service.release import Release, write
from sandbox.derivatives.setup import EARLIER, RELEASE
from sandbox.derivatives.sql import queries
from sandbox.derivatives.stores import DATA
from sandbox.errors import NotVisible
from sandbox.progress import Progress

__all__ = ["heal"]

_HEALTHY_S = 240.0
_POLL_S = 0.5
_MOST_SESSIONS = 40  # of a pod: each of the usual clients has one, the desk another; each costs every computation time
_COLD = 0.7  # of the ladders: with fewer in the cache it is warmed anew
_CLEAR_S = 180.0
_START_S = 40.0
_NOT_THE_DATABASE = ("find", DATA, "-mindepth", "1", "-maxdepth", "1", "!", "-name", "pgdata", "-delete")


def heal(access: Access, progress: Progress) -> list[str]:
    """Undo everything; return in words what had to be put back.

    Raises
    ------
    NotVisible
        Something did not become healthy in time.
    """
    restored: list[str] = []
    progress("putting back clients, market, models and nodes")
    _outside(access)
    _nodes(access, restored)
    _dumps(access)
    _objects(access, restored)
    progress("waiting for PostgreSQL and Redis")
    grown = _make_room(access)
    _wait(lambda: _stores(access), "PostgreSQL and Redis")
    _database(access, restored)
    if grown:
        restored.append("room on the database's volume")
        _shrink(access)
    _cache(access, restored)
    progress("waiting for the service")
    _wait(lambda: _rolled_out(access), "the Deployment derivatives-api")
    _pods(access, restored)
    _wait(lambda: settle.serving(access) and _rolled_out(access), "the service")
    _wait(lambda: _hedged(access), "the auto-hedger")
    if access.prometheus:
        progress("waiting until no alert fires or is about to")
        _wait(lambda: not _alerts(access), "an end of the alerts", _CLEAR_S, lambda: ", ".join(_alerts(access)))
    return restored


def _outside(access: Access) -> None:
    """The usual clients and market, the releases and models as they were; a new market day."""
    setup = access.setup
    setup.demand.unlink(missing_ok=True)
    setup.exchange.write_text(f'{{"session": {time.time_ns() // 1_000_000}}}', "utf-8")
    for path in setup.releases.glob("*.json"):
        if path.stem not in (*EARLIER, RELEASE):
            path.unlink()
    write(setup.releases, Release(RELEASE))
    if len(list(setup.models.glob("*.json"))) < 12:
        write_store(setup.models)


def _nodes(access: Access, restored: list[str]) -> None:
    """Nodes take pods again: each of a cluster of ours, of another's those that the sandbox closed."""
    for node in access.kube.document("get", "nodes")["items"]:
        name = node["metadata"]["name"]
        closed = node["metadata"].get("annotations", {}).get(CLOSED) == access.setup.sandbox_id
        if node["spec"].get("unschedulable") and (closed or not access.kube.cluster.own):
            access.kube.uncordon(name)
            restored.append(f"node {name} takes pods again")


def _dumps(access: Access) -> None:
    """Who writes onto the database's volume beside it goes, and what it wrote: the usual size is enough again."""
    access.kube("delete", "deployment", "backup", "--ignore-not-found", "--wait=true", "--timeout=30s")
    access.kube("exec", "postgres-0", "-c", "postgres", "--", *_NOT_THE_DATABASE, allowed_to_fail=True)


def _objects(access: Access, restored: list[str]) -> None:
    """Every object as `up` made it; what is not of the platform goes."""
    setup, kube = access.setup, access.kube
    ours = {"derivatives-api", "auto-hedger", "market-data", "load-generator", "exporters"}
    for one in kube.document("get", "deployments,jobs,pods")["items"]:
        app = one["metadata"].get("labels", {}).get("app")
        if one["kind"] in ("Deployment", "Job") and one["metadata"]["name"] not in ours:
            kube("delete", one["kind"].lower(), one["metadata"]["name"], "--wait=false")
            restored.append(f"{one['kind']} {one['metadata']['name']} removed")
        elif one["kind"] == "Pod" and not one["metadata"].get("ownerReferences") and app not in ours:
            kube("delete", "pod", one["metadata"]["name"], "--wait=false", "--grace-period=1")
            restored.append(f"pod {one['metadata']['name']} removed")
    kube.send("apply", [one for one in manifests.everything(setup) if one["kind"] != "StatefulSet"])
    before = _templates(access)
    kube.send("replace", [*manifests.stateful(setup), *manifests.workloads(setup, kube.versions())])
    after = _templates(access)
    for name in after:
        if before.get(name) != after[name]:
            restored.append(f"{name} as it was")
            kind, _, of = name.partition("/")
            if kind == "StatefulSet":  # a pod that never became ready is not replaced by itself
                kube("delete", "pod", "-l", f"app={of}", "--wait=false", "--grace-period=2")


def _templates(access: Access) -> dict[str, Any]:
    """What the pods of each part are made of, and how many there are where no autoscaler decides that."""
    items = access.kube.document("get", "deployments,statefulsets")["items"]
    return {
        f"{one['kind']}/{name}": (
            one["spec"]["template"],
            None if name == "derivatives-api" else one["spec"]["replicas"],
        )
        for one in items
        if (name := one["metadata"]["name"])
    }


def _make_room(access: Access) -> bool:
    """Where the database does not start for want of room, give its volume more; whether that was so."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if _stores(access):
            return False
        for words in (["--previous"], []):
            log = access.kube("logs", "postgres-0", "-c", "postgres", "--tail=60", *words, allowed_to_fail=True)
            if "No space left on device" in log:
                access.kube.send("replace", [manifests.postgres(access.setup, 2 * manifests.VOLUME_MIB)])
                access.kube("delete", "pod", "postgres-0", "--wait=false", "--grace-period=1")
                return True
        time.sleep(_POLL_S)
    return False


def _shrink(access: Access) -> None:
    """Remove what is not the database's from the volume, and give it its usual size again."""
    access.kube("exec", "postgres-0", "-c", "postgres", "--", *_NOT_THE_DATABASE)
    access.kube.send("replace", [manifests.postgres(access.setup)])
    access.kube("delete", "pod", "postgres-0", "--wait=true", "--grace-period=10")
    _wait(lambda: _stores(access), "PostgreSQL")


def _stores(access: Access) -> bool:
    """Whether both answer; a pod that is in back-off is made to start now."""
    try:
        return settle.stores_answer(access)
    except (psycopg.Error, redis.RedisError):
        for pod in [*access.kube.pods("postgres"), *access.kube.pods("redis")]:
            statuses = pod.get("status", {}).get("containerStatuses", [])
            waiting = [one.get("state", {}).get("waiting", {}).get("reason") for one in statuses]
            if "CrashLoopBackOff" in waiting:
                access.kube("delete", "pod", pod["metadata"]["name"], "--wait=false", "--grace-period=1")
        return False


def _database(access: Access, restored: list[str]) -> None:
    """No foreign session, every index, no settings but the first, tables of the usual size, an even book."""
    statements = queries("healing")
    with access.database() as connection:
        ended = connection.execute(statements.end_others).fetchall()
        if ended:
            restored.append(f"{len(ended)} sessions ended")
        changed = connection.execute(statements.changed_settings).fetchall()
        if changed:
            connection.execute(statements.reset_settings)
            connection.execute(statements.reload)
            restored.append(f"settings of PostgreSQL: {', '.join(name for (name,) in changed)}")
        (rows, history) = connection.execute(statements.rows).fetchall()[0]
        if rows > 1.5 * contents.TRADES or rows < 0.5 * contents.TRADES or history > 3 * contents.HISTORY:
            for name in ("option_trades", "greeks_history"):
                connection.execute(sql.SQL(statements.empty).format(sql.Identifier(name)))
            contents.fill_rows(connection)
            restored.append("tables of the usual size")
        restored += contents.reset_indexes(connection)
    with access.database("axiom_prod") as connection, access.cache() as client:
        contents.reset_book(connection, client)


def _cache(access: Access, restored: list[str]) -> None:
    with access.cache() as client:
        for name, value in {"maxmemory": "32mb", "maxmemory-policy": "volatile-lru"}.items():
            client.config_set(name, value)
        client.set(contents.MARK, access.setup.sandbox_id)
        keys = [key for key in client.scan_iter("*", count=5000) if key.count(":") > 2]
        sample = keys[:: max(1, len(keys) // 50)]
        ages = [contents.age_s(client.get(key)) for key in sample]
        lives = [client.ttl(key) for key in sample]
        size = len(contents.every_key(Release(RELEASE)))
        odd = len(keys) > 1.2 * size or len(keys) < _COLD * size
        if odd or max(ages, default=0.0) > 5000.0 or min(lives, default=1) == -1:
            for start in range(0, len(keys), 1000):
                client.delete(*keys[start : start + 1000])
            contents.warm_cache(client, Models(access.setup.models), Release(RELEASE))
            restored.append("the cache is warm")
        client.config_resetstat()


def _pods(access: Access, restored: list[str]) -> None:
    """Replace the pods of the service that do not work as they should: off the card, without models, grown."""
    gone = []
    for pod in access.kube.pods("derivatives-api"):
        name = pod["metadata"]["name"]
        stats = access.stats(name)
        if stats is None:
            gone.append(name)
            continue
        if _worn(stats):
            gone.append(name)
    if gone:
        access.kube("delete", "pod", *gone, "--wait=true", "--grace-period=2")
        restored.append(f"{len(gone)} pods of derivatives-api replaced")


def _worn(stats: dict[str, Any]) -> bool:
    """Whether a pod that says this of itself does not work as one that just started."""
    engine = stats["greeks_engine"]
    lacking = engine["models_resident"] < engine["models_total"]
    return bool(engine["device"] != "gpu" or lacking or stats["memory"]["sessions"] > _MOST_SESSIONS)


def _rolled_out(access: Access) -> bool:
    document = access.kube.document("get", "deployment", "derivatives-api")
    status, wanted = document.get("status", {}), document["spec"]["replicas"]
    return (
        status.get("observedGeneration") == document["metadata"]["generation"]
        and status.get("updatedReplicas") == status.get("readyReplicas") == status.get("replicas") == wanted
        and all(map(ready, access.kube.pods("derivatives-api")))
    )


def _hedged(access: Access) -> bool:
    """Whether the book that was taken anew has its hedges: until then a move of the market is another one."""
    with access.cache() as client:
        return bool(client.exists("book:options")) and client.hlen("hedges:options") > 0


def _alerts(access: Access) -> list[str]:
    """Those that fire or are about to: one whose condition holds would fire on a platform said to be healthy."""
    return [str(one["metric"]["alertname"]) for one in access.query('ALERTS{platform="derivatives"}')]


def _wait(
    holds: Callable[[], bool], what: str, within_s: float = _HEALTHY_S, instead: Callable[[], str] = lambda: ""
) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if holds():
                return
        except (psycopg.Error, redis.RedisError, httpx.HTTPError):
            pass  # it is not there yet
        if time.monotonic() > deadline:
            raise NotVisible(
                f"after {within_s:.0f} s there is not {what} ({instead() or 'no answer'}): see `kubectl get pods`, "
                "then run `runbook sandbox heal --platform derivatives` again, or `down` and `up`"
            )
        time.sleep(_POLL_S)
