"""Actions, facts, times and people, and what the policy says of each: a table in which every rule matters.

It is asked of the modules as they are and of modules from which a rule was taken, so that no case calls them by import.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from opslib.actions import policy, standing
from opslib.actions.action import Action
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Document, Undo
from opslib.people import UNPROVEN, Person
from opslib.platforms import Platform
from tests.actions.policy_facts import (
    KEY,
    LIMIT,
    NOON,
    REDUCE,
    REFRESH,
    RESET,
    RESTART,
    SCALE,
    SET,
    START,
    STOP,
    UNCORDON,
    UNSWITCH,
    Modules,
    Raw,
    plan,
    planned,
    shipped,
    signed,
    utc,
)

FOLDERS = Path(__file__).parent / "folders"
Case = Callable[[Modules, Raw], Any]
CALM = {"trading": True, "max_var_pct": 1.0, "kill_switches": {"KILL_SWITCH": False}}


def _guard(action: str, now: dt.datetime = NOON, platform: str = "crypto", **facts: Any) -> Case:
    """What the trading guards say."""

    def asked(modules: Modules, raw: Raw) -> Any:
        rules = modules.policy.Policy.model_validate(raw)
        return rules.forbidden(planned(action), platform, CALM | facts, now)

    return asked


def _platform(folder: str | None, name: str = "crypto") -> Platform:
    """A platform with a folder, or without one."""
    endpoints = {} if folder is None else {"files": (FOLDERS / folder).as_uri()}
    facts: dict[str, Any] = {"title": "", "environment": "production", "file": Path(), "state": Path()}
    lists: dict[str, Any] = {"runbooks": {}, "contacts": {}, "limits": {}, "symbols": [], "guards": {}, "charts": {}}
    return Platform(name=name, endpoints=endpoints, **facts, **lists)


def _drawn(
    action: str,
    folder: str | None = "quiet",
    *,
    later: str | None = None,
    platform: str = "crypto",
    named: dict[str, list[str]] | None = None,
    **target: str,
) -> Case:
    """An action as the guards let it be drawn up on a platform, and what they say of it, then or `later`."""

    def asked(modules: Modules, raw: Raw) -> Any:
        rules = modules.policy.Policy.model_validate(raw)
        one = planned(action, preview={"open_orders": named or {}}, residual_risk="some", **target)
        facts = modules.guards.look(rules, _platform(folder, platform), [one])
        drawn = modules.guards.named(rules, one, platform, facts)
        if later is not None:
            facts = modules.guards.look(rules, _platform(later, platform), [one])
        reasons = rules.forbidden(drawn, platform, {"max_var_pct": 1.0} | facts, NOON)
        return facts, drawn.preview, drawn.blast_radius, drawn.residual_risk, reasons

    return asked


def _authority(kind: str, undo: str) -> Case:
    """Which level a kind of action needs; there may be no action of the kind yet."""
    action = type("Any", (Action,), {"name": f"any.{kind}", "kind": kind})
    return lambda modules, raw: modules.policy.Policy.model_validate(raw).authority(action, Undo(kind=undo, reason=""))  # type: ignore[arg-type]


def _budget(action: str) -> Case:
    """How often a target may be changed."""
    return lambda modules, raw: modules.policy.Policy.model_validate(raw).budget(action).model_dump()


def _stands(document: Document, now: dt.datetime = NOON, firing: str = "VarBreach", held: bool = False) -> Case:
    """Which standing approval covers a plan, and why others do not."""

    def asked(modules: Modules, raw: Raw) -> Any:
        rules = policy.Policy.model_validate(raw)
        chosen, refused = modules.standing.covering(rules, document, firing=[firing], held=held, now=now)
        return chosen and chosen.name, refused

    return asked


def _edited(case: Case, change: Callable[[Raw], Any]) -> Case:
    """The same under another policy."""

    def asked(modules: Modules, raw: Raw) -> Any:
        other = deepcopy(raw)
        change(other)
        return case(modules, other)

    return asked


def _valid(modules: Modules, raw: Raw) -> Any:
    """Whether the file is taken, and what it is."""
    rules = modules.policy.Policy.model_validate(raw)
    return rules.plan_expires_after_minutes, sorted(rules.signers)


def _unchecked(modules: Modules, raw: Raw) -> Any:
    """An approval of what adds risk, as a file that nobody validated might give it."""
    rules = policy.Policy.model_validate(raw)
    entry = rules.standing_approvals[0].model_copy(update={"action": SET})
    entry = entry.model_copy(update={"signature": standing.sign(entry, KEY)})
    rules = rules.model_copy(update={"standing_approvals": (entry,)})
    return modules.standing.covering(rules, plan(planned(SET)), firing=["VarBreach"], held=False, now=NOON)[1]


def _decides(
    name: str,
    role: str,
    document: Document,
    decision: str = "approve",
    place: str | None = None,
    *,
    glass: bool = False,
) -> Case:
    """Why somebody may not decide."""

    def asked(modules: Modules, raw: Raw) -> Any:
        rules = policy.Policy.model_validate(raw)
        return modules.approval.may_decide(document, Person(name, role, place), decision, rules, break_glass=glass)

    return asked


def _needs(document: Document) -> Case:
    """Which level, and how many persons."""

    def asked(modules: Modules, raw: Raw) -> Any:
        rules = policy.Policy.model_validate(raw)
        return modules.approval.level_needed(document, rules), modules.approval.approvers_needed(rules, document)

    return asked


def _wider(raw: Raw) -> None:
    raw["standing_approvals"][0]["bounds"]["kelly_fraction"] = {"low": 0.5, "high": 1.5}
    signed(raw)


LESS = ["reduce-risk", "stop-new-risk"]
KINDS = [kind for kinds in shipped()["levels"].values() for kind in kinds]
EASY, HARD = planned(REDUCE), planned(SET, authority="L2")
EXPIRES = utc(2027, 12, 31)
CASES: dict[str, Case] = {
    # windows
    "on a Thursday": _guard(SET),
    "before the week ends": _guard(SET, utc(2026, 6, 5, 19, 50)),
    "as the week ends": _guard(SET, utc(2026, 6, 5, 20, 10)),
    "after that midnight": _guard(SET, utc(2026, 6, 5, 22, 50)),
    "towards its end": _guard(SET, utc(2026, 6, 5, 23, 50)),
    "after its end": _guard(SET, utc(2026, 6, 6, 0, 10)),
    "a day before, after midnight": _guard(SET, utc(2026, 6, 4, 22, 50)),
    "at the same time a day later": _guard(SET, utc(2026, 6, 6, 20, 10)),
    "as the week ends, elsewhere": _guard(SET, utc(2026, 6, 5, 20, 10), "quant"),
    "as the week ends, a fix": _guard(REFRESH, utc(2026, 6, 5, 20, 10)),
    "as the week ends, less risk": _guard(REDUCE, utc(2026, 6, 5, 20, 10)),
    "before New York opens": _guard(SET, utc(2026, 6, 3, 13, 20)),
    "as New York opens": _guard(SET, utc(2026, 6, 3, 13, 40), "quant"),
    "before New York closes": _guard(SET, utc(2026, 6, 3, 19, 50)),
    "as New York closes": _guard(SET, utc(2026, 6, 3, 20)),
    "while New York is closed": _guard(SET, utc(2026, 6, 2, 15)),
    "before the expiry": _guard(SET, utc(2026, 12, 25, 6)),
    "in the expiry": _guard(SET, utc(2026, 12, 25, 8)),
    "in the expiry, elsewhere": _guard(SET, utc(2026, 12, 25, 8), "quant"),
    "after the expiry": _guard(SET, utc(2026, 12, 25, 9)),
    # what the platform shows
    "trading is stopped": _guard(SET, trading=False),
    "trading is stopped, less risk": _guard(REDUCE, trading=False),
    "trading is stopped, no new risk": _guard(STOP, trading=False),
    "trading is stopped, nobody minds": _edited(
        _guard(SET, trading=False), lambda raw: raw["guards"].update(trading_stopped_forbids_new_risk=False)
    ),
    "nothing would be ready": _guard(REFRESH, ready=2, least_ready=0),
    "one would be ready": _guard(REFRESH, ready=2, least_ready=1),
    "nothing was ready": _guard(REFRESH, ready=0, least_ready=0),
    "VaR is high": _guard(SET, max_var_pct=1.52),
    "VaR is not known": _guard(SET, max_var_pct=None),
    "VaR is high, no hot reload": _guard(REFRESH, max_var_pct=9.0),
    "VaR is high, nobody minds": _edited(
        _guard(SET, max_var_pct=9.0), lambda raw: raw["guards"].update(hot_reload_max_var_pct=None)
    ),
    "trading is stopped, it starts": _guard(START, trading=False),
    # kill switches
    "no kill switch": _drawn(SET),
    "no kill switch, it starts": _drawn(START),
    **{
        f"a kill switch: {name}": _drawn(name, "switched") for name in (SET, START, LIMIT, RESET, REFRESH, REDUCE, STOP)
    },
    "a kill switch that is taken away": _drawn(UNSWITCH, "switched", target="KILL_SWITCH"),
    "a kill switch, and another is taken away": _drawn(UNSWITCH, "switched", target="OTHER_SWITCH"),
    "a kill switch, and what lifts another stop": _drawn(START, "switched", target="KILL_SWITCH"),
    "a kill switch that was set since": _drawn(SET, later="switched"),
    "a kill switch, elsewhere": _edited(
        _drawn(SET, "switched"), lambda raw: raw["guards"]["kill_switches"][0].update(platforms=["quant"])
    ),
    **{
        f"a kill switch that is to forbid {action}": _edited(
            _drawn(action, "switched"), lambda raw: raw["guards"]["kill_switches"][0].update(forbids=LESS)
        )
        for action in (REDUCE, STOP)
    },
    "a platform without a folder": _drawn(SET, None),
    "a folder that is away": _drawn(SET, "away"),
    "nobody looked for the switch": _guard(SET, kill_switches={}),
    # working orders
    "no order": _drawn(RESTART, kind="deployment", target="trading/execution"),
    "an order": _drawn(RESTART, "busy", kind="deployment", target="trading/execution"),
    "an order that is named and yet refused": _drawn(
        RESTART, "busy", named={"execution": ["A-1"]}, kind="deployment", target="trading/execution"
    ),
    "an order of another": _drawn(RESTART, "busy", kind="deployment", target="trading/router"),
    "an order of nobody": _drawn(RESTART, "stray", kind="statefulset", target="trading/router"),
    "orders, and a pod": _drawn(RESTART, "busy", kind="pod", target="trading/router-1"),
    "an order, on another platform": _drawn(RESTART, "busy", platform="quant", kind="pod", target="any"),
    "an order, by the kind": _drawn(RESTART, "busy", kind="statefulset", target="trading/quoter"),
    "an order, and a stop": _drawn("kubernetes.stop", "busy", kind="deployment", target="trading/execution"),
    "an order, and something else": _drawn(REFRESH, "busy"),
    "an order, less risk": _drawn(REDUCE, "busy"),
    "orders that are named": _drawn(SCALE, "busy", kind="deployment", target="trading/execution"),
    "no orders to name": _drawn(SCALE, kind="deployment", target="trading/execution"),
    "an order that came since": _drawn(SCALE, later="busy", kind="deployment", target="trading/execution"),
    "more orders than a plan names": _edited(
        _drawn(SCALE, "crowded"), lambda raw: raw["guards"]["open_orders"][1]["arguments"].update(last=60)
    ),
    "more orders than are looked through": _drawn(SCALE, "crowded"),
    "orders that are seen in part": _drawn(SCALE, "broken"),
    "orders that are no list": _drawn(RESTART, "broken"),
    "a list of no orders": _edited(
        _drawn(RESTART, "broken"), lambda raw: raw["guards"]["open_orders"][0].update(under=None)
    ),
    "orders that cannot be seen": _drawn(RESTART, "switched"),
    "named orders that cannot be seen": _drawn(SCALE, "switched"),
    "nobody looked for orders": _guard(RESTART),
    "orders under no key": _edited(
        _drawn(RESTART, "busy", kind="deployment", target="trading/execution"),
        lambda raw: raw["guards"]["open_orders"][0].update(under=None, arguments={"path": "plain.json"}),
    ),
    "orders that do not say whose": _edited(
        _drawn(RESTART, "busy", kind="deployment", target="trading/router"),
        lambda raw: raw["guards"]["open_orders"][0].update(of=None),
    ),
    "an order without a name": _edited(
        _drawn(RESTART, "busy"), lambda raw: raw["guards"]["open_orders"][0].update(of="venue")
    ),
    # levels and budgets
    **{f"{kind}, undo {undo}": _authority(kind, undo) for kind in KINDS for undo in ("inverse", "none")},
    "actions with an authority of their own": lambda modules, raw: [
        modules.policy.Policy.model_validate(raw).authority(ACTIONS[name], Undo(kind="inverse", reason=""))
        for name in (REFRESH, UNCORDON)
    ],
    **{f"budget of {action}": _budget(action) for action in (REDUCE, SET, REFRESH)},
    "persons": lambda modules, raw: [
        modules.policy.Policy.model_validate(raw).approvers(name) for name in (SET, REFRESH)
    ],
    # the file
    "valid": _valid,
    "an unknown action": _edited(_valid, lambda raw: raw["actions"].update({"crypto.burn": {}})),
    "a kind at two levels": _edited(_valid, lambda raw: raw["levels"]["L2"].append("restart")),
    "a kind at no level": _edited(_valid, lambda raw: raw["levels"]["L1"].remove("restart")),
    "a guard against nothing known": _edited(
        _valid, lambda raw: raw["guards"]["open_orders"][0].update(forbids=["restrat"])
    ),
    "an unknown kill switch": _edited(_valid, lambda raw: raw["guards"]["kill_switches"][0].update(file="halt.flag")),
    "a window without an offset": _edited(
        _valid, lambda raw: raw["guards"]["expiry_windows"][0].update(end="2026-12-25T09:00:00")
    ),
    "an approval for no action": _edited(_valid, lambda raw: raw["standing_approvals"][0].update(action="crypto.burn")),
    "an approval of more risk": _edited(_valid, lambda raw: raw["standing_approvals"][0].update(action=SET)),
    "an end without an offset": _edited(
        _valid, lambda raw: raw["standing_approvals"][0].update(expires="2027-12-31T00:00:00")
    ),
    # standing approvals
    "stands": _stands(plan(planned(REDUCE))),
    "stands until the end": _stands(plan(planned(REDUCE)), EXPIRES - dt.timedelta(hours=1)),
    "stands no longer": _stands(plan(planned(REDUCE)), EXPIRES + dt.timedelta(hours=1)),
    "the other entry stands no longer": _stands(
        plan(planned(STOP), environment="sandbox"), EXPIRES + dt.timedelta(hours=1)
    ),
    "another alert": _stands(plan(planned(REDUCE)), firing="Other"),
    "on hold": _stands(plan(planned(REDUCE)), held=True),
    "on hold, no new risk": _stands(plan(planned(STOP), environment="sandbox"), held=True),
    "on hold, and the other entry": _stands(plan(planned(STOP), environment="production"), held=True),
    "another platform": _stands(plan(planned(REDUCE), platform="quant")),
    "another environment": _stands(plan(planned(REDUCE), environment="sandbox")),
    "a staged one": _stands(plan(planned(REDUCE), environment="staging")),
    "an action without one": _stands(plan(planned(REFRESH))),
    "two of an action": _stands(plan(planned(REDUCE), planned(REDUCE))),
    "one more action": _stands(plan(planned(REDUCE), planned(REFRESH))),
    "two persons": _stands(plan(planned(REDUCE, approvers=2))),
    "more risk": _unchecked,
    "unsigned": _edited(_stands(plan(planned(REDUCE))), lambda raw: raw["standing_approvals"][0].update(signature="")),
    **{f"Kelly {kelly!r}": _stands(plan(planned(REDUCE, kelly=kelly))) for kelly in (0.04, 0.06, 0.18, 0.26, "0.1")},
    "Kelly True": _edited(_stands(plan(planned(REDUCE, kelly=True))), _wider),
    # people
    "a viewer": _decides("vera", "viewer", plan(EASY)),
    "a machine": _decides("bot", "machine", plan(EASY)),
    "L1": _decides("ann", "L1", plan(EASY)),
    "L1 for more than that": _decides("ann", "L1", plan(EASY, HARD)),
    "L2": _decides("bob", "L2", plan(EASY, HARD)),
    "L2 elsewhere": _decides("otto", "L2", plan(HARD), place="quant"),
    "whoever started it": _decides("ann", "L1", plan(EASY, initiator="ann")),
    "whoever started more than that": _decides("bob", "L2", plan(HARD, initiator="bob")),
    "whoever started it, to apply it": _decides("bob", "L2", plan(HARD, initiator="bob"), "apply"),
    "L1 breaks the glass for more than that": _decides("ann", "L1", plan(EASY, HARD), glass=True),
    "whoever started more than that breaks the glass": _decides("bob", "L2", plan(HARD, initiator="bob"), glass=True),
    "whoever started what needs L3 breaks the glass": _decides(
        "cleo", "L3", plan(planned(SET, authority="L3"), initiator="cleo"), glass=True
    ),
    "a viewer breaks the glass": _decides("vera", "viewer", plan(EASY), glass=True),
    "stricter than when it was planned": _needs(plan(planned(SET))),
    "looser than when it was planned": _needs(plan(planned(REDUCE, authority="L3", approvers=2))),
    "two persons since": _needs(plan(planned(REFRESH))),
    "started by nobody known": _needs(plan(HARD, initiator=f"root{UNPROVEN}")),
    "started by nobody known, L1": _needs(plan(EASY, initiator=f"root{UNPROVEN}")),
    "started by somebody": _needs(plan(HARD, initiator="bob")),
}


def answer(case: Case, modules: Modules, raw: Raw) -> str:
    """What is said of a case; an error is an answer too."""
    try:
        return repr(case(modules, raw))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def answers(modules: Modules, raw: Raw) -> dict[str, str]:
    """What is said of every case."""
    return {name: answer(case, modules, raw) for name, case in CASES.items()}
