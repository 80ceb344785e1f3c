"""What a playbook is told of its run, in tests without a recorder."""

from __future__ import annotations

from typing import Any

from opslib.record.shown import Context


def context(**facts: Any) -> Context:
    """The context of a run on a sandbox; `facts` are those that matter to the test."""
    usual = {
        "incident": "INC-2026-000001",
        "run": 1,
        "platform": "derivatives",
        "runbook": "greeks-latency",
        "mode": "plan",
        "parameters": {},
        "systems": (),
        "environment": "sandbox",
        "started_at": "2026-11-28T12:00:00Z",
    }
    return Context({**usual, **facts})
