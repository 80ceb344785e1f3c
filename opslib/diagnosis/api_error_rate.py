"""A02 api-error-rate: what each cause leaves behind, and how it is told from the others.

A request fails in the words of what failed it: the card's memory, a database that does not answer or answers too late,
a result that is too old. The words alone do not tell the cause: "Database connection failed" is said of a database that
is down and of one that has no connection left. So each cause needs both, the words and the thing itself: a batch larger
than the memory, pods that are gone, slots that are taken, a lock that is held, an entry that is old. A new release is
blamed only for what nothing else explains, and only where the errors began with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.figures import percent
from opslib.probes.calls_postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Service:
    """The service that fails, as the platform's file names its parts.

    Attributes
    ----------
    workload, container : str
        `deployment/NAME`, and the container in it.
    replicas : int
        How many pods it gets at high load.
    batch_variable : str
        The variable that bounds how many options go to the card at once.
    option_mib, context_mib : float
        Memory of the card that one option takes, and a process before its first batch [MiB].
    keys : str
        Pattern of the cached results.
    applications : list of str
        Names of the platform's own sessions in the database.
    """

    workload: str
    container: str
    replicas: int
    batch_variable: str
    option_mib: float
    context_mib: float
    keys: str
    applications: list[str]


@dataclass(frozen=True)
class Store:
    """The database behind it: workload, container, how many pods it should have, growth of its connections (factor)."""

    workload: str
    container: str
    replicas: int
    growth: float


_FOR = {
    "card memory": "want of the card's memory",
    "no connection": "want of a connection",
    "database timeout": "a database that answers too late",
    "stale cache": "a result that is too old",
}
_IN_USE = 0.8  # the share of the connections for everybody that more pods may bring into use
_EXPLAINED = 0.3  # the share of the errors that may lack another explanation where the last release is not to blame
_UNKNOWN = 1.0  # the most that errors without another explanation weigh against the last release


def _said(errors: pd.DataFrame, *kinds: str) -> Reason:
    """How many requests fail in the words of this cause."""
    there = errors[errors.index.isin(kinds)]
    named, limit = " or ".join(kinds), float(errors.attrs["limit_pct"])
    share, pct = float(there["share"].sum()), float(there["pct"].sum(min_count=1)) if len(there) else 0.0
    if not len(there) or share < 0.01:
        return Reason(f"next to no request fails for {_FOR.get(named, named)}", -3.0)
    told = f"{pct:.2g} % of requests fail" if pct == pct else f"{percent(share)} of the errors are"
    text = f"{told} for {_FOR.get(named, named)}"
    value, whole = (pct, limit) if pct == pct else (share, 0.5)
    return reason(text, min(value, 0.6 * whole), threshold=0.1 * whole, decisive=0.6 * whole)


def cuda_out_of_memory(errors: pd.DataFrame, card: Mapping[str, Any]) -> list[Reason]:
    """Batches do not fit the card's memory."""
    said = _said(errors, "card memory")
    if not card["there"]:
        return [said, Reason("the service computes without a card", -3.0)]
    if said.weight <= -3.0:
        return [said]
    text = f"a batch asked for {card['asked']:.0f} MiB, where {card['room']:.0f} MiB can be had"
    missing = "how large the batches are"
    reasons = [said, reason(text, card["asked"] / card["room"], threshold=0.9, decisive=1.1, missing=missing)]
    if card["free"] < 0.05 * card["share"]:
        reasons.append(Reason(f"{card['free']:.0f} MiB of the card are free", 1.5))
    return reasons


