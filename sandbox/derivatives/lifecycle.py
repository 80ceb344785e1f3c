"""Start and end the derivatives platform; find it again after a crash."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import redis

from opslib.settings import Settings
from sandbox import cluster, history, processes, state, watchers
from sandbox.cluster import workloads
from sandbox.cluster.kube import Kube
from sandbox.crypto.lifecycle import DEFAULT_WEBHOOK
from sandbox.crypto.monitoring import available
from sandbox.derivatives import manifests, monitoring, settle
from sandbox.derivatives.access import Access, reach
from sandbox.derivatives.identity import Identity
from sandbox.derivatives.setup import NAMESPACE, Setup
from sandbox.errors import NotOurs, NotUp, StartFailed
from sandbox.progress import Progress, quiet
from sandbox.state import Endpoints, State

__all__ = ["down", "up"]

_ANSWER_S = 120.0


def up(
    settings: Settings, *, monitored: bool | None = None, webhook: str | None = None, progress: Progress = quiet
) -> State:
    """Start the cluster and the platform on it, or find those that run.

    Parameters
    ----------
    settings : Settings
        Its home holds both.
    monitored : bool, optional
        With Prometheus and Alertmanager; by default where their binaries are.
    webhook : str, optional
        Where Alertmanager posts.
    progress : callable
        Takes a line for the person who waits.

    Raises
    ------
    CannotRun
        What this machine lacks.
    StartFailed
        What did not become ready.
    """
    watched = available() is not None if monitored is None else monitored
    with _alone(settings):
        found = state.load(state.file(settings, NAMESPACE))
        if found is not None and found.whole and _answers(settings, found):
            progress(f"{NAMESPACE} already runs at {found.endpoints.api}")
            if monitored and found.endpoints.alertmanager is None:
                raise StartFailed("it runs without Prometheus and Alertmanager: `runbook sandbox down` first")
            return _posting_to(webhook or DEFAULT_WEBHOOK, settings, found, progress)
        adopted = cluster.find(settings)
        settle.check_programs(own=adopted is not None and adopted.own)
        _clear(settings, adopted)
        state.cluster_mark(settings, NAMESPACE).touch(mode=0o600)
        running = cluster.up(settings, progress=progress)
        folder = state.file(settings, NAMESPACE).with_suffix("")
        folder.mkdir(mode=0o700, parents=True)
        setup = Setup.new(folder, running.sandbox_id)
        setup.save()
        started = _start(settings, running, setup, webhook or DEFAULT_WEBHOOK if watched else None, progress)
        progress(f"{NAMESPACE} runs at {started.endpoints.api}")
        return started


def down(settings: Settings, *, progress: Progress = quiet) -> bool:
    """End the platform, and the cluster unless another is on it; return whether anything ran."""
    with _alone(settings):
        running = cluster.find(settings)
        shared = state.on_cluster(settings, besides=NAMESPACE)
        # a cluster of ours that nobody else is on ends with all that it holds
        ran = _clear(settings, running if running is not None and (running.own or shared) else None)
        if not shared:
            ran = cluster.down(settings, progress=progress) or ran
    progress(f"{NAMESPACE} ended" if ran else f"{NAMESPACE} was not running")
    return ran


def _posting_to(webhook: str, settings: Settings, found: State, progress: Progress) -> State:
    """The platform that runs, with its Alertmanager posting there from now on."""
    if found.webhook == webhook or found.endpoints.alertmanager is None:
        return found
    progress(f"its Alertmanager posts to {webhook}")
    folder = state.file(settings, NAMESPACE).with_suffix("")
    monitoring.post_to(webhook, settings.state / "intake-token", folder, found.endpoints.alertmanager)
    moved = found.model_copy(update={"webhook": webhook})
    state.save(state.file(settings, NAMESPACE), moved.model_dump())
    return moved


def _start(
    settings: Settings, running: cluster.Cluster, setup: Setup, webhook: str | None, progress: Progress
) -> State:
    kube = Kube(running, setup.folder, NAMESPACE)
    if webhook is not None:  # whom Prometheus cannot be is told before anything is there
        Identity.read(running.kubeconfig, running.context, setup.folder)
    progress("preparing models, releases and compiled kernels")
    settle.prepare(setup)
    progress("starting PostgreSQL and Redis")
    running.apply([], NAMESPACE)  # makes the namespace, or refuses one that is another's
    kube.send("apply", [workloads.namespace(NAMESPACE, setup.sandbox_id)])
    kube.send("apply", manifests.everything(setup))
    ports = {name: running.expose(NAMESPACE, name, port) for name, port in settle.PORTS.items()}
    access = Access(
        kube,
        setup,
        f"http://127.0.0.1:{ports['derivatives-api']}",
        ("127.0.0.1", ports["postgres"]),
        ("127.0.0.1", ports["redis"]),
    )
    _eventually(lambda: settle.stores_answer(access), "PostgreSQL and Redis", access)
    progress("filling the tables and the cache")
    settle.fill(access)
    progress("starting the service, the market and the clients")
    settle.deploy_history(access)
    kube.send("apply", manifests.workloads(setup, kube.versions()))
    _eventually(lambda: settle.serving(access), "the service", access)
    endpoints = _endpoints(access, running)
    pids, starts = {}, {}
    if webhook is not None:
        progress("starting Prometheus and Alertmanager")
        if history.promtool() is None:
            progress(history.LACKING)
        watching = _watch(settings, setup, running, webhook)
        pids["monitoring"], starts["monitoring"] = watching["pid"], watching["start"]
        endpoints = endpoints.model_copy(update={name: watching[name] for name in ("prometheus", "alertmanager")})
    pids["cluster"] = running.keeper or os.getpid()
    starts["cluster"] = processes.started(pids["cluster"]) or ""
    found = State(
        platform=NAMESPACE,
        sandbox_id=setup.sandbox_id,
        pids=pids,
        starts=starts,
        endpoints=endpoints,
        webhook=webhook,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    state.save(state.file(settings, NAMESPACE), found.model_dump())
    return found


def _endpoints(access: Access, running: cluster.Cluster) -> Endpoints:
    """Where everything answers, for the reader and for the administrator."""
    setup = access.setup
    reader, previewer = (running.account(NAMESPACE, name) for name in ("recorder", "previewer"))
    place = f"context={running.context}&namespace={NAMESPACE}"
    return Endpoints(
        api=access.api,
        redis=setup.redis_url(*access.redis, reader=True),
        redis_admin=setup.redis_url(*access.redis),
        postgres=setup.postgres_url("recorder", *access.postgres),
        postgres_admin=setup.postgres_url("postgres", *access.postgres),
        kubernetes=f"kubeconfig://{reader}?{place}",
        kubernetes_admin=f"kubeconfig://{running.kubeconfig}?{place}",
        kubernetes_preview=f"kubeconfig://{previewer}?{place}",
    )


def _watch(settings: Settings, setup: Setup, running: cluster.Cluster, webhook: str) -> dict[str, Any]:
    """Start the watchers, detached, and wait until they answer."""
    given = {"webhook": webhook, "token_file": str(settings.state / "intake-token")}
    given |= {"kubeconfig": str(running.kubeconfig), "context": running.context}
    return watchers.begin("sandbox.derivatives.monitoring", setup.folder, given)


def _eventually(holds: Any, what: str, access: Access) -> None:
    """Wait until something holds; what servers say meanwhile is waited out."""
    deadline = time.monotonic() + _ANSWER_S
    problem = ""
    while True:
        try:
            if holds():
                return
        except (psycopg.Error, redis.RedisError) as error:
            problem = str(error)
        if time.monotonic() > deadline:
            pods = access.kube("get", "pods", "-o", "wide", allowed_to_fail=True)
            raise StartFailed(f"{what} did not become ready within {_ANSWER_S:.0f} s {problem}\n{pods}")
        time.sleep(0.3)


def _answers(settings: Settings, found: State) -> bool:
    try:
        reach(settings, found).verify()
    except (NotUp, NotOurs):
        return False
    return True


def _clear(settings: Settings, running: cluster.Cluster | None) -> bool:
    """End the watchers, delete the namespace where it is in a cluster that goes on, and remove the platform's files."""
    path = state.file(settings, NAMESPACE)
    folder = path.with_suffix("")
    ran = watchers.end(folder)
    if running is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ran = Kube(running, folder, NAMESPACE).delete_namespace(running.sandbox_id) or ran
    path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    state.cluster_mark(settings, NAMESPACE).unlink(missing_ok=True)
    return ran


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep a second `up` or `down` of the same home waiting; the kernel releases the lock of a dead process."""
    with (state.folder(settings) / f"{NAMESPACE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
