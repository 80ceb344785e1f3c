"""What counts as brought by a plan."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sandbox.gameday.day import came_after

ASKED = dt.datetime(2026, 11, 30, 12, 0, tzinfo=dt.UTC)


def incident(name: str, seconds: float, *, runbook: str = "other", state: str = "firing") -> dict[str, Any]:
    opened = (ASKED + dt.timedelta(seconds=seconds)).isoformat()
    return {"runbook": runbook, "opened_at": opened, "alerts": [{"labels": {"alertname": name}, "state": state}]}


def test_an_alert_that_began_after_the_plan_may_be_its_doing() -> None:
    assert came_after([incident("Worse", 5.0)], "mine", ASKED, []) == ["Worse"]


def test_what_held_before_fired_before_is_over_or_is_the_round_s_own_is_not() -> None:
    others = [
        incident("Pending", 5.0),
        incident("Earlier", -5.0),
        incident("Over", 5.0, state="resolved"),
        incident("Mine", 5.0, runbook="mine"),
    ]
    assert came_after(others, "mine", ASKED, ["Pending", "Mine"]) == []
    assert came_after(others, "mine", ASKED, []) == ["Pending"]
