"""No plan carries a secret, nor a token that stands for one: not in what it does, shows, depends on or puts back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opslib import store
from opslib.actions import applier, approval, carried, drift, plans
from opslib.actions.action import Observation
from opslib.actions.documents import Bounds, Plan, PlannedAction, Target, Undo
from opslib.errors import PlanError
from opslib.record import redaction
from opslib.record.redaction import Redactor
from opslib.settings import Settings
from tests.actions.world import World

ADDRESS = "redis://reader:correct-horse@10.0.0.7:6379/0"


@pytest.fixture
def redact(settings: Settings) -> Redactor:
    return redaction.default(settings)


def propose(world: World, name: str, reason: str = "test", **arguments: Any) -> Plan:
    with store.transaction(world.settings) as connection:
        actions = [{"action": name, "arguments": arguments}]
        return plans.propose(
            world.settings, connection, run_id=world.run, actions=actions, reason=reason, platform="crypto"
        )


def with_files(world: World, folder: Path) -> None:
    place = world.settings.state / "sandbox" / "crypto.json"
    endpoints = json.loads(place.read_text("utf-8"))["endpoints"] | {"files": folder.as_uri()}
    place.write_text(json.dumps({"endpoints": endpoints}), "utf-8")


@pytest.mark.parametrize(
    "content",
    [
        {"url": ADDRESS},
        {"deep": [{"url": ADDRESS}]},
        {ADDRESS: 1},
        {"api_key": "0123456789abcdef"},
        {"url": "redis://reader:«redacted:0a1b2c3d»@10.0.0.7:6379/0"},
        {"key": "«redacted:0a1b2c3d»"},
    ],
)
def test_neither_a_secret_nor_its_token_is_written(world: World, tmp_path: Path, content: dict[str, Any]) -> None:
    with_files(world, tmp_path)
    with pytest.raises(PlanError, match=r"files\.write-json: no plan carries what looks like a secret or stands for"):
        propose(world, "files.write-json", path="new.json", content=content)
    assert propose(world, "files.write-json", path="new.json", content={"rotated": "secret"}).state == "proposed"


def test_the_reason_of_a_plan_is_without_secrets(world: World) -> None:
    plan = propose(world, "crypto.emergency-reduce", f"seen at {ADDRESS}", kelly_fraction=0.1)
    assert plan.document.reason.startswith("seen at redis://reader:«redacted:")
    assert "correct-horse" not in plan.document.text


@pytest.mark.parametrize("written", [f"stopped, see {ADDRESS}", f"stopped \x00 {ADDRESS}"], ids=["text", "NUL"])
def test_what_is_seen_while_a_plan_is_applied_is_kept_without_secrets(
    world: World, tmp_path: Path, written: str
) -> None:
    with_files(world, tmp_path)
    switch = tmp_path / "KILL_SWITCH"
    switch.write_text(written, "utf-8")
    world.fire()
    plan = propose(world, "files.kill-switch-off")
    approval.approve(world.settings, plan.hash, world.person("cleo"))
    approval.apply(world.settings, plan.hash, world.person("cleo"))
    after = applier.run_once(world.settings, plan.hash)
    assert (after.result or {})["before"][0]["facts"]["text"].startswith("stopped")
    assert not switch.exists()
    for told in (plan.document.text, json.dumps(after.result, ensure_ascii=False)):
        assert "correct-horse" not in told
        assert "«redacted:" in told


def test_what_was_seen_can_be_compared_with_what_is_kept(redact: Redactor) -> None:
    def seen(url: str) -> Observation:
        target = Target(kind="datasource", name="x", uid="x", fields={"url": url})
        return Observation(target, {"text": f"{url}\x00", "share": float("nan")})

    kept = carried.observation(redact, seen(ADDRESS))
    assert "correct-horse" not in json.dumps(kept)
    assert (kept["facts"]["text"][-1], kept["facts"]["share"]) == ("\ufffd", None)
    assert carried.observation(redact, Observation.of_json(kept)) == kept == carried.observation(redact, seen(ADDRESS))
    assert carried.observation(redact, seen(ADDRESS.replace("horse", "staple"))) != kept


@pytest.mark.parametrize(("needs_more", "kind"), [(True, "none"), (False, "restore")])
def test_what_would_put_a_secret_back_is_done_by_hand(redact: Redactor, needs_more: bool, kind: str) -> None:
    undo = Undo(kind="inverse", reason=f"sets {ADDRESS}", action="a.b", arguments={"uid": "x", "url": ADDRESS})
    back = carried.by_hand(redact, undo, needs_more=needs_more)
    assert (back.kind, back.action, back.arguments) == (kind, None, None)
    assert "it can be put back by hand alone" in back.reason
    harmless = carried.by_hand(redact, undo.model_copy(update={"arguments": {"uid": "x"}}), needs_more=needs_more)
    assert (harmless.kind, harmless.arguments) == ("inverse", {"uid": "x"})
    assert "correct-horse" not in harmless.reason


def test_what_is_shown_and_what_it_depends_on_hold_tokens_that_can_be_compared(redact: Redactor) -> None:
    def seen(url: str) -> Target:
        return Target(kind="datasource", name="x", uid="x", fields={"url": url}, live={"n": Bounds(previewed=1)})

    planned = PlannedAction(
        action="dashboards.set-datasource",
        arguments={"uid": "x"},
        target=seen(ADDRESS),
        summary=f"from {ADDRESS}",
        preview={"before": ADDRESS, "rows": [{"password": "correct-horse"}], "count": 1},
        expected_effect=f"not {ADDRESS}",
        effect_within_s=1,
        authority="L1",
        risk_reducing=False,
        stops_new_risk=False,
        blast_radius={"sources": 1},
        residual_risk=ADDRESS,
        undo=Undo(kind="none", reason="x"),
    )
    shown = carried.shown(redact, planned)
    assert "correct-horse" not in shown.model_dump_json()
    assert (shown.preview["count"], shown.blast_radius, shown.target.live) == (1, {"sources": 1}, planned.target.live)
    assert drift.changes(shown.target, carried.target(redact, seen(ADDRESS))) == []
    [line] = drift.changes(shown.target, carried.target(redact, seen(ADDRESS.replace("horse", "staple"))))
    assert line.startswith("url was redis://reader:«redacted:")
    assert "staple" not in line
