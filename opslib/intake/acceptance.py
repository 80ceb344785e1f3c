"""Accepting a body: alert, incident, run and job in one transaction, so that 2xx means durable."""

from __future__ import annotations

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from opslib import store
from opslib.canonical import digest
from opslib.intake import bulk, problems, routes, writing
from opslib.intake.episodes import Episode, take
from opslib.intake.models import Alert, BodyNotUnderstood, Delivery, Endpoint, read, severity
from opslib.intake.writing import ACTOR, Fired
from opslib.record import redaction
from opslib.settings import Settings
from opslib.sql import queries

__all__ = ["Receipt", "accept"]

_TRIES = 4
_AGAIN = (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


@dataclass(frozen=True)
class Receipt:
    """What a delivery came to.

    Attributes
    ----------
    accepted : int
        New episodes.
    repeats : int
        Alerts that added nothing.
    resolved : int
        Open episodes that ended.
    suppressed : int
        New episodes that start no run; the ledger has each with its reason.
    unreadable : int
        Elements of the body that are no alerts; 1 for a body that cannot be read at all.
    truncated : int
        Alerts that the sender cut off.
    incidents : list of str
        Those that were opened or attached to.
    problem : str
        What could not be understood; empty where all was.
    """

    accepted: int = 0
    repeats: int = 0
    resolved: int = 0
    suppressed: int = 0
    unreadable: int = 0
    truncated: int = 0
    incidents: list[str] = field(default_factory=list)
    problem: str = ""


def accept(
    settings: Settings,
    body: bytes,
    *,
    sender: str,
    endpoint: Endpoint,
    now: dt.datetime | None = None,
    timeout_s: float = 10.0,
    opened: Callable[[store.Connection], None] | None = None,
) -> Receipt:
    """Accept a body. When this returns, what it says is durable.

    Parameters
    ----------
    settings : Settings
    body : bytes
        As received.
    sender : str
        Who sent it, as authenticated.
    endpoint : {"v1", "v2"}
    now : datetime, optional
        When it was received.
    timeout_s : float
        No statement may take longer, and nothing is tried again after it [s].
    opened : callable, optional
        Is given the connection, so that another thread can cancel what it does.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the database is away, or does not answer in time; nothing is stored.
    """
    received = now or dt.datetime.now(dt.UTC)
    deadline = time.monotonic() + timeout_s
    for attempt in range(1, _TRIES + 1):
        try:
            with store.transaction(settings, timeout_s=min(1.5, timeout_s)) as connection:
                if opened is not None:
                    opened(connection)
                connection.execute(queries("intake").bounds, {"milliseconds": max(1, int(timeout_s * 1000))})
                return _accept(settings, connection, body, sender, endpoint, received)
        except _AGAIN:
            if attempt == _TRIES or time.monotonic() > deadline:
                raise
    raise AssertionError("the last try returns or raises")


def _accept(
    settings: Settings, connection: store.Connection, body: bytes, sender: str, endpoint: Endpoint, now: dt.datetime
) -> Receipt:
    redact = redaction.default(settings)
    kept = problems.Body(sender, endpoint, len(body), digest(body), redact(body))
    table = routes.current(settings)
    try:
        delivery = read(body, endpoint, now)
    except BodyNotUnderstood as error:
        incident = problems.keep(settings, connection, kept, str(error), _known(table, problems.hint(body)), table, now)
        return Receipt(unreadable=1, incidents=[incident], problem=str(error))
    trouble, platform = problems.sentences(delivery), _known(table, delivery.platform)
    routed = {alert.key: table.route(alert.labels) for alert in delivery.alerts}
    places = {to.place for to in routed.values()}
    writing.lock(connection, places | ({problems.place(kept, platform, table)} if trouble else set()))
    receipt = _take_all(settings, connection, _redacted(delivery, redact), routed, sender, now)
    if trouble:
        incident = problems.keep(settings, connection, kept, trouble, platform, table, now)
        receipt = replace(receipt, incidents=sorted({*receipt.incidents, incident}))
    return replace(receipt, unreadable=len(delivery.unreadable), truncated=delivery.truncated, problem=trouble)


def _take_all(
    settings: Settings,
    connection: store.Connection,
    delivery: Delivery,
    routed: dict[str, routes.Routed],
    sender: str,
    now: dt.datetime,
) -> Receipt:
    """Every alert of a delivery, in its order, against the latest episode of its key; their places are locked."""
    if not delivery.alerts:
        return Receipt()
    rows = connection.execute(queries("intake").latest_episodes, {"keys": sorted(routed)})
    latest: dict[str, Episode] = {row["key"]: Episode(**row) for row in rows}
    known: dict[int, Episode] = {}
    fired: list[Fired] = []
    happened: dict[str, list[tuple[str, Alert, Episode]]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    ended: set[str] = set()
    for alert in delivery.alerts:
        before = latest.get(alert.key)
        was_firing = before is not None and before.state == "firing"
        outcome, episode = take(alert, before, now)
        counts[outcome] += 1
        if before is not None and before.id is not None:
            known[before.id] = before
            if was_firing and before.state != "firing" and before.incident:
                ended.add(before.incident)
        if outcome in ("new", "again", "new-resolved"):
            suppressed = writing.SUPPRESSED if outcome == "new-resolved" else None
            after = before if outcome == "again" else None
            told = severity(alert.labels)
            fired.append(Fired(alert, episode, routed[alert.key], told, suppressed, after=after))
        elif episode.incident is not None:
            happened[episode.incident].append((outcome, alert, episode))
        latest[alert.key] = episode
    opened = writing.answer(settings, connection, [one for one in fired if one.suppressed is None], sender, now)
    writing.store_episodes(connection, list(known.values()), fired, now)
    bulk.append(settings, connection, {incident: _told(told) for incident, told in happened.items()})
    over_at_once = {one.incident for one in fired if one.incident and one.episode.state != "firing"}
    writing.close_what_is_over(connection, ended | over_at_once)
    return Receipt(
        accepted=len(fired),
        repeats=counts["repeat"],
        resolved=counts["resolve"],
        suppressed=sum(one.suppressed is not None for one in fired),
        incidents=sorted(opened),
    )


def _told(happened: list[tuple[str, Alert, Episode]]) -> list[bulk.Entry]:
    """The entries for resolves and repeats of one incident: of repeats, an episode's first and every tenth."""
    entries: list[bulk.Entry] = []
    resolved = [(alert, episode) for outcome, alert, episode in happened if outcome == "resolve"]
    if resolved:
        told = [{"fingerprint": alert.fingerprint, "ends_at": episode.ends_at} for alert, episode in resolved[:20]]
        entries.append((ACTOR, "alert-resolved", {"count": len(resolved), "alerts": told}))
    repeated = {
        alert.fingerprint: episode
        for outcome, alert, episode in happened
        if outcome == "repeat" and (episode.repeats == 1 or episode.repeats % 10 == 0)
    }
    if repeated:
        shown = list(repeated.items())[:20]
        repeats = [{"fingerprint": number, "repeats": episode.repeats} for number, episode in shown]
        most = max(episode.repeats for episode in repeated.values())
        entries.append((ACTOR, "alert-repeated", {"count": len(repeated), "repeats": most, "alerts": repeats}))
    return entries


def _redacted(delivery: Delivery, redact: Callable[[Any], Any]) -> Delivery:
    """The delivery without secrets; keys and fingerprints stay those of what was sent."""
    alerts = []
    for alert in delivery.alerts:
        payload = redact(alert.payload)
        alerts.append(replace(alert, payload=payload, labels=payload["labels"], annotations=payload["annotations"]))
    return replace(delivery, alerts=alerts)


def _known(table: routes.Routes, platform: str) -> str:
    return platform if platform in table.known else routes.UNKNOWN
