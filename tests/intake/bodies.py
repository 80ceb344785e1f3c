"""Bodies of alerts, as Alertmanager and Prometheus send them."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from opslib import intake, store
from opslib.intake.acceptance import Receipt
from opslib.settings import Settings

ZERO = "0001-01-01T00:00:00Z"
NOON = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)


def stamp(time: dt.datetime) -> str:
    """A time as the senders spell it."""
    return time.isoformat().replace("+00:00", "Z")


def labels(symbol: str = "BTC-USD", **more: str) -> dict[str, str]:
    return {"alertname": "VarBreach", "platform": "crypto", "severity": "critical", "symbol": symbol, **more}


def alert(symbol: str = "BTC-USD", *, starts: dt.datetime = NOON, ends: dt.datetime | None = None, **more: Any) -> Any:
    """One alert of the webhook; with an end it is resolved."""
    return {
        "status": "firing" if ends is None else "resolved",
        "labels": labels(symbol),
        "annotations": {"summary": "VaR is above 1.8 %"},
        "startsAt": stamp(starts),
        "endsAt": ZERO if ends is None else stamp(ends),
        **more,
    }


def webhook(*alerts: Any, **more: Any) -> bytes:
    """A body of Alertmanager's webhook, version 4."""
    return json.dumps(
        {"version": "4", "status": "firing", "receiver": "runbook", "alerts": list(alerts), **more}
    ).encode()


def send(settings: Settings, *alerts: Any, now: dt.datetime = NOON, **more: Any) -> Receipt:
    """Deliver alerts to the webhook at a time."""
    return intake.accept(settings, webhook(*alerts, **more), sender="intake at 127.0.0.1", endpoint="v1", now=now)


def send_v2(settings: Settings, *alerts: Any, now: dt.datetime = NOON) -> Receipt:
    """Deliver alerts as Prometheus does, at a time."""
    return intake.accept(settings, json.dumps(alerts).encode(), sender="prometheus", endpoint="v2", now=now)


def ledger(settings: Settings) -> dict[str, Any]:
    """The ledger, its invariant checked."""
    with store.transaction(settings) as connection:
        book = intake.ledger(connection)
    assert book["run"] + book["waiting"] + book["suppressed"] + book["lost"] == book["accepted"] == len(book["alerts"])
    return book


def counts(settings: Settings) -> tuple[int, int]:
    """Accepted episodes and repeats."""
    book = ledger(settings)
    return book["accepted"], book["repeats"]


def one(settings: Settings, sql: str, **facts: Any) -> Any:
    """The single value that a query gives."""
    with store.transaction(settings) as connection:
        row = connection.execute(sql, facts).fetchone()
        assert row is not None
        return next(iter(row.values()))
