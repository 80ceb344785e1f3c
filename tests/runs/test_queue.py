"""The queue: lanes, one run of a place at a time, and runs that waited too long."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from opslib import incidents, intake, store
from opslib.errors import PlanError
from opslib.incidents import wording
from opslib.runs import ending, expiry, queue, reaper
from opslib.settings import Settings
from opslib.sql import queries
from tests.intake.bodies import alert, labels, ledger, one, send
from tests.runs.conftest import write_runbook
from tests.runs.support import entries, queued, wait_for, worker


def place(settings: Settings, target: str = "A", severity: str = "critical") -> int:
    """A waiting run of an alert, in an incident of its own, as after a person resolved the one before."""
    with store.transaction(settings) as connection:
        connection.execute("UPDATE incidents SET state = 'resolved' WHERE target = %s", [target])
        facts = {"platform": "crypto", "runbook": "var-breach"}
        row = incidents.open_incident(
            connection, target=target, severity=severity, title="T", opened_by="alert", **facts
        )
        number = queue.create_run(
            connection, row["id"], mode="plan", requested={}, alert=None, requested_by="alert", **facts
        )
        queue.defer(connection, number, severity=severity)
    return number


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def claim(settings: Settings, number: int) -> bool:
    """What a run's process does first."""
    with store.transaction(settings) as connection:
        queue.lock_place(connection, number)
        return (
            connection.execute(queries("runs").claim, {"run": number, "worker": "elsewhere/1/1"}).fetchone() is not None
        )


def fetch(settings: Settings) -> list[int]:
    """The runs in the order in which workers take them."""
    taken = []
    with store.transaction(settings) as connection:
        while True:
            row = connection.execute(
                "SELECT (procrastinate_fetch_job_v2(ARRAY['runs', 'critical'], NULL)).args"
            ).fetchone()
            if row is None or row["args"] is None:
                return taken
            taken.append(row["args"]["run"])


def test_the_graver_overtakes_and_routine_work_comes_last(settings: Settings) -> None:
    told = ["info", "", "high", "nonsense", "P1", "critical", "P3", "P0", "warning"]
    runs = {place(settings, f"T{number}", severity): severity for number, severity in enumerate(told)}
    routine = place(settings, "routine", "critical")
    with store.transaction(settings) as connection:
        connection.execute("DELETE FROM procrastinate_jobs WHERE args ->> 'run' = %s", [str(routine)])
        queue.defer(connection, routine, in_lane=queue.lane("critical", "routine"))
    found = fetch(settings)
    assert [runs.get(number) for number in found] == [
        "critical", "P0", "high", "P1", "", "nonsense", "warning", "info", "P3", None,
    ]  # fmt: skip
    assert found[-1] == routine


def test_a_waiting_run_moves_up_when_a_graver_alert_attaches(settings: Settings) -> None:
    mild = labels() | {"severity": "warning"}
    send(settings, alert() | {"labels": mild}, alert("ETH-USD") | {"labels": mild | {"symbol": "ETH-USD"}})
    send(settings, alert("ETH-USD") | {"labels": mild | {"symbol": "ETH-USD", "severity": "P0", "pod": "b"}})
    assert one(settings, "SELECT count(*) FROM runs") == 2
    first = one(settings, "SELECT runs.id FROM runs JOIN incidents ON incidents.id = incident WHERE target = 'ETH-USD'")
    assert one(settings, "SELECT lane FROM runs WHERE id = %(run)s", run=first) == "critical"
    assert fetch(settings)[0] == first


def test_one_run_of_a_runbook_and_target_at_a_time(settings: Settings) -> None:
    first, second, elsewhere = place(settings), place(settings), place(settings, "B")
    assert fetch(settings) == [first, second, elsewhere]
    assert claim(settings, first)
    assert not claim(settings, second)
    assert claim(settings, elsewhere)
    with store.transaction(settings) as connection:
        connection.execute("DELETE FROM procrastinate_jobs")  # the worker found nothing to do
        connection.execute("UPDATE runs SET queued_at = queued_at - interval '20 seconds'")
    reaper._remind(settings)
    assert fetch(settings) == []  # not before its turn
    ending.end(settings, first, "succeeded", "", actor="test")
    assert fetch(settings) == [second]
    assert claim(settings, second)
    with store.transaction(settings) as connection:
        assert intake.mistakes(connection) == []


