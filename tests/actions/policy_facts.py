"""Policies, plans and moments that the tables of cases ask about, and the modules that decide."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opslib.actions import applying, approval, guards, policy, standing, undoing
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Document, PlannedAction, Target, Undo
from opslib.settings import PROJECT

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
REDUCE, SET, REFRESH, STOP, START, LIMIT, RESET, UNSWITCH, RESTART, SCALE, UNCORDON = (
    "crypto.emergency-reduce",
    "crypto.set-kelly",
    "crypto.refresh-volatility",
    "crypto.stop-trading",
    "crypto.start-trading",
    "crypto.set-position-limit",
    "crypto.reset-breaker",
    "files.kill-switch-off",
    "kubernetes.restart",
    "kubernetes.scale",
    "kubernetes.uncordon",
)


@dataclass(frozen=True)
class Modules:
    """The modules that decide, one of them perhaps without a rule."""

    policy: ModuleType = policy
    standing: ModuleType = standing
    approval: ModuleType = approval
    applying: ModuleType = applying
    guards: ModuleType = guards
    undoing: ModuleType = undoing


Raw = dict[str, Any]


def shipped() -> Raw:
    """The policy file of the project."""
    raw: Raw = yaml.safe_load((PROJECT / "params" / "policy.yaml").read_text("utf-8"))
    return raw


def full() -> Raw:
    """The shipped policy, and beside it a rule of every kind that it has no example of."""
    raw = shipped()
    raw["actions"][REFRESH] = {"authority": "L2", "two_persons": True}
    raw["guards"]["market_hours"] = [
        {
            "platforms": ["crypto"],
            "days": ["fri"],
            "start": "22:00",
            "end": "02:00",
            "timezone": "Europe/Berlin",
            "forbids": ["configuration"],
            "reason": "the week ends",
        },
        {"days": ["wed"], "start": "13:30", "end": "20:00", "forbids": ["configuration"], "reason": "New York is open"},
    ]
    raw["guards"]["expiry_windows"] = [
        {
            "platforms": ["crypto"],
            "start": utc(2026, 12, 25, 7),
            "end": utc(2026, 12, 25, 9),
            "forbids": ["configuration"],
            "reason": "quarterly expiry",
        }
    ]
    raw["guards"]["open_orders"] = [
        {
            "name": "execution",
            "platforms": ["crypto"],
            "probe": "files.json",
            "arguments": {"path": "orders.json"},
            "under": "working",
            "order": "id",
            "of": "service",
            "forbids": ["restart", "kubernetes.stop"],
            "answer": "refuse",
        },
        {
            "name": "hedges",
            "platforms": ["crypto"],
            "probe": "files.lines",
            "arguments": {"path": "hedges.jsonl"},
            "order": "hedge",
            "forbids": ["scale"],
            "answer": "name",
        },
    ]
    stop = {**raw["standing_approvals"][0], "name": "stop", "action": STOP, "bounds": {}, "environments": ["sandbox"]}
    raw["standing_approvals"].append(stop)
    raw["signers"] = {"head-of-risk": standing.public(KEY)}
    return signed(raw)


def signed(raw: Raw) -> Raw:
    """The same with valid signatures: what else is changed in an entry counts by itself."""
    for entry in raw["standing_approvals"]:
        entry["signature"] = standing.sign(policy.StandingApproval.model_validate(entry), KEY)
    return raw


def utc(*parts: int) -> dt.datetime:
    """A moment."""
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


NOON = utc(2026, 6, 4, 12)  # a Thursday, in no window


def planned(
    action: str,
    *,
    kelly: Any = 0.1,
    target: str = "crypto",
    undo: str = "inverse",
    kind: str = "risk-engine",
    **more: Any,
) -> PlannedAction:
    """An action as a plan has it."""
    facts: dict[str, Any] = {
        "action": action,
        "arguments": {"kelly_fraction": kelly},
        "target": Target(kind=kind, name=target, uid=target),
        "summary": "",
        "preview": {},
        "expected_effect": "",
        "effect_within_s": 1.0,
        "authority": "L1",
        "risk_reducing": ACTIONS[action].risk_reducing,
        "stops_new_risk": ACTIONS[action].stops_new_risk,
        "blast_radius": {},
        "residual_risk": "",
        "undo": Undo(kind=undo, reason=""),  # type: ignore[arg-type]
    }
    return PlannedAction.model_validate({**facts, **more})


def plan(*actions: PlannedAction, **more: Any) -> Document:
    """A plan of them."""
    facts: dict[str, Any] = {
        "incident": "INC-2026-000001",
        "run": 1,
        "platform": "crypto",
        "environment": "production",
        "initiator": "alert",
        "reason": "",
        "proposed_at": NOON,
        "expires_at": NOON,
        "actions": actions,
    }
    return Document.model_validate({**facts, **more})
