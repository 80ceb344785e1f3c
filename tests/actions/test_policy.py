"""The policy file: every mistake is named at once, and every rule of it counts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opslib import store
from opslib.actions import applier, holds, plans, policy, standing
from opslib.actions.catalogue import ACTIONS, make
from opslib.actions.documents import Document, PlannedAction, Undo
from opslib.errors import ConfigurationError, ParameterError
from opslib.settings import Settings
from tests.actions.world import World, edit_policy

NOON = dt.datetime(2026, 6, 3, 12, 0, tzinfo=dt.UTC)  # a Wednesday


def test_every_mistake_is_named_at_once(params: Path) -> None:
    def spoil(rules: dict[str, Any]) -> None:
        rules["plan_expires_after_minutes"] = "soon"
        rules["actions"]["crypto.burn"] = {}
        rules["levels"]["L2"].append("restart")
        rules["guards"]["no_such_guard"] = True
        rules["standing_approvals"][0]["action"] = "crypto.set-kelly"

    edit_policy(params, spoil)
    with pytest.raises(ConfigurationError) as caught:
        policy.load(Settings())
    lines = "\n".join(caught.value.facts["mistakes"])
    for told in (
        "policy.yaml: plan_expires_after_minutes: Input should be a valid number",
        "policy.yaml: actions: Value error, there is no action crypto.burn",
        "policy.yaml: levels: Value error, restart stands at two levels",
        "policy.yaml: guards.no_such_guard: Extra inputs are not permitted",
        "policy.yaml: standing_approvals.0.action: Value error, crypto.set-kelly does not reduce risk",
    ):
        assert told in lines


def test_a_policy_that_is_missing_or_no_yaml_is_named(params: Path) -> None:
    (params / "policy.yaml").write_text("levels: [", "utf-8")
    with pytest.raises(ConfigurationError, match=r"policy\.yaml: \(the whole file\): while parsing"):
        policy.load(Settings())
    (params / "policy.yaml").unlink()
    with pytest.raises(ConfigurationError, match="is missing from"):
        policy.load(Settings())


@pytest.mark.parametrize("kelly", [0, -0.1, 1.01, float("nan"), "0.1", True])
def test_arguments_are_strict_and_bounded(kelly: object) -> None:
    with pytest.raises(ParameterError, match=r"crypto\.emergency-reduce: kelly_fraction: "):
        make("crypto.emergency-reduce", {"kelly_fraction": kelly})


def test_unknown_actions_and_arguments_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"there is no action 'rm -rf'; known: alertmanager\."):
        make("rm -rf", {})
    with pytest.raises(ParameterError, match="force: Extra inputs"):
        make("crypto.emergency-reduce", {"force": True})
    with pytest.raises(ParameterError, match="reason: String should match pattern"):
        make("crypto.emergency-reduce", {"reason": "a\nb"})


def planned(world: World, name: str = "crypto.set-kelly") -> PlannedAction:
    """An action as a plan of this world has it."""
    return world.propose(0.12, name).document.actions[0]


def test_guards_forbid_what_adds_risk_and_never_what_reduces_it(world: World) -> None:
    adds, reduces = planned(world), planned(world, "crypto.emergency-reduce")
    calm: dict[str, Any] = {"trading": True, "max_var_pct": 1.0, "kill_switches": {"KILL_SWITCH": False}}
    loaded = policy.load(world.settings)
    assert loaded.forbidden(adds, "crypto", calm, NOON) == []
    assert loaded.forbidden(adds, "crypto", {**calm, "trading": False}, NOON) == [
        "trading is stopped on the platform; start it before adding risk"
    ]
    assert loaded.forbidden(adds, "crypto", {**calm, "max_var_pct": 1.51}, NOON) == [
        "VaR is 1.51 %; no hot reload above 1.5 %"
    ]
    assert loaded.forbidden(adds, "crypto", {**calm, "max_var_pct": None}, NOON) == [
        "VaR is not known; no hot reload above 1.5 %"
    ]
    hours = {"days": ["wed"], "start": "13:30", "end": "20:00", "timezone": "Europe/Berlin"}
    dated = {"start": "2026-06-03T11:00:00Z", "end": "2026-06-03T13:00:00Z"}
    edit_policy(
        world.params,
        lambda p: p["guards"].update(
            market_hours=[{**hours, "forbids": ["configuration", "reduce-risk"], "reason": "open"}],
            expiry_windows=[{**dated, "forbids": ["configuration"], "reason": "expiry"}],
        ),
    )
    loaded = policy.load(world.settings)
    assert loaded.forbidden(adds, "crypto", calm, NOON) == ["market hours: open", "window: expiry"]
    assert loaded.forbidden(adds, "crypto", calm, NOON + dt.timedelta(days=1)) == []
    assert loaded.forbidden(reduces, "crypto", {"trading": False, "max_var_pct": 9.0}, NOON) == []


def test_what_has_no_undo_needs_one_level_more(params: Path) -> None:
    loaded = policy.load(Settings())
    reduce = ACTIONS["crypto.emergency-reduce"]
    inverse, none = Undo(kind="inverse", reason=""), Undo(kind="none", reason="")
    assert (loaded.authority(reduce, inverse), loaded.authority(reduce, none)) == ("L1", "L2")
    edit_policy(params, lambda p: p["actions"]["crypto.emergency-reduce"].update(authority="L4"))
    loaded = policy.load(Settings())
    assert (loaded.authority(reduce, inverse), loaded.authority(reduce, none)) == ("L4", "L4")


def stand(world: World, key: Ed25519PrivateKey, **changes: Any) -> None:
    """Sign the standing approval of the file for the sandbox, then change it."""

    def signed(rules: dict[str, Any]) -> None:
        entry = rules["standing_approvals"][0]
        entry["environments"] = ["sandbox"]
        rules["signers"] = {"head-of-risk": standing.public(key)}
        entry["signature"] = standing.sign(policy.StandingApproval.model_validate(entry), key)
        entry.update(changes)

    edit_policy(world.params, signed)


def test_a_standing_approval_approves_and_the_applier_applies(world: World) -> None:
    stand(world, Ed25519PrivateKey.generate())
    world.fire()
    plan = world.propose()
    assert plan.state == "approved"
    assert world.last("plan-decided")["person"] == "standing:var-emergency-reduce"
    assert applier.run_once(world.settings, plan.hash).state == "verified"


def test_a_standing_approval_that_was_taken_back_counts_no_longer(world: World) -> None:
    stand(world, Ed25519PrivateKey.generate())
    world.fire()
    plan = world.propose()
    assert plan.state == "approved"
    edit_policy(world.params, lambda rules: rules.update(signers={}))
    after = applier.run_once(world.settings, plan.hash)
    assert (after.state, world.platform.posts) == ("void", [])
    assert "the approvals are not enough" in (after.reason or "")


def test_the_shipped_standing_approval_lets_a_person_decide(world: World) -> None:
    world.fire()
    assert world.propose().state == "proposed"
    assert "plan-waits" not in world.kinds()


def test_a_standing_approval_is_for_its_platforms(world: World) -> None:
    stand(world, Ed25519PrivateKey.generate(), platforms=["quant"])
    world.fire()
    assert world.propose().state == "proposed"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signature": ""}, "lacks a valid signature of head-of-risk"),
        ({"bounds": {"kelly_fraction": {"low": 0.01, "high": 0.99}}}, "lacks a valid signature"),
        ({"trigger": "Other"}, "Other does not fire"),
        ({"expires": "2020-01-01T00:00:00Z"}, "it expired at 2020"),
        ({"signed_by": "nobody"}, "lacks a valid signature of nobody"),
    ],
)
def test_a_standing_approval_counts_only_as_signed(world: World, changes: dict[str, Any], reason: str) -> None:
    stand(world, Ed25519PrivateKey.generate(), **changes)
    world.fire()
    assert world.propose().state == "proposed"
    assert reason in world.last("plan-waits")["standing_approvals"][0]


def test_a_standing_approval_needs_a_firing_alert_bounds_budget_and_no_hold(world: World) -> None:
    stand(world, Ed25519PrivateKey.generate())
    assert world.propose().state == "proposed"
    assert "VarBreach does not fire" in world.last("plan-waits")["standing_approvals"][0]
    world.fire()
    assert world.propose(0.2).state == "proposed"
    assert "kelly_fraction = 0.2 is not within 0.05..0.15" in world.last("plan-waits")["standing_approvals"][0]
    holds.place(world.settings, world.person("ann"), reason="wait")
    assert world.propose().state == "proposed"
    assert "on hold" in world.last("plan-waits")["standing_approvals"][0]
    holds.release(world.settings, world.person("ann"))
    for _ in range(2):
        plan = world.propose()
        assert applier.run_once(world.settings, plan.hash).state == "verified"
        world.platform.set_kelly(0.25)
    assert world.propose().state == "proposed"
    assert "was applied 2 times within the hour already" in world.last("plan-waits")["standing_approvals"][-1]


def test_what_changes_with_a_target_counts_as_a_change_of_it(world: World) -> None:
    proposed = world.propose().document

    def of(name: str, *also: str) -> Document:
        [planned] = proposed.actions
        target = planned.target.model_copy(update={"kind": "deployment", "name": name, "also": also})
        changed = {"nonce": name, "actions": (planned.model_copy(update={"target": target}),)}
        return proposed.model_copy(update=changed)

    api, web = "deployment/desk/api", "deployment/desk/web"
    with store.connect(world.settings) as connection:
        plans.keep(world.settings, connection, of("desk/release", api), actor="recorder")
        connection.execute("UPDATE plans SET state = 'verified', changed_at = now()")

        def spent(document: Document) -> int:
            return plans.changes(connection, document, document.actions[0])["altogether"]

        assert (spent(of("desk/api")), spent(of("desk/web"))) == (1, 0)
        assert (spent(of("desk/scaler", api)), spent(of("desk/scaler", web))) == (1, 0)
        assert spent(of("desk/other", "deployment/desk/release")) == 1
        connection.rollback()


def test_keys_are_made_and_entries_signed_by_command(world: World, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "signer.pem"
    assert standing.main(["key", str(file)]) == 0
    public = capsys.readouterr().out.strip()
    assert file.stat().st_mode & 0o077 == 0
    assert standing.main(["sign", "var-emergency-reduce", "--key", str(file)]) == 0
    signature = capsys.readouterr().out.strip()

    def take(rules: dict[str, Any]) -> None:
        rules["signers"] = {"head-of-risk": public}
        rules["standing_approvals"][0]["signature"] = signature

    edit_policy(world.params, take)
    loaded = policy.load(Settings())
    assert standing.signed(loaded.standing_approvals[0], loaded.signers)