def database_down(errors: pd.DataFrame, server: Mapping[str, Any], database: Mapping[str, Any]) -> list[Reason]:
    """There is no database that could answer."""
    reasons = []
    if server["answers"]:
        reasons.append(Reason(f"PostgreSQL answers us within {server['took_ms']:.0f} ms", -3.0))
    elif server["full"]:
        reasons.append(Reason("PostgreSQL is there, and refuses us for want of connections", -3.0))
    else:
        reasons.append(Reason(f"PostgreSQL does not answer us: {server['why']}", 2.0))
    ready, desired = database["ready"], database["desired"]
    text = f"{ready:.0f} of {desired:.0f} pods of {database['name']} are ready"
    if desired == 0:
        text = f"{database['name']} is scaled to nothing"
    there = math.nan if ready != ready else float(ready == 0)
    reasons.append(reason(text, there, threshold=0.5, decisive=1.0, missing="its pods"))
    if database["up"] == database["up"]:
        reasons.append(
            Reason(f"its exporter {'reaches' if database['up'] else 'does not reach'} it", 1.0 - 2.0 * database["up"])
        )
    return [*reasons, _said(errors, "no connection")]


def pool_exhausted(errors: pd.DataFrame, slots: Mapping[str, Any]) -> list[Reason]:
    """The database has no connection left to give."""
    server, missing = slots["server"], "how many connections are in use"
    said = _said(errors, "no connection")
    if not server["answers"] and not server["full"]:
        return [said, Reason(f"PostgreSQL does not answer at all: {server['why']}", -3.0)]
    share = slots["used"] / slots["ordinary"]
    text = f"{slots['used']:.0f} of the {slots['ordinary']:.0f} connections for everybody are in use"
    reasons = [said, reason(text, share, threshold=0.85, decisive=0.95, missing=missing)]
    if server["full"] or slots["refused"] > 0:
        who = "us too" if server["full"] else f"{slots['refused']:.0f} times of late"
        reasons.append(Reason(f"it refuses connections for want of slots, {who}", 2.0))
    elif slots["refused"] == 0:
        reasons.append(Reason("its log tells of no connection refused for want of slots", -1.0))
    return reasons


def slow_database(errors: pd.DataFrame, waits: Mapping[str, Any], slow_ms: float) -> list[Reason]:
    """The database answers, but too late: it waits for a lock, or its statements take long."""
    reasons = [_said(errors, "database timeout")]
    holders = waits["holders"]
    if len(holders):
        first = holders.iloc[0]
        what = f" of {first['relation']}" if first["relation"] else ""
        who = first["application"] or first["user"]
        text = f"{who} has held a lock{what} for {first['transaction_s']:.0f} s ({first['state']})"
        reasons.append(Reason(f"{text}; {waits['waiting']} sessions wait at this moment", 2.5))
    else:
        reasons.append(Reason("nobody holds a lock for long", -1.0))
    text = f"the slowest statement takes {waits['slow_ms']:.0f} ms (slow from {slow_ms:g} ms): {waits['slow']}"
    slow = reason(
        text, math.log(max(waits["slow_ms"], 1e-3)), threshold=math.log(slow_ms), decisive=math.log(2.5 * slow_ms)
    )
    if waits["slow_ms"] == waits["slow_ms"] and (not len(holders) or slow.weight > 0):
        reasons.append(Reason(text, max(-1.5, min(2.0, slow.weight))))
    return reasons


def stale_cache(errors: pd.DataFrame, entries: pd.DataFrame, oldest_s: float) -> list[Reason]:
    """The cache holds results that are too old to be served."""
    said = _said(errors, "stale cache")
    if said.weight <= -3.0:
        return [said]
    age = float(entries["age_s"].median()) if len(entries) else math.nan
    text = f"the entries that were refused are {age / 3600:.1f} h old (at most {oldest_s / 3600:g} h may be served)"
    reasons = [said, reason(text, age, threshold=0.9 * oldest_s, decisive=1.05 * oldest_s, missing="the entries")]
    endless = int((~entries["ends"].astype(bool)).sum())
    if endless:
        reasons.append(Reason(f"{endless} of {len(entries)} of them have no end of life, so they stay", 0.5))
    return reasons


