"""Every rule of the policy, when it is removed, changes an answer: those of the file, and those of the code."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opslib import store
from opslib.actions import applying, approval, guards, policy, standing, undoing
from tests.actions import desk_cases, undo_cases
from tests.actions.mutants import Mutant, loaded, mutants
from tests.actions.policy_cases import CASES, answer, answers
from tests.actions.policy_facts import Modules, Raw, full, shipped, signed
from tests.actions.world import World

Where = tuple[str | int, ...]

# What a text becomes, by its own key or that of its list: another one that is valid there.
OTHERS = {
    "platforms": "quant",
    "days": "sun",
    "environments": "staging",
    "forbids": "business",
    "timezone": "UTC",
    "reason": "another",
    "file": "other/KILL_SWITCH",
    "probe": "files.text",
    "path": "other.json",
    "under": "another",
    "order": "service",
    "of": "id",
    "trigger": "Other",
    "name": "another",
    "signed_by": "nobody",
    "authority": "L3",
    "action": "crypto.lower-position-limit",
    "signers": standing.public(Ed25519PrivateKey.from_private_bytes(b"o" * 32)),
}
LEVELS = ("L1", "L2", "L3", "L4")

# What decides by itself, without the store, in each module.
FUNCTIONS: dict[ModuleType, tuple[str, ...]] = {
    policy: (
        *("_zoned", "_reduces", "_known", "_named", "_once", "_there", "covers", "authority", "approvers", "budget"),
        *("forbidden", "holding", "concerned", "_switched", "_over_orders"),
    ),
    guards: ("look", "named", "_is_set", "_working"),
    standing: ("covering", "_lacking"),
    approval: ("level_needed", "approvers_needed", "may_decide"),
}
# What decides on what the store holds.
ON_THE_DESK: dict[ModuleType, tuple[str, ...]] = {
    approval: (
        *("approve", "reject", "apply", "undo", "approvers", "sufficient", "held"),
        *("must_be", "authority"),
    ),
    applying: ("begin", "_problems", "_not_wanted", "_fires"),
    undoing: ("inverse", "_made", "_moved", "declared", "in_vain", "drawn", "by_itself", "covered"),
}
# What makes no difference when it is left out, and why.
SAME = {
    "sufficient: without: _says(row['reason'])": "the store takes no broken glass without a reason",
    "undo: never: document is None": "a plan that is applied between two looks at it",
    "begin: never: run is None": "an INSERT that returns no row",
    "begin: always: check": "only what is told of the check, which every action here has",
    "_not_wanted: without: row is not None": "a count is always a row",
}
MUTANTS = [mutant for module, functions in FUNCTIONS.items() for mutant in mutants(module, functions)]
DESK_MUTANTS = [mutant for module, functions in ON_THE_DESK.items() for mutant in mutants(module, functions)]


def leaves(value: Any, path: Where = ()) -> Iterator[Where]:
    """Where the single rules of a file stand."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


def entries(raw: Raw) -> Iterator[Where]:
    """Where a rule of several parts stands that can be deleted: of an action, a window, an approval in advance."""
    yield from (("actions", name) for name in raw["actions"])
    lists = ("market_hours", "expiry_windows", "kill_switches", "open_orders")
    for path in (*(("guards", name) for name in lists), ("standing_approvals",)):
        yield from ((*path, index) for index in range(len(at(raw, path))))


def at(raw: Any, path: Where) -> Any:
    """What stands there."""
    for key in path:
        raw = raw[key]
    return raw


def deleted(raw: Raw, path: Where) -> Raw:
    """The file without it."""
    other = deepcopy(raw)
    del at(other, path[:-1])[path[-1]]
    return other


def altered(raw: Raw, path: Where) -> Raw:
    """The file with another value there; what is signed is signed again, so that the value counts by itself."""
    other = deepcopy(raw)
    if path[0] == "levels":
        level = str(path[1])
        kind = other["levels"][level].pop(path[2])
        other["levels"][LEVELS[LEVELS.index(level) + 1] if level < "L4" else "L3"].append(kind)
        return other
    at(other, path[:-1])[path[-1]] = _another(at(other, path), path)
    return signed(other)


