"""Declared shapes of JSON: every difference is named, and what is not named is let through."""

from __future__ import annotations

from typing import Any

import pytest

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target
from opslib.probes.json_shape import differences

ENGINES = {"greeks_engine": {"average_time_microseconds": "number"}, "models?": [{"name": "text", "at?": "time"}]}


@pytest.mark.parametrize(
    ("value", "shape", "wrong"),
    [
        ({"greeks_engine": {"average_time_microseconds": 12.5}, "more": 1}, ENGINES, []),
        ({"greeks_engine": {}}, ENGINES, ["the answer.greeks_engine lacks 'average_time_microseconds'"]),
        (
            {"greeks_engine": {"average_time_microseconds": "12"}, "models": [{"name": 1}, {"name": "b", "at": "x"}]},
            ENGINES,
            [
                "the answer.greeks_engine.average_time_microseconds must be number, is text",
                "the answer.models[0].name must be text, is number",
                "the answer.models[1].at must be time, is text",
            ],
        ),
        ([1, "2"], ["whole"], ["the answer[1] must be whole, is text"]),
        ({"a": {"x": 1}, "b": 2}, {"*": {"x": "number"}}, ["the answer.b must be an object, is number"]),
        (True, "number", ["the answer must be number, is flag"]),
        (None, {"a": "any"}, ["the answer must be an object, is null"]),
        ({"at": "2026-11-28T10:00:00Z"}, {"at": "time"}, []),
    ],
)
def test_differences_are_named(value: Any, shape: Any, wrong: list[str]) -> None:
    assert differences(value, shape) == wrong


def test_an_answer_of_another_shape_is_an_error(api: Target) -> None:
    shape = {"kelly_fraction": "number", "models": ["text"]}
    assert probes.call("http.json", api, {"path": "/api/status", "shape": shape})["kelly_fraction"] == 0.25
    with pytest.raises(ProbeError, match=r"/list is not as declared: the answer\[2\] must be number, is object"):
        probes.call("http.json", api, {"path": "/list", "shape": ["number"]})
    with pytest.raises(ProbeError, match="a shape is an object, a list or one of"):
        probes.call("http.json", api, {"path": "/list", "shape": ["nonsense"]})