def bad_deployment(rollout: Mapping[str, Any], after_s: float) -> list[Reason]:
    """A new release fails at what the one before it did: the errors began close upon its roll-out.

    That nothing else explains them says little by itself: what is not known here need not be of the last release.
    """
    left = rollout["unexplained"]
    if left < _EXPLAINED:
        return [Reason("something else explains the errors", -3.0)]
    text = f"{percent(left)} of the errors have no other explanation: {rollout['says']}"
    unknown = reason(text, left, threshold=0.3, decisive=0.7)
    reasons = [Reason(text, min(_UNKNOWN, unknown.weight))]
    if rollout["passed_over"]:
        reasons.append(Reason(rollout["passed_over"], 0.0))
    if not rollout["previous"]:
        return [*reasons, Reason("there is no earlier revision: it is the first that is kept", -3.0)]
    gap = rollout["gap_s"]
    side = "after" if gap >= 0 else "before"
    how = "rolled back to" if rollout["rolled_back"] else "rolled out"
    text = (
        f"the errors began {abs(gap):.0f} s {side} revision {rollout['revision']} was {how}: {rollout['changes'][:120]}"
    )
    if gap < -15.0:
        return [*reasons, Reason(text, -3.0)]
    if gap > after_s and not rollout["began_seen"]:
        gap = math.nan  # they may as well have begun right after it
    close = reason(text, gap, threshold=1.25 * after_s, decisive=after_s, missing="when the errors began")
    return [*reasons, Reason(close.text, min(2.5, close.weight), close.missing)]


CAUSES = (
    Cause(
        "cuda-out-of-memory",
        "Do batches not fit the card's memory?",
        cuda_out_of_memory,
        "smaller batches; a restart where the memory is only held",
    ),
    Cause(
        "database-down",
        "Is there no database?",
        database_down,
        "let its pod run again; where it crashes, go on with postgres-down",
    ),
    Cause(
        "pool-exhausted",
        "Has the database no connection left?",
        pool_exhausted,
        "raise max_connections, which restarts PostgreSQL; then find who keeps so many",
    ),
    Cause(
        "slow-database",
        "Does the database answer too late?",
        slow_database,
        "end the session that holds the lock, and stop its job; without a lock, scale to 10 where connections are left",
    ),
    Cause(
        "stale-cache",
        "Does the cache hold results that are too old?",
        stale_cache,
        "flush the stale results",
    ),
    Cause(
        "bad-deployment",
        "Did the errors come with a new release?",
        bad_deployment,
        "roll back to the revision before",
    ),
)


def fixes(
    causes: Sequence[str],
    *,
    service: Service,
    store: Store,
    database: Mapping[str, Any],
    card: Mapping[str, Any] | None,
    slots: Mapping[str, Any] | None,
    waits: Mapping[str, Any] | None,
    rollout: Mapping[str, Any] | None,
    entries: pd.DataFrame | None,
    pods: pd.DataFrame | None,
    scaling: Mapping[str, Any],
) -> list[Step]:
    """The seed's fix of each cause that holds, as small as it can be; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    service : Service
    store : Store
    database : mapping
        How many pods of it there should be now, `desired`.
    card, slots, waits, rollout, entries : as put together, or None
    pods : DataFrame or None
        All pods, with their `address`.
    scaling : mapping
        As `scaling` tells: more pods on a database without a connection to spare would exhaust it.
    """
    found: list[Step] = []
    for cause in causes:
        if cause == "cuda-out-of-memory" and card is not None:
            found += _smaller_batches(card, service)
        elif cause == "database-down" and database["desired"] == 0:
            found.append(("kubernetes.scale", {"workload": store.workload, "replicas": store.replicas}))
        elif cause == "pool-exhausted" and slots is not None and slots["limit"] == slots["limit"]:
            value = str(math.ceil(slots["limit"] * store.growth))
            where = {"workload": store.workload, "container": store.container}
            found.append(("kubernetes.set-argument", {**where, "name": "max_connections", "value": value}))
        elif cause == "slow-database" and waits is not None:
            found += _without_the_lock(waits["holders"], service, pods, scaling)
        elif cause == "stale-cache" and entries is not None and len(entries):
            endless = not bool(entries["ends"].any())
            found.append(("redis.flush-pattern", {"pattern": service.keys, "endless": endless, "until": "alert"}))
        elif cause == "bad-deployment" and rollout is not None and rollout["previous"]:
            back = {"workload": service.workload, "revision": rollout["previous"]}
            found.append(("kubernetes.undo-rollout", back))
    return found


