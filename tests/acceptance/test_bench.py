"""The figures of runs against papermill's own command are measured as they say; here in few rounds, and not judged."""

from __future__ import annotations

import pytest

from bench import runs

pytestmark = pytest.mark.acceptance


def test_every_figure_of_runs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"ROUNDS": 2, "AT_ONCE": 2, "PAIRS": 1, "IDLE_S": 3.0, "_SETTLE_S": 0.0, "SYMBOLS": ("BTC-USD",)}
    for name, value in few.items():
        monkeypatch.setattr(runs, name, value)
    found = {row.case: row for row in runs.rows()}
    assert len(found) == 7
    assert [row for row in found.values() if row.error is not None or row.ours <= 0 or row.ratio <= 0] == []
    first, end = found["POST to first cell done"], found["POST to the run's end, five heavy cells"]
    assert first.ours < end.ours
    assert first.peer == end.peer
