"""Episodes: from an alert's first firing until it is resolved or its end passes. Pure rules, no store."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from opslib.intake.models import Alert

__all__ = ["LATE", "STILL", "Episode", "expire", "take"]

LATE = dt.timedelta(minutes=5)
"""How long after a received resolve a firing that began before it counts as a late duplicate."""
STILL = dt.timedelta(minutes=5)
"""How long a person's resolve holds against an alert that still fires: sent again later, it begins a new episode."""

State = Literal["firing", "resolved", "expired"]
Outcome = Literal["new", "again", "new-resolved", "repeat", "resolve"]


@dataclass
class Episode:
    """The latest episode of an alert.

    Attributes
    ----------
    key : str
    state : {"firing", "resolved", "expired"}
    starts_at, ends_at : datetime, datetime or None
    resolved_at : datetime or None
        When a resolve was received.
    last_seen_at : datetime
    repeats : int
        Deliveries that added nothing.
    id, incident : int or None, str or None
        As stored; None for an episode that this delivery began.
    closed_at : datetime or None
        When a person resolved that incident.
    """

    key: str
    state: State
    starts_at: dt.datetime
    ends_at: dt.datetime | None
    last_seen_at: dt.datetime
    resolved_at: dt.datetime | None = None
    repeats: int = 0
    id: int | None = None
    incident: str | None = None
    closed_at: dt.datetime | None = None


def expire(episode: Episode, now: dt.datetime) -> bool:
    """End a firing episode whose end has passed without its being sent again; whether it did."""
    if episode.state != "firing" or episode.ends_at is None or episode.ends_at > now:
        return False
    episode.state = "expired"
    return True


def take(alert: Alert, latest: Episode | None, now: dt.datetime) -> tuple[Outcome, Episode]:
    """What a delivered alert means, given the latest episode of its key, which is changed in place.

    Returns
    -------
    tuple
        "new": a new episode fires; "again": it fires on, long after a person resolved the incident of its episode,
        which ended with that; "new-resolved": one that was over before it was seen firing;
        "repeat": nothing new; "resolve": the open episode is over. And the episode that it is about.
    """
    if latest is not None:
        expire(latest, now)
    if alert.firing:
        if latest is not None and _still_fires(latest, now):
            latest.state, latest.ends_at, latest.resolved_at = "resolved", latest.closed_at, latest.closed_at
            return "again", Episode(alert.key, "firing", alert.starts_at, alert.ends_at, now)
        if latest is not None and (latest.state == "firing" or _late_duplicate(alert, latest, now)):
            return _repeat(alert, latest, now)
        return "new", Episode(alert.key, "firing", alert.starts_at, alert.ends_at, now)
    over = alert.ends_at or now
    if latest is not None and latest.state == "firing":
        if over < latest.starts_at:  # the end of an earlier episode, delivered late
            return _repeat(alert, latest, now)
        latest.state, latest.ends_at, latest.resolved_at, latest.last_seen_at = "resolved", over, now, now
        return "resolve", latest
    if latest is not None and alert.starts_at <= (latest.ends_at or latest.last_seen_at):
        return _repeat(alert, latest, now)
    return "new-resolved", Episode(alert.key, "resolved", alert.starts_at, over, now, resolved_at=now)


def _still_fires(latest: Episode, now: dt.datetime) -> bool:
    """Whether a person's word that it is over has been wrong for so long that someone has to look again."""
    return latest.state == "firing" and latest.closed_at is not None and now - latest.closed_at > STILL


def _late_duplicate(alert: Alert, latest: Episode, now: dt.datetime) -> bool:
    """A firing that began before an end which was received a short while ago: the group, delivered out of order."""
    if latest.state != "resolved" or latest.resolved_at is None or latest.ends_at is None:
        return False
    return alert.starts_at <= latest.ends_at and now - latest.resolved_at < LATE


def _repeat(alert: Alert, episode: Episode, now: dt.datetime) -> tuple[Outcome, Episode]:
    episode.repeats += 1
    episode.last_seen_at = now
    if alert.firing and episode.state == "firing" and episode.ends_at is not None:
        episode.ends_at = None if alert.ends_at is None else max(episode.ends_at, alert.ends_at)
    return "repeat", episode
