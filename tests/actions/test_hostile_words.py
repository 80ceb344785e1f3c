"""What people and runs write into decisions and plans is kept, or refused in words, whatever letters it is made of."""

from __future__ import annotations

import pytest

from opslib import store
from opslib.actions import approval, holds, plans
from opslib.actions.catalogue import make
from opslib.errors import ParameterError
from tests.actions.world import World

WORDS = ["a\x00b", "caf\udce9", "\x1b[2J\r\n", "x" * 5000, "‮gnihton"]


def nested(depth: int) -> dict[str, object]:
    content: dict[str, object] = {}
    for _ in range(depth):
        content = {"a": content}
    return content


@pytest.mark.parametrize("words", WORDS, ids=["NUL", "half a pair", "a terminal's", "long", "backwards"])
def test_strange_words_are_kept_as_far_as_they_can_be(world: World, words: str) -> None:
    with store.transaction(world.settings) as connection:
        actions = [{"action": "crypto.emergency-reduce", "arguments": {"kelly_fraction": 0.1}}]
        plan = plans.propose(
            world.settings, connection, run_id=world.run, actions=actions, reason=words, platform="crypto"
        )
    assert approval.approve(world.settings, plan.hash, world.person("ann"), words).state == "approved"
    holds.place(world.settings, world.person("ann"), reason=f"why: {words}")
    holds.release(world.settings, world.person("ann"))
    assert approval.reject(world.settings, plan.hash, world.person("ann"), words).state == "rejected"


@pytest.mark.parametrize(
    "path",
    ["KILL_SWITCH/", "KILL_SWITCH/.", "./KILL_SWITCH", "a//b.json", "a/./b.json", "a/"],
)
def test_a_path_has_one_spelling(path: str) -> None:
    for name, more in (("files.remove", {}), ("files.write-json", {"content": {}}), ("files.kill-switch-off", {})):
        with pytest.raises(ParameterError, match=r"spell the path plainly, such as config/limits\.json"):
            make(name, {"path": path, **more})


@pytest.mark.parametrize(
    "content",
    [
        {"id": 2**53 + 1},
        {"a": [{"b": -(2**60)}]},
        {"a": "\x00"},
        {"\ud800": 1},
        {"a": float("nan")},
        nested(101),
        nested(5000),
    ],
)
def test_what_no_plan_keeps_as_it_is_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r"none that a plan keeps$|the arguments are too deep$"):
        make("files.write-json", {"path": "config/a.json", "content": content})


def test_a_variable_with_a_letter_that_no_plan_keeps_is_refused() -> None:
    given = {"workload": "deployment/api", "container": "main", "variable": "LEVEL", "value": "a\x00b"}
    with pytest.raises(ParameterError, match=r"kubernetes\.set-env: a letter \(NUL\), number"):
        make("kubernetes.set-env", given)


@pytest.mark.parametrize("given", [{}, {"content": {}, "text": "{}"}, {"text": "[1]"}, {"text": "[" * 20000}])
def test_what_a_file_shall_hold_is_said_once_and_is_an_object(given: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r"say what the file shall hold|the text is no JSON object"):
        make("files.write-json", {"path": "config/a.json", **given})
