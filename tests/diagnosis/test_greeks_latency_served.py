"""A01 on what is served: taken out of the cache, computed again, and told where it differs."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest

from engine import european
from opslib.diagnosis import Diagnosis, greeks_latency
from opslib.errors import ProbeError
from tests.diagnosis.derivatives_facts import NOW
from tests.diagnosis.told import context

if TYPE_CHECKING:
    from opslib import Ops

CACHE = {
    "pattern": "greeks:*",
    "key": "greeks:{underlying}:{kind}:{strike}:{days}:{spot}",
    "fields": ["at", "price", "delta", "gamma", "vega", "theta", "rho", "volatility", "spot"],
    "rate": 0.03,
    "dividends": {"SPX": 0.013},
}


def test_served_greeks_that_differ_are_told_in_verdict_and_message() -> None:
    mine = european(**greeks_latency.EXAMPLE)
    served = {name: float(getattr(mine, name)) for name in greeks_latency.GREEKS}
    assert greeks_latency.disagreement("greeks:SPX", greeks_latency.compared(served, mine)) == ""
    served["vega"] *= 1.05
    told = greeks_latency.disagreement("greeks:SPX", greeks_latency.compared(served, mine))
    assert told == "The Greeks served as greeks:SPX DIFFER from those computed here (vega by 4.8 %): call L2 at once"
    where = context()
    for confirmed, begins in (
        (True, "Slow. No cause is looked for"),
        (False, "Not confirmed: slow"),
        (None, "Not known"),
    ):
        case = Diagnosis(SimpleNamespace(unseen=[], context=where, now=lambda: NOW), ())  # type: ignore[arg-type]
        case.confirm(confirmed, "slow")
        case.notes += ["", told, told]
        assert case.verdict().summary.startswith(begins), case.verdict().summary
        assert case.verdict().summary.count(told) == 1
        assert told in case.message("Greeks latency", None)


def test_a_served_request_is_taken_out_of_the_cache_and_recomputed() -> None:
    option = {"spot": 5148.0, "strike": 5200.0, "expiry": 30 / 365, "rate": 0.03, "dividend": 0.013}
    mine = european(**option, volatility=0.16, kind="call")
    entry = json.dumps([1.7e9, *mine[:6], 0.16, 5148.0])
    found = greeks_latency.understood("greeks:SPX:call:5200:30:5148", entry, CACHE)
    assert found is not None
    assert found["option"] == {**option, "volatility": 0.16, "kind": "call"}
    assert greeks_latency.compared(found["served"], european(**found["option"]))["agrees"].all()
    wrong = {**found["served"], "vega": found["served"]["vega"] * 1.05}
    assert not greeks_latency.compared(wrong, mine).loc["vega", "agrees"]


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("greeks:SPX:call:5200:30:5148", "not json"),
        ("greeks:SPX:call:5200:30:5148", "[1, 2]"),
        ("greeks:ABC:call:5200:30:5148", "[1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        ("market:SPX", "[1, 2, 3, 4, 5, 6, 7, 8, 9]"),
    ],
)
def test_an_entry_that_is_not_understood_is_passed_over(key: str, entry: str) -> None:
    assert greeks_latency.understood(key, entry, CACHE) is None


def test_that_no_served_request_could_be_read_is_unseen() -> None:
    mine = european(
        spot=5148.0, strike=5200.0, expiry=30 / 365, rate=0.03, dividend=0.013, volatility=0.16, kind="call"
    )
    keys = pd.DataFrame({"key": ["greeks:SPX:call:5200:30:5148", "greeks:SPX:call:5200:30:5150"]})

    def served(*answers: Any) -> tuple[bool, list[str]]:
        told = iter(answers)

        def text(_key: str) -> str:
            answer = next(told)
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        ops = SimpleNamespace(unseen=[], redis=SimpleNamespace(text=text))
        return greeks_latency.served(cast("Ops", ops), keys, CACHE) is not None, ops.unseen

    gone, entry = ProbeError("no such key"), json.dumps([1.7e9, *mine[:6], 0.16, 5148.0])
    assert served(gone, gone) == (False, ["what is served (no such key)"])
    assert served(gone, entry) == (True, [])
    assert served(gone, "not json") == (False, [])


def test_the_engine_is_timed_by_the_clock_that_is_on_the_record() -> None:
    ticks = iter(range(100))

    def clock() -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=10 * next(ticks))

    worked: list[int] = []
    assert greeks_latency.per_call(clock, lambda: worked.append(1), calls=1000) == pytest.approx(10.0)
    assert len(worked) == 5001
