"""Parameters: what a notebook may declare, and what a run may be given."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papermill.translators import PythonTranslator

from opslib import platforms
from opslib.canonical import plain
from opslib.errors import ParameterError
from opslib.runs import catalogue, parameters
from opslib.runs.declaration import Parameter, declared
from opslib.settings import Settings
from tests.runs.conftest import write_runbook

DECLARED = """
count: int = 3  # pieces, 1..10 | how many
ratio: float = 0.5  # 0..1
note: str = ""  # | for the record
fast: bool = False
names: list[str] = ["a"]
levels: list[float] = [0.1]  # %, 0..5
extra: dict = {}
needed: int  # s, 1.. | has to be given
"""


@pytest.fixture
def runbook(offline: Settings) -> catalogue.Runbook:
    write_runbook(offline.notebooks / "alerts" / "all.ipynb", parameters=DECLARED, platforms=["test"])
    return catalogue.find(offline, "all")


@pytest.fixture
def platform(offline: Settings) -> platforms.Platform:
    return platforms.load(offline, "test")


def test_declaration_is_read_with_units_bounds_and_descriptions() -> None:
    found, mistakes = declared(DECLARED)
    assert mistakes == []
    assert found[0] == Parameter("count", "int", 3, False, "pieces", 1.0, 10.0, "how many")
    assert found[1] == Parameter("ratio", "float", 0.5, False, "", 0.0, 1.0, "")
    assert (found[7].required, found[7].unit, found[7].low, found[7].high) == (True, "s", 1.0, None)


@pytest.mark.parametrize(
    ("source", "mistake"),
    [
        ("Name: int = 1", "Name: a name has small letters"),
        ("x: set = set()", "x: the type must be one of"),
        ("x: int = print(1)", "x: the value must be a literal"),
        ("x: int = True", "x: the default must be int, not bool True"),
        ("x: int = 5  # 1..4", "x: the default must be at most 4, not 5"),
        ("x = 1", "line 1: only `name: type = literal`"),
        ("import os", "line 1: only `name: type = literal`"),
        ("x: int = 1\nx: int = 2", "x: declared twice"),
        ("x: int = (", "the parameters cell is not Python"),
        ("x: list[str] = [1]", r"x: the default must be list[str]"),
    ],
)
def test_declaration_with_a_mistake_says_which(source: str, mistake: str) -> None:
    _, mistakes = declared(source)
    assert len(mistakes) == 1
    assert mistakes[0].startswith(mistake)


def test_later_sources_come_before_earlier_ones(runbook: catalogue.Runbook, platform: platforms.Platform) -> None:
    platform = platform.model_copy(update={"runbooks": {"all": {"count": 4, "ratio": 1}}})
    values = parameters.resolve(runbook, platform, {"count": 5, "needed": 1}, {"labels": {"a": "b"}})
    assert (values["count"], values["ratio"], values["note"]) == (5, 1.0, "")
    assert isinstance(values["ratio"], float)
    assert (values["platform"], values["alert"]) == ("test", {"labels": {"a": "b"}})


def test_every_mistake_is_named_at_once(runbook: catalogue.Runbook, platform: platforms.Platform) -> None:
    platform = platform.model_copy(update={"runbooks": {"all": {"old": 1}}})
    wrong = {"count": "7", "ratio": True, "levels": [9.0], "os.system('x')": 1, "alert": {}, "platform": "other"}
    with pytest.raises(ParameterError, match="the parameters of all do not validate") as caught:
        parameters.resolve(runbook, platform, wrong, None)
    told = "\n".join(caught.value.facts["mistakes"])
    for part in (
        "old: all has no such parameter",
        "(params/platforms/test.yaml)",
        "count: must be int, not str '7' (given)",
        "ratio: must be float, not bool True",
        "levels: must be at most 5 %, not 9.0",
        "not a parameter's name",
        "alert: all has no such parameter",
        "platform: the run is on test, not 'other'",
        "needed: missing; it has no default",
    ):
        assert part in told
    assert len(caught.value.facts["mistakes"]) == 8


@pytest.mark.parametrize("alert", [[{"labels": {}}], "VarBreach", 7])
def test_what_is_no_alert_is_refused(runbook: catalogue.Runbook, platform: platforms.Platform, alert: Any) -> None:
    with pytest.raises(ParameterError, match=r"alert: it is a \w+; an alert is an object with `labels` \(given\)"):
        parameters.resolve(runbook, platform, {"needed": 1}, alert)


def test_runbook_of_another_platform_is_refused(runbook: catalogue.Runbook, platform: platforms.Platform) -> None:
    elsewhere = platform.model_copy(update={"name": "crypto"})
    with pytest.raises(ParameterError, match="all is for test, not crypto"):
        parameters.resolve(runbook, elsewhere, {"needed": 1}, None)


def test_typed_text_is_read_as_the_declared_type(runbook: catalogue.Runbook) -> None:
    texts = {"count": "7", "ratio": "1e-1", "note": "007", "fast": "true", "names": '["x"]', "other": "1"}
    values = parameters.from_text(runbook, texts)
    assert values == {"count": 7, "ratio": 0.1, "note": "007", "fast": True, "names": ["x"], "other": "1"}


@pytest.mark.parametrize("text", ["007", "seven", "", "0x7", "7 8", "NaN", "__import__('os')", "[" * 100_000])
def test_typed_text_that_is_no_value_is_refused_with_every_other_mistake(
    runbook: catalogue.Runbook, platform: platforms.Platform, text: str
) -> None:
    given = parameters.from_text(runbook, {"count": text, "nonsense": "1"})
    with pytest.raises(ParameterError, match=r"(?s)count: must be int.*nonsense: all has no such parameter"):
        parameters.resolve(runbook, platform, {**given, "needed": 1}, None)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
@settings(max_examples=300, deadline=None)
def test_alert_is_data_in_the_injected_cell(alert: dict[str, Any]) -> None:
    """Whatever an alert holds, the cell that papermill makes of it is one assignment of a literal."""
    clean = plain(alert)
    cell = PythonTranslator.codify({"alert": clean})
    tree = ast.parse(cell)
    assert len(tree.body) == 1
    assert isinstance(tree.body[0], ast.Assign)
    assert json.dumps(ast.literal_eval(tree.body[0].value)) == json.dumps(clean)
