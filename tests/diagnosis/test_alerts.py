"""Of an alert, whatever it is, what is understood is used, and what is not is said."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslib.diagnosis.alerts import LONGEST, Understood, understood

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
THEN = dt.datetime(2026, 11, 28, 11, 59, tzinfo=dt.UTC)
ALERT = {
    "status": "firing",
    "labels": {"alertname": "VarBreach"},
    "annotations": {"summary": "x"},
    "startsAt": "2026-11-28T11:59:00Z",
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def read(alert: Any) -> Understood:
    return understood(alert, THEN, lambda: NOW)


def test_a_delivered_alert_is_understood_as_it_is() -> None:
    found = read(ALERT)
    assert (found.alert, found.began, found.unread, found.doubts) == (ALERT, THEN, (), ())


def test_a_run_without_an_alert_asks_no_clock() -> None:
    assert understood({}, None, lambda: pytest.fail("asked")) == Understood({}, None, (), ())


def test_only_an_alert_that_is_younger_than_the_run_needs_the_time() -> None:
    assert understood(ALERT, THEN, lambda: pytest.fail("asked")).began == THEN
    assert understood(ALERT, THEN - dt.timedelta(hours=1), lambda: NOW).began == THEN


@pytest.mark.parametrize(
    ("starts_at", "began", "doubt"),
    [
        ("2026-11-28T11:59:00.123456789Z", THEN.replace(microsecond=123456), ""),
        ("2026-11-28T17:29:00+05:30", THEN, ""),
        ("2026-11-28T12:04:00Z", NOW + dt.timedelta(minutes=4), ""),
        (THEN, THEN, ""),
        ("2026-11-28T11:59:00", THEN, "startsAt '2026-11-28T11:59:00' names no time zone, and is read as UTC"),
        (None, None, "it does not say when it began"),
        ("", None, "it does not say when it began"),
        ("garbage", None, "startsAt 'garbage' is not a time, and is left out"),
        ("0001-01-01T00:00:00Z", None, "startsAt '0001-01-01T00:00:00Z' is more than a year ago, and is left out"),
        ("0001-01-01T00:00:00+14:00", None, "startsAt '0001-01-01T00:00:00+14:00' is not a time, and is left out"),
        ("2031-01-01T00:00:00Z", None, "startsAt '2031-01-01T00:00:00Z' is in the future, and is left out"),
        (1764331140, None, "startsAt is a number, not a time, and is left out"),
        (True, None, "startsAt is yes or no, not a time, and is left out"),
        ({"at": 1}, None, "startsAt is nested, not a time, and is left out"),
    ],
)
def test_when_it_began(starts_at: Any, began: dt.datetime | None, doubt: str) -> None:
    found = read({**ALERT, "startsAt": starts_at})
    assert (found.began, found.told) == (began, doubt)
    assert ("startsAt" in found.alert) == (began is not None)


@pytest.mark.parametrize(
    ("value", "text", "doubt"),
    [
        (5.5, "5.5", "label symbol is a number, read as the text 5.5"),
        (False, "False", "label symbol is yes or no, read as the text False"),
        (None, None, "label symbol is nothing, not a text, and is left out"),
        (10**5000, None, "label symbol is a number, not a text, and is left out"),
        (["BTC-USD"], None, "label symbol is a list, not a text, and is left out"),
        ({"a": {}}, None, "label symbol is nested, not a text, and is left out"),
    ],
    ids=("number", "truth", "nothing", "huge", "list", "nested"),
)
def test_a_label_that_is_no_text(value: Any, text: str | None, doubt: str) -> None:
    found = read({**ALERT, "labels": {"alertname": "X", "symbol": value}})
    assert (found.alert["labels"].get("symbol"), found.told) == (text, doubt)
    assert found.unread == (() if text else ("symbol",))


@pytest.mark.parametrize(
    ("alert", "kind"), [(None, "nothing"), ([ALERT], "a list"), ("x", "a text"), (7, "a number"), (object, "a type")]
)
def test_what_is_no_alert_is_left_out(alert: Any, kind: str) -> None:
    found = read(alert)
    assert (found.alert, found.told) == ({}, f"it is {kind}, not an alert, and is left out")


def test_long_texts_are_cut_and_many_doubts_are_counted() -> None:
    found = read({"labels": {f"{number}": None for number in range(50)}, "problem": "A" * 1_000_000})
    assert found.told.endswith("; and 46 more")
    assert len(found.alert["problem"]) < LONGEST + 10


@given(ANYTHING | st.fixed_dictionaries({"labels": ANYTHING, "annotations": ANYTHING, "startsAt": ANYTHING}))
def test_nothing_makes_it_fail(alert: Any) -> None:
    found = read(alert)
    found.told.encode()
    assert all(isinstance(one, str) for one in found.alert.get("labels", {}).values())
    assert found.began is None or abs(found.began - NOW) < dt.timedelta(days=367)