def largest_batch(room_mib: float, option_mib: float, spare: float = 0.1) -> int:
    """How many options fit the card's memory at once, with a share of it spared."""
    return max(1, int((1.0 - spare) * room_mib / option_mib))


def _smaller_batches(card: Mapping[str, Any], service: Service) -> list[Step]:
    """The largest batch that fits; where batches are so small already, new processes, which hold nothing yet."""
    if card["room"] == card["room"]:
        size = largest_batch(card["room"], service.option_mib)
        if not card["batch"] or card["batch"] > size:
            where = {"workload": service.workload, "container": service.container}
            return [("kubernetes.set-env", {**where, "variable": service.batch_variable, "value": str(size)})]
    return [("kubernetes.restart", {"workload": service.workload})]


def scaling(
    service: Service, workloads: pd.DataFrame | None, slots: Mapping[str, Any] | None, who: pd.DataFrame | None
) -> dict[str, Any]:
    """Whether the database has the connections that more pods would take, `fits`, and the figures in words, `says`.

    Parameters
    ----------
    service : Service
    workloads : DataFrame or None
        Index `workload`, with `desired` pods.
    slots : mapping or None
        Connections in use and for everybody.
    who : DataFrame or None
        Connections by `application`; where none is of the service by name, all of them are taken for its own.
    """
    listed = workloads is not None and service.workload in workloads.index
    now = float(workloads.at[service.workload, "desired"]) if workloads is not None and listed else math.nan
    used, ordinary = (math.nan, math.nan) if slots is None else (float(slots["used"]), float(slots["ordinary"]))
    if now >= service.replicas:
        return {"fits": False, "says": f"Not scaled to {service.replicas} pods: there are {now:.0f} already."}
    if not now > 0 or used != used or ordinary != ordinary:
        says = "Not scaled: how many connections more pods would take was not seen, and whether there are so many."
        return {"fits": False, "says": says}
    own = 0.0 if who is None else float(who.loc[who["application"].isin(service.applications), "connections"].sum())
    more = math.ceil((own or used) / now * (service.replicas - now))
    fits = used + more <= _IN_USE * ordinary
    text = (
        f"{service.replicas - now:.0f} more pods take about {more} connections; {used:.0f} of {ordinary:.0f} are in use"
    )
    left = "so enough are left." if fits else "so the database would run out: not scaled. Mend what is slow in it."
    return {"fits": fits, "says": f"{text}, {left}"}


def _without_the_lock(
    holders: pd.DataFrame, service: Service, pods: pd.DataFrame | None, more: Mapping[str, Any]
) -> list[Step]:
    """End the sessions that hold locks, and stop the job that would take them again; without a lock, more pods."""
    if not len(holders):
        if not more["fits"]:
            return []
        return [("kubernetes.scale", {"workload": service.workload, "replicas": service.replicas})]
    reason = {"reason": "they hold a lock that requests wait for"}
    found: list[Step] = [("postgres.terminate-sessions", {"sessions": Postgres.sessions(holders), **reason})]
    foreign = holders.loc[~holders["application"].isin(service.applications), "client"]
    for address in dict.fromkeys(foreign):
        jobs = [] if pods is None else pods.loc[pods["address"] == address, "workload"].tolist()
        found += [("kubernetes.stop", {"workload": job}) for job in jobs if str(job).startswith("deployment/")]
    return found
