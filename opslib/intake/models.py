"""What the two endpoints take: Alertmanager's webhook (version 4), and the alerts that Prometheus sends."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from opslib.errors import RunbookError
from opslib.intake import cleaning
from opslib.intake.fingerprint import identity

__all__ = ["Alert", "BodyNotUnderstood", "Delivery", "Unreadable", "read", "read_alert", "severity"]

Endpoint = Literal["v1", "v2"]
RESOLVE_TIMEOUT = dt.timedelta(minutes=5)
"""How long an alert of the second endpoint lasts that names no end: as in Alertmanager."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_GZIP = b"\x1f\x8b"
_DIGITS = 400
_YEARS = range(1970, 2200)  # of a `startsAt` that is believed; another one counts as absent, as Go's zero does
_SEVERITIES = ("critical", "high", "warning", "info", "P0", "P1", "P2", "P3", "P4")
_SPELLING = {word.lower(): word for word in _SEVERITIES}


class BodyNotUnderstood(RunbookError):
    """The body is neither Alertmanager's webhook nor a list of alerts."""


@dataclass(frozen=True)
class Alert:
    """One alert as delivered.

    Attributes
    ----------
    key, fingerprint : str
        See `opslib.intake.fingerprint.identity`.
    firing : bool
    labels, annotations : dict
        Fit to be stored: long values cut, NUL and lone surrogates replaced.
    starts_at : datetime
        UTC.
    ends_at : datetime or None
        When it ended, or, for a firing one, when it will unless it is sent again; None: when a resolve comes.
    payload : dict
        The alert in the webhook's form, fit to be stored.
    """

    key: str
    fingerprint: str
    firing: bool
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: dt.datetime
    ends_at: dt.datetime | None
    payload: dict[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """An element of a body that is no alert: where it stood, and why it is none."""

    index: int
    why: str


@dataclass(frozen=True)
class Delivery:
    """A body, understood.

    Attributes
    ----------
    alerts : list of Alert
        In the order of the body.
    unreadable : list of Unreadable
    truncated : int
        How many alerts the sender cut off.
    platform : str
        What the body as a whole says of its platform; empty where it says nothing.
    """

    alerts: list[Alert]
    unreadable: list[Unreadable] = field(default_factory=list)
    truncated: int = 0
    platform: str = ""


def severity(labels: dict[str, str]) -> str:
    """The severity that the label names, in its usual spelling; empty where it names none."""
    return _SPELLING.get(labels.get("severity", "").strip().lower(), "")


def worse(one: str, other: str) -> str:
    """The more severe of two severities; an empty one is the least."""
    order = {"critical": 0, "P0": 0, "high": 1, "P1": 1, "warning": 2, "P2": 2, "P3": 3, "info": 4, "P4": 4, "": 5}
    return one if order.get(one, 5) <= order.get(other, 5) else other


def read(body: bytes, endpoint: Endpoint, now: dt.datetime) -> Delivery:
    """The alerts in a body. One that cannot be read does not spoil the others.

    Parameters
    ----------
    body : bytes
        UTF-8 JSON.
    endpoint : {"v1", "v2"}
        The webhook, or the list that Prometheus sends.
    now : datetime
        When it arrived.

    Raises
    ------
    BodyNotUnderstood
        When the body as a whole cannot be read.
    """
    if body.startswith(_GZIP):
        raise BodyNotUnderstood("the body is compressed with gzip; send it as plain JSON")
    try:
        document = json.loads(body.decode("utf-8-sig"), parse_int=_whole)
    except UnicodeDecodeError as error:
        raise BodyNotUnderstood(f"the body is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise BodyNotUnderstood("the body is nested too deep") from error
    except ValueError as error:
        raise BodyNotUnderstood(f"the body is not JSON: {cleaning.cut(str(error))}") from error
    alerts, truncated, platform = document, 0, ""
    if endpoint == "v1":
        if not isinstance(document, dict) or not isinstance(document.get("alerts"), list):
            raise BodyNotUnderstood("the body is no webhook of version 4: it has no list `alerts`")
        alerts, platform = document["alerts"], _platform(document)
        cut_off = document.get("truncatedAlerts", 0)
        truncated = cut_off if isinstance(cut_off, int) and 0 < cut_off < 2**53 else 0
    elif not isinstance(document, list):
        raise BodyNotUnderstood("the body is no list of alerts")
    good: list[Alert] = []
    bad: list[Unreadable] = []
    for index, item in enumerate(alerts):
        try:
            good.append(read_alert(item, endpoint, now))
        except BodyNotUnderstood as error:
            bad.append(Unreadable(index, str(error)))
    return Delivery(good, bad, truncated, platform)


def _whole(digits: str) -> int | float:
    """A whole number; of one that is too long to be read nothing is asked here, and the alerts beside it are taken."""
    return int(digits) if len(digits) <= _DIGITS else math.inf


def read_alert(item: Any, endpoint: Endpoint, now: dt.datetime) -> Alert:
    """One element of a body.

    Raises
    ------
    BodyNotUnderstood
        When it is no alert; the message says why.
    """
    if not isinstance(item, dict):
        raise BodyNotUnderstood("an alert must be an object")
    labels = _strings(item, "labels")
    if endpoint == "v2":
        labels = {name: value for name, value in labels.items() if value}
    annotations = _strings(item, "annotations") if item.get("annotations") is not None else {}
    starts_at, ends_at = _time(item, "startsAt"), _time(item, "endsAt")
    if starts_at is not None and starts_at.year not in _YEARS:
        starts_at = None
    if endpoint == "v1":
        status = item.get("status", "firing")
        if status not in ("firing", "resolved"):
            raise BodyNotUnderstood("`status` must be firing or resolved")
        firing = status == "firing"
        if firing and ends_at is not None and ends_at <= now:
            ends_at = None
    else:
        ends_at = ends_at or now + RESOLVE_TIMEOUT
        firing = ends_at > now
    if not firing:
        ends_at = min(ends_at or now, now)
    starts_at = starts_at or (now if firing or ends_at is None else ends_at)
    number, key = identity(labels, item.get("fingerprint") if endpoint == "v1" else None)
    stored = {cleaning.cut(name): cleaning.cut(value) for name, value in labels.items()}
    told = {cleaning.cut(name): cleaning.cut(value) for name, value in annotations.items()}
    payload = {
        "status": "firing" if firing else "resolved",
        "labels": stored,
        "annotations": told,
        "startsAt": starts_at.isoformat().replace("+00:00", "Z"),
        "endsAt": None if ends_at is None else ends_at.isoformat().replace("+00:00", "Z"),
        "generatorURL": cleaning.cut(str(item.get("generatorURL") or "")),
        "fingerprint": number,
    }
    return Alert(key, number, firing, stored, told, starts_at, ends_at, payload)


def _strings(item: dict[str, Any], key: str) -> dict[str, str]:
    found = item.get(key)
    if not isinstance(found, dict):
        raise BodyNotUnderstood(f"`{key}` must be an object of strings")
    if wrong := [name for name, value in found.items() if not isinstance(value, str)]:
        raise BodyNotUnderstood(f"`{key}`: {cleaning.cut(wrong[0])!r} is not a string")
    return {cleaning.text(name): cleaning.text(value) for name, value in found.items()}


def _time(item: dict[str, Any], key: str) -> dt.datetime | None:
    """An RFC 3339 time in UTC; None where it is absent or Go's zero."""
    value = item.get(key)
    if value is None or value == "":
        return None
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise BodyNotUnderstood(f"`{key}` is no RFC 3339 time")
    if value.startswith("0001-"):
        return None
    fraction, zone = (found[2] or "")[:7], found[3].upper().replace("Z", "+00:00")
    try:
        return dt.datetime.fromisoformat(f"{found[1].upper()}{fraction}{zone}").astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise BodyNotUnderstood(f"`{key}` is no time of the calendar") from error


def _platform(document: dict[str, Any]) -> str:
    for group in ("commonLabels", "groupLabels"):
        labels = document.get(group)
        if isinstance(labels, dict) and isinstance(labels.get("platform"), str):
            return cleaning.cut(labels["platform"])
    return ""