def test_of_many_that_ask_at_once_one_gets_the_place(settings: Settings) -> None:
    runs = [place(settings) for _ in range(8)]
    got: list[bool] = []
    threads = [threading.Thread(target=lambda number=number: got.append(claim(settings, number))) for number in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def waits_for_a_lock(settings: Settings) -> bool:
    """Whether some connection waits for what another holds."""
    return bool(one(settings, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def test_a_cancel_that_meets_a_claim_asks_the_run_to_end_and_does_not_say_it_never_began(settings: Settings) -> None:
    number = place(settings)
    incident = one(settings, "SELECT incident FROM runs WHERE id = %(run)s", run=number)

    def cancel() -> None:
        with store.transaction(settings) as connection:
            queue.cancel(connection, incident, "ann", "not needed")

    thread = threading.Thread(target=cancel)
    with store.transaction(settings) as connection:
        queue.lock_place(connection, number)
        claimed = connection.execute(queries("runs").claim, {"run": number, "worker": "elsewhere/1/1"}).fetchone()
        assert claimed is not None
        thread.start()
        wait_for(lambda: waits_for_a_lock(settings))
    thread.join()
    assert one(settings, "SELECT state FROM runs WHERE id = %(run)s", run=number) == "running"
    kinds = [entry["kind"] for entry in entries(settings, incident)]
    assert "cancel-requested" in kinds
    assert "run-ended" not in kinds


def test_a_claim_that_meets_a_cancel_gets_nothing(settings: Settings) -> None:
    number = place(settings)
    incident = one(settings, "SELECT incident FROM runs WHERE id = %(run)s", run=number)
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(claim(settings, number)))
    with store.transaction(settings) as connection:
        queue.cancel(connection, incident, "ann", "not needed")
        thread.start()
        wait_for(lambda: waits_for_a_lock(settings))
    thread.join()
    assert got == [False]
    assert one(settings, "SELECT state FROM runs WHERE id = %(run)s", run=number) == "cancelled"


def test_an_apply_is_not_cut_in_the_middle_and_the_cancel_says_so(settings: Settings) -> None:
    number = place(settings)
    incident = one(settings, "SELECT incident FROM runs WHERE id = %(run)s", run=number)
    with store.transaction(settings) as connection:
        facts = {"incident": incident, "platform": "crypto", "requested": "{}", "requested_by": "ann", "worker": "a"}
        connection.execute(queries("actions").begin_run, facts)
    with store.transaction(settings) as connection:
        assert queue.cancel(connection, incident, "ann") == [number]
        assert f"Run 2 of {incident} applies a plan and is not cancelled" in queue.not_cut(connection, incident)
    with (
        pytest.raises(PlanError, match=f"runbook undo {incident} --plan HASH"),
        store.transaction(settings) as connection,
    ):
        queue.cancel(connection, incident, "ann")
    assert one(settings, "SELECT state FROM runs WHERE mode = 'apply'") == "running"
    told = [entry["body"]["run"] for entry in entries(settings, incident) if entry["kind"] == "cancel-requested"]
    assert told == [number]


def test_a_person_who_asks_is_not_held_up_by_an_alert(settings: Settings) -> None:
    first = place(settings)
    assert claim(settings, first)
    facts: dict[str, Any] = {"platform": "crypto", "runbook": "var-breach"}
    with store.transaction(settings) as connection:
        row = incidents.open_incident(connection, target="A", severity="", title="T", opened_by="ann", **facts)
        own = queue.create_run(
            connection, row["id"], mode="plan", requested={}, alert=None, requested_by="ann", **facts
        )
    assert claim(settings, own)


def test_a_run_that_waited_too_long_ends_and_says_so(settings: Settings) -> None:
    clock = Clock()
    waits = expiry.Waits(clock)
    send(settings, alert())
    assert expiry.expire(settings, waits) == []
    clock.now += 3600
    send(settings, alert("ETH-USD"))
    assert expiry.expire(settings, waits) == []
    clock.now += 6 * 3600
    assert expiry.expire(settings, waits) == [1]
    assert expiry.expire(settings, waits) == []
    with store.transaction(settings) as connection:
        row = connection.execute("SELECT state, error, started_at, incident FROM runs WHERE id = 1").fetchone()
        assert row is not None
        assert intake.mistakes(connection) == []
    assert (row["state"], row["started_at"]) == ("timed-out", None)
    assert row["error"] == "It never began: it waited 25200 s for a worker, and 21600 s are the most."
    told = [wording.sentence(entry["kind"], entry["body"]) for entry in entries(settings, row["incident"])]
    assert told[-1] == f"Run 1 ended without having begun: {row['error']}"
    book = ledger(settings)
    assert (book["lost"], book["waiting"]) == (1, 1)
    assert not claim(settings, 1)


def test_the_runbook_says_how_long_its_runs_may_wait(settings: Settings, tmp_path: Any) -> None:
    folder = tmp_path / "notebooks"
    write_runbook(folder / "alerts" / "var-breach.ipynb", "1", queue_timeout_s=60)
    own = settings.model_copy(update={"notebooks": folder})
    send(settings, alert())
    clock = Clock()
    waits = expiry.Waits(clock)
    assert expiry.expire(own, waits) == []
    clock.now += 61
    assert expiry.expire(settings, waits) == []
    assert expiry.expire(own, waits) == [1]


@pytest.mark.parametrize("shift", ["7 hours", "-7 hours"])
def test_a_clock_of_the_database_that_is_set_ends_no_run(settings: Settings, shift: str) -> None:
    clock = Clock()
    waits = expiry.Waits(clock)
    send(settings, alert(), alert("ETH-USD"))
    assert expiry.expire(settings, waits) == []
    with store.transaction(settings) as connection:
        connection.execute("UPDATE runs SET queued_at = queued_at - %s::interval", [shift])
    clock.now += 60
    assert expiry.expire(settings, waits) == []
    assert one(settings, "SELECT count(*) FROM runs WHERE state = 'waiting'") == 2
    clock.now += 6 * 3600
    assert sorted(expiry.expire(settings, waits)) == [1, 2]  # by what was seen, whatever the database's clock says


def test_a_run_that_begins_just_then_is_not_ended(settings: Settings) -> None:
    number = place(settings)
    clock = Clock()
    waits = expiry.Waits(clock)
    assert expiry.expire(settings, waits) == []
    clock.now += 7 * 3600
    assert claim(settings, number)
    assert expiry.expire(settings, waits) == []
    assert not expiry._end(settings, number, "It was still waiting when it was looked for.")


@pytest.mark.slow
def test_a_critical_run_starts_however_busy_its_worker_is(runs: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_DRAIN_S", "0")
    busy = [queued(runs, "sleeps", severity="high")[1] for _ in range(3)]
    going = "SELECT count(*) FROM runs WHERE id = ANY (%(runs)s) AND state = 'running'"
    with worker(runs):
        wait_for(lambda: one(runs, going, runs=busy) == 2)
        _, urgent = queued(runs, "healthy")
        wait_for(lambda: one(runs, "SELECT state FROM runs WHERE id = %(run)s", run=urgent) == "succeeded")
        assert one(runs, going, runs=busy) == 2


@pytest.mark.slow
def test_two_workers_run_a_place_one_after_the_other(runs: Settings) -> None:
    write_runbook(runs.notebooks / "alerts" / "naps.ipynb", "import time; time.sleep(1.5)")
    numbers = []
    for _ in range(3):
        _, number = queued(runs, "naps")
        numbers.append(number)
    with store.transaction(runs) as connection:
        connection.execute(
            "UPDATE incidents SET target = 'same', state = 'resolved' WHERE id IN "
            "(SELECT incident FROM runs WHERE id = ANY (%s))",
            [numbers],
        )
    with worker(runs), worker(runs):
        over = "SELECT count(*) FROM runs WHERE id = ANY (%(runs)s) AND state NOT IN ('waiting', 'running')"
        began = time.monotonic()
        wait_for(lambda: one(runs, over, runs=numbers) == 3)
        print(f"three runs of one place took {time.monotonic() - began:.1f} s")
    with store.transaction(runs) as connection:
        ends = connection.execute("SELECT state, error FROM runs WHERE id = ANY (%s)", [numbers]).fetchall()
    assert [row["state"] for row in ends] == ["succeeded"] * 3, ends
    overlap = (
        "SELECT count(*) FROM runs AS a JOIN runs AS b ON a.id < b.id AND a.started_at < b.ended_at "
        "AND b.started_at < a.ended_at WHERE a.id = ANY (%(runs)s) AND b.id = ANY (%(runs)s)"
    )
    assert one(runs, overlap, runs=numbers) == 0
    assert one(runs, "SELECT count(*) FROM runs WHERE first_cell_at BETWEEN started_at AND ended_at") >= 3
