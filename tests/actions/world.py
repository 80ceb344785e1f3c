"""Everything that a test of plans needs: the platform, an incident with a run, people, and time that passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from opslib import store
from opslib.actions import plans
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Plan
from opslib.people import Person
from opslib.record import journal
from opslib.settings import Settings
from tests.actions.platform_server import SmallPlatform

ROLES = {"ann": "L1", "bea": "L1", "bob": "L2", "ben": "L2", "cleo": "L3", "vera": "viewer", "bot": "machine"}


def edit_policy(params: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the policy file of a test."""
    path = params / "policy.yaml"
    policy = yaml.safe_load(path.read_text("utf-8"))
    change(policy)
    path.write_text(yaml.safe_dump(policy), "utf-8")


@dataclass
class World:
    """Everything that a plan needs: the platform, an incident with a run, and people of every role."""

    settings: Settings
    params: Path
    platform: SmallPlatform
    incident: str
    run: int

    def person(self, name: str) -> Person:
        """Somebody known: `ann` (L1), `bob` (L2), `cleo` (L3), `vera` (viewer), `bot`, `otto` (L4 elsewhere)."""
        return Person(name, ROLES.get(name, "L4"), "quant" if name == "otto" else None)

    def propose(self, kelly: float = 0.1, action: str = "crypto.emergency-reduce", run: int | None = None) -> Plan:
        """A plan of one action; VaR is low for a moment where it is a hot reload, which the policy forbids else."""
        calm = self.platform.calm() if ACTIONS[action].hot_reload else nullcontext()
        with calm, store.transaction(self.settings) as connection:
            return plans.propose(
                self.settings,
                connection,
                run_id=run or self.run,
                actions=[{"action": action, "arguments": {"kelly_fraction": kelly}}],
                reason="VaR of BTC-USD is above its limit",
                platform="crypto",
            )

    def plan(self, hash_: str) -> Plan:
        """The plan as it is now."""
        with store.connect(self.settings) as connection:
            return plans.load(connection, hash_)

    def kinds(self) -> list[str]:
        """What the journal tells, in order."""
        with store.connect(self.settings) as connection:
            return [entry["kind"] for entry in journal.entries(connection, self.incident)]

    def last(self, kind: str) -> dict[str, Any]:
        """The body of the newest journal entry of a kind."""
        with store.connect(self.settings) as connection:
            found = [entry["body"] for entry in journal.entries(connection, self.incident) if entry["kind"] == kind]
        return dict(found[-1])

    def execute(self, query: str, facts: tuple[Any, ...] = ()) -> None:
        """Run a statement, as time or another process would change something."""
        with store.transaction(self.settings) as connection:
            connection.execute(query, facts)

    def fire(self, state: str = "firing", name: str = "VarBreach") -> None:
        """An episode of the alert, attached to the incident."""
        self.execute(
            "INSERT INTO alerts (key, fingerprint, labels, payload, platform, starts_at, state, incident)"
            " VALUES (%s, 'f', %s, '{}', 'crypto', now(), %s, %s)",
            (f"key-{name}-{state}", json.dumps({"alertname": name}), state, self.incident),
        )

    def overdue(self, hash_: str) -> None:
        """Let a plan's time pass."""
        self.execute("UPDATE plans SET expires_at = now() - interval '1 second' WHERE hash = %s", (hash_,))


def begin_run(settings: Settings, incident: str, mode: str = "plan", by: str = "alert") -> int:
    """One more run of the incident."""
    with store.transaction(settings) as connection:
        row = connection.execute(
            "INSERT INTO runs (incident, number, runbook, platform, mode, requested_by, state) VALUES (%s,"
            " (SELECT count(*) + 1 FROM runs WHERE incident = %s), 'var-breach', 'crypto', %s, %s, 'running')"
            " RETURNING id",
            (incident, incident, mode, by),
        ).fetchone()
    assert row is not None
    return int(row["id"])


def connect_platform(settings: Settings, platform: SmallPlatform) -> None:
    """Let `crypto` be this platform, as `runbook sandbox up` does."""
    folder = settings.state / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crypto.json").write_text(json.dumps({"endpoints": {"api": platform.url}}), "utf-8")


def shown_at_once(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Give these actions a moment for their effect: this platform's gauges never move, so more is waited in vain."""
    for name in names:
        monkeypatch.setattr(ACTIONS[name], "effect_within_s", 1.0)
