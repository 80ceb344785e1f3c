"""The probes of series that Redis' TimeSeries module keeps: the newest points, in order, and what was cut is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target
from tests.probes.time_series_server import time_series_server

LONG = 50_010
SERIES = {
    "var_pct:A": [(1_700_000_000_000 + second * 1000, f"{second / 2:g}") for second in range(5)],
    "var_pct:B": [(1_700_000_004_000, "9.5")],
    "ticks:A": [(1_700_000_000_000 + second * 1000, str(second)) for second in range(LONG)],
    "empty:A": [],
}


@pytest.fixture(scope="module")
def module() -> Iterator[Target]:
    """A server with the module's commands."""
    with time_series_server(SERIES) as url:
        yield Target("redis", url)


def test_series_are_in_order_with_gaps(module: Target) -> None:
    frame = probes.call("redis.series", module, {"metric": "var_pct", "symbols": ["A", "B"]})
    assert frame.table.column("A").to_pylist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert frame.table.column("B").to_pylist() == [None, None, None, None, 9.5]
    assert (frame.index, frame.note) == ("time", None)


def test_of_a_long_series_the_newest_points_are_read_and_the_cut_is_said(module: Target) -> None:
    frame = probes.call("redis.series", module, {"metric": "ticks", "symbols": ["A"]})
    values = frame.table.column("A").to_pylist()
    assert (len(values), values[0], values[-1]) == (50_000, 10.0, LONG - 1.0)
    assert frame.note == "the newest 50,000 points of ticks:A; there are older ones"


def test_latest_has_the_time_of_the_point(module: Target) -> None:
    table = probes.call("redis.latest", module, {"metric": "var_pct", "symbols": ["A", "B"]}).table
    assert table.column("value").to_pylist() == [2.0, 9.5]
    assert [time.timestamp() for time in table.column("time").to_pylist()] == [1_700_000_004.0] * 2


@pytest.mark.parametrize("metric", ["empty", "absent"])
def test_a_value_that_is_not_there_is_named(module: Target, metric: str) -> None:
    with pytest.raises(ProbeError, match=f"there is no value {metric}:A"):
        probes.call("redis.latest", module, {"metric": metric, "symbols": ["A"]})
    with pytest.raises(ProbeError, match="one of the series absent:A is not there"):
        probes.call("redis.series", module, {"metric": "absent", "symbols": ["A"]})