def _another(value: Any, path: Where) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + (1 if isinstance(value, int) else 0.05)
    if isinstance(value, dt.datetime):
        return value + dt.timedelta(days=1)
    if re.fullmatch(r"\d\d:\d\d", value):
        return value[:3] + "30" if value[3:] == "00" else value[:3] + "59"
    key = path[-2] if isinstance(path[-1], int) or path[0] == "signers" else path[-1]
    if key == "answer":
        return "refuse" if value == "name" else "name"
    return OTHERS[str(key)]


EXPECTED = answers(Modules(), full())
SHIPPED = [path for path in leaves(shipped()) if path[-1] != "signature"]
FULL = [path for path in leaves(full()) if path[-1] != "signature"]


def name(path: Where) -> str:
    return ".".join(map(str, path))


def test_no_rule_that_is_shipped_is_left_out() -> None:
    assert {"guards", "levels", "budget_per_hour", "standing_approvals"} <= {path[0] for path in SHIPPED}
    assert set(SHIPPED) <= set(FULL)
    assert all(at(full(), path) == at(shipped(), path) for path in SHIPPED)


@pytest.mark.parametrize("path", FULL, ids=name)
def test_every_value_of_the_file_counts(path: Where) -> None:
    changed = altered(full(), path)
    policy.Policy.model_validate(changed)
    assert answers(Modules(), changed) != EXPECTED


@pytest.mark.parametrize("path", list(entries(full())), ids=name)
def test_every_entry_of_the_file_counts(path: Where) -> None:
    changed = deleted(full(), path)
    policy.Policy.model_validate(changed)
    assert answers(Modules(), changed) != EXPECTED


@pytest.mark.parametrize("list_", ["market_hours", "expiry_windows"])
def test_a_window_without_platforms_is_for_all(list_: str) -> None:
    raw = full()
    raw["guards"][list_][0]["platforms"] = []
    assert answers(Modules(), raw) != EXPECTED


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_guard_that_needs_no_store_counts(mutant: Mutant) -> None:
    raw = full()
    with loaded(mutant) as copy:
        modules = replace(Modules(), **{mutant.module.__name__.rpartition(".")[2]: copy})
        assert any(answer(case, modules, raw) != EXPECTED[name] for name, case in CASES.items())


def test_the_table_is_answered() -> None:
    assert EXPECTED["on a Thursday"] == "[]"
    assert EXPECTED["stands"] == "('var-emergency-reduce', [])"
    assert EXPECTED["L1"] == "None"
    mistaken = {name for name, told in EXPECTED.items() if "Error: " in told}
    files = ("an unknown", "a kind at", "a guard against", "a window without an")
    assert mistaken == {name for name in CASES if name.startswith(files)} | {
        *("an approval for no action", "an approval of more risk", "an end without an offset")
    }


@pytest.mark.slow
def test_every_guard_of_decisions_and_applies_counts(world: World) -> None:
    with closing(store.Kept(world.settings, most=2)) as kept, kept:
        survived = _survived(world)
    assert set(survived) == set(SAME)


def _survived(world: World) -> list[str]:
    """The mutants that no case tells from what they were made of."""
    desk_cases.set_up(world)
    expected = {about: desk_cases.answers(cases, Modules(), world) for about, cases in undo_cases.CASES.items()}
    told = [one for cases in expected.values() for one in cases.values() if "Error: " in one]
    assert {one.partition(":")[0] for one in told} == {"PlanError", "UsageError"}
    survived = []
    for mutant in DESK_MUTANTS:
        about = mutant.name.partition(":")[0]
        with loaded(mutant) as copy:
            modules = replace(Modules(), **{mutant.module.__name__.rpartition(".")[2]: copy})
            cases = undo_cases.CASES[about].items()
            if all(desk_cases.answer(case, modules, world) == expected[about][name] for name, case in cases):
                survived.append(mutant.name)
    assert {about: desk_cases.answers(cases, Modules(), world) for about, cases in undo_cases.CASES.items()} == expected
    return survived
