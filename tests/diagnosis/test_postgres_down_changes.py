"""Which change of the database A03 would take back: one of late, with which it never worked for long."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import postgres_down_fixes as mending
from tests.diagnosis.postgres_facts import NOW, Facts, ago

HISTORY = pd.DataFrame(
    {
        "revision": [3, 2],
        "current": [True, False],
        "created": [ago(60.0), ago(9000.0)],
        "changes": ["postgres: args changed", "nothing"],
    }
)
MADE = {"kind": "statefulset", "name": "postgres", "time": ago(60.0), "what": "revision 3: args changed"}
OTHER = {"kind": "deployment", "name": "market-data", "time": ago(30.0), "what": "revision 9: annotation changed"}
CHANGES = pd.DataFrame([OTHER, MADE])
TIMES = pd.DatetimeIndex([ago(seconds) for seconds in range(3600, -1, -15)])
ALWAYS_UP = pd.DataFrame({"up": 1.0}, index=TIMES)


def lately(changes: pd.DataFrame | None = CHANGES, history: pd.DataFrame | None = HISTORY, **more: Any) -> str:
    given = {"up": None, "pod": None, "now": NOW, "settled_s": 300.0, **more}
    return mending.changed_lately(changes, history, "postgres", **given)


def test_a_change_counts_where_it_was_made_lately_and_can_be_taken_back() -> None:
    assert lately() == "postgres: args changed"
    assert lately(CHANGES[:1]) == ""
    assert lately(CHANGES, HISTORY[:1]) == ""
    assert lately(None) == ""
    assert lately(CHANGES, HISTORY.assign(created=[ago(9000.0), ago(60.0)])) == ""
    assert lately(pd.DataFrame([{**MADE, "what": "revision 1: first revision that is kept"}])) == ""
    assert lately(pd.DataFrame([{**MADE, "what": "edited (replicas)"}])) == ""
    assert mending.changes_of(CHANGES, "postgres", NOW - dt.timedelta(seconds=90)) == {
        "revision 3": ago(60.0).to_pydatetime()
    }


def test_a_change_that_was_made_once_before_and_comes_again_counts() -> None:
    history = HISTORY.assign(created=[ago(9000.0), ago(90_000.0)])  # Kubernetes keeps the time of an equal revision
    long_ago = {**MADE, "time": ago(9000.0)}
    assert lately(pd.DataFrame([long_ago]), history, up=ALWAYS_UP) == ""
    edited = {**MADE, "what": "edited (replicas, template)", "time": ago(60.0)}
    assert lately(pd.DataFrame([edited, long_ago]), history, up=ALWAYS_UP) == "postgres: args changed"


@pytest.mark.parametrize("what", ["annotation team changed", "restarted at 2026-11-28T11:59:00Z", "nothing"])
def test_a_change_of_annotations_alone_is_not_taken_back(what: str) -> None:
    assert lately(history=HISTORY.assign(changes=[what, "nothing"])) == ""
    assert lately(history=HISTORY.assign(changes=[f"postgres: image a -> b; {what}", "nothing"])) != ""


def test_a_change_with_which_it_was_there_for_a_good_while_is_not_taken_back() -> None:
    at = ago(6000.0)
    history = HISTORY.assign(created=[at, ago(90_000.0)])
    changes = pd.DataFrame([{**MADE, "time": at}])
    up = pd.DataFrame({"up": [float(time < ago(60.0)) for time in TIMES]}, index=TIMES)
    assert lately(changes, history, up=up) == ""
    down = up.assign(up=[float(place % 12 == 0) for place in range(len(TIMES))])  # it comes and goes
    assert lately(changes, history, up=down) == "postgres: args changed"
    young = pd.DataFrame([{**MADE, "time": ago(90.0)}])
    assert lately(young, HISTORY, up=up.assign(up=1.0)) == "postgres: args changed"


def test_without_its_exporter_the_first_run_of_its_pod_tells_whether_a_change_works() -> None:
    history = HISTORY.assign(created=[ago(6000.0), ago(90_000.0)])
    changes = pd.DataFrame([{**MADE, "time": ago(6000.0)}])
    for restarts, ended_s, created_s, said in (
        (1, 40.0, 5990.0, ""),
        (1, 5980.0, 5990.0, "postgres: args changed"),
        (5, 40.0, 5990.0, "postgres: args changed"),
        (1, 40.0, 86_400.0, "postgres: args changed"),
    ):
        facts = Facts().ends("OOMKilled", 137, "", restarts=restarts)
        assert facts.pod is not None
        for one in (facts.pod, facts.container):
            one["last_finished"] = ago(ended_s)
        facts.pod["created"] = ago(created_s)
        assert lately(changes, history, pod=facts.diagnose()[1]["pod"]) == said, (restarts, ended_s, created_s)
