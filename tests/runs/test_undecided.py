"""Runs that came too early: looked at again by themselves, a few times, and only while that can help."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from opslib import incidents, store
from opslib.incidents import wording
from opslib.runs import following, queue, reaper, undecided
from opslib.settings import Settings
from tests.intake.bodies import NOON, alert, ledger, send
from tests.runs.support import entries

CAUSES = [{"key": "pod-crash", "likelihood": 0.4, "because": "its pod is being replaced", "evidence": []}]
UNDECIDED = {"confirmed": True, "cause": None, "confidence": 0.0, "causes": CAUSES, "plan": None, "unseen": ["the pod"]}


@pytest.fixture
def examined(settings: Settings) -> Callable[[dict[str, Any]], tuple[str, int]]:
    """An incident of an alert that fires, whose newest run ended with this verdict a minute ago."""

    def end(verdict: dict[str, Any], **more: Any) -> tuple[str, int]:
        send(settings, alert())
        with store.transaction(settings) as connection:
            row = connection.execute("SELECT id, incident FROM runs ORDER BY id DESC LIMIT 1").fetchone()
            assert row is not None
            values = {"state": "succeeded", "verdict": Jsonb(verdict), "run": row["id"], **more}
            connection.execute(
                "UPDATE runs SET state = %(state)s, verdict = %(verdict)s, ended_at = now() - interval '1 minute'"
                " WHERE id = %(run)s",
                values,
            )
        return row["incident"], row["id"]

    return end


Examined = Callable[..., tuple[str, int]]


def test_a_run_that_could_not_tell_is_run_again_in_the_same_incident_and_says_so(
    settings: Settings, examined: Examined
) -> None:
    incident, run = examined(UNDECIDED)
    (again,) = undecided.look_again(settings)
    found, before = following.read(settings, again), following.read(settings, run)
    assert (found["incident"], found["state"], found["number"]) == (incident, "waiting", before["number"] + 1)
    assert {key: found[key] for key in ("alert", "lane", "mode")} == {
        key: before[key] for key in ("alert", "lane", "mode")
    }
    told = entries(settings, incident)
    assert [entry["kind"] for entry in told[-2:]] == ["look-again", "run-queued"]
    said = wording.sentence("look-again", told[-2]["body"])
    assert said == f"Run {before['number']} could not tell the cause and the alert fires on: looked at again"
    assert ledger(settings)["accepted"] == 1


@pytest.mark.parametrize(
    "verdict",
    [UNDECIDED | {"confirmed": False, "confidence": 0.8}, UNDECIDED | {"confirmed": False, "causes": []}],
    ids=["a cause of an alert that does not hold now", "not known whether it is true"],
)
def test_so_is_one_that_could_not_tell_whether_it_is_true(
    settings: Settings, examined: Examined, verdict: dict[str, Any]
) -> None:
    examined(verdict)
    assert len(undecided.look_again(settings)) == 1


def test_it_is_looked_at_again_twice_and_no_more(settings: Settings, examined: Examined) -> None:
    examined(UNDECIDED)
    for _ in range(undecided.TIMES):
        assert len(undecided.look_again(settings)) == 1
        examined(UNDECIDED)
    assert undecided.look_again(settings) == []


def test_the_reaper_does_it_once_whoever_looks(settings: Settings, examined: Examined) -> None:
    incident, _ = examined(UNDECIDED)
    for _ in range(3):
        reaper.attend(settings)
    assert [entry["kind"] for entry in entries(settings, incident)].count("look-again") == 1


def test_it_is_once_also_where_many_look_at_the_same_moment(settings: Settings, examined: Examined) -> None:
    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            examined(UNDECIDED)
            together = Barrier(8)

            def look(together: Barrier = together) -> list[int]:
                together.wait()
                return undecided.look_again(settings)

            found = [run for looked in [pool.submit(look) for _ in range(8)] for run in looked.result()]
        assert len(found) == 1
        with store.transaction(settings) as connection:
            connection.execute("UPDATE runs SET state = 'failed', ended_at = now()")


@pytest.mark.parametrize(
    "verdict",
    [
        UNDECIDED | {"confirmed": False, "causes": [], "confidence": 0.8},
        UNDECIDED | {"cause": "pod-crash"},
        UNDECIDED | {"cause": "none-of-these"},
        UNDECIDED | {"plan": {"hash": "0" * 64}},
        UNDECIDED | {"causes": [], "confidence": 0.512},
    ],
    ids=["nothing wrong", "a cause", "none of these", "a plan", "a playbook that knows no causes"],
)
def test_what_is_decided_is_left_alone(settings: Settings, examined: Examined, verdict: dict[str, Any]) -> None:
    examined(verdict)
    assert undecided.look_again(settings) == []


@pytest.mark.parametrize("state", ["failed", "cancelled", "timed-out"])
def test_what_did_not_end_well_is_left_alone(settings: Settings, examined: Examined, state: str) -> None:
    examined(UNDECIDED, state=state)
    assert undecided.look_again(settings) == []


def test_not_before_a_while(settings: Settings, examined: Examined) -> None:
    examined(UNDECIDED)
    assert undecided.look_again(settings, after_s=90.0) == []


def test_not_once_the_alert_is_over(settings: Settings, examined: Examined) -> None:
    examined(UNDECIDED)
    send(settings, alert(ends=NOON))
    assert undecided.look_again(settings) == []


def test_not_once_a_person_has_resolved_it(settings: Settings, examined: Examined) -> None:
    incident, _ = examined(UNDECIDED)
    with store.transaction(settings) as connection:
        incidents.resolve(connection, incident, "ann", "seen to")
    assert undecided.look_again(settings) == []


def test_not_while_others_wait_for_a_worker(settings: Settings, examined: Examined) -> None:
    examined(UNDECIDED)
    send(settings, alert("ETH-USD"))
    assert undecided.look_again(settings) == []


def test_not_once_something_was_run_since(settings: Settings, examined: Examined) -> None:
    incident, run = examined(UNDECIDED)
    row = following.read(settings, run)
    with store.transaction(settings) as connection:
        queue.create_run(
            connection,
            incident,
            runbook=row["runbook"],
            platform=row["platform"],
            mode="observe",
            requested={},
            alert=None,
            requested_by="ann",
        )
        connection.execute("UPDATE runs SET state = 'failed', ended_at = now() WHERE state = 'waiting'")
    assert undecided.look_again(settings) == []
