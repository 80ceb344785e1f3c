"""The reaper: what is gone ends at once, by whoever looks; records are closed afterwards."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from opslib import incidents, server, store
from opslib.errors import RecordError
from opslib.record import archive, journal, seal
from opslib.record.verify import verify
from opslib.runs import descendants, ending, following, html, queue, reaper
from opslib.runs.silence import Silence
from opslib.settings import Settings
from opslib.sql import queries
from opslib.store import processes
from tests.intake.bodies import one
from tests.runs.support import entries, queued, wait_for
from tests.runs.test_silence import Clock

GONE = descendants.me().rpartition("/")[0] + "/1"
"""A process of this host that has ended: this one's number, born at another time."""


@pytest.fixture(autouse=True)
def _nothing_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test left to be closed is not closed in this one's home."""
    monkeypatch.setattr(reaper, "_ended", {})
    monkeypatch.setattr(reaper, "_tried", {})


def begun(settings: Settings, mode: queue.Mode = "plan", worker: str = GONE) -> tuple[str, int]:
    """A run that a process began."""
    if mode == "plan":
        incident, number = queued(settings, "var-breach")
    else:
        facts = {"platform": "crypto", "runbook": "var-breach"}
        with store.transaction(settings) as connection:
            row = incidents.open_incident(connection, target="", severity="", title="T", opened_by="ann", **facts)
            incident = str(row["id"])
            number = queue.create_run(
                connection, incident, mode=mode, requested={}, alert=None, requested_by="ann", **facts
            )
    with store.transaction(settings) as connection:
        connection.execute(queries("runs").claim, {"run": number, "worker": worker})
        row = connection.execute(queries("runs").one, {"run": number}).fetchone() or {}
        record = archive.folder(settings, row) / "01-var-breach.ipynb"
        values = {"run": number, "parameters": None, "record": record.relative_to(settings.home).as_posix()}
        connection.execute(queries("runs").begin, values)
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", id="a")], metadata={"runbook": {}})
    node.metadata["run"] = {"incident": incident, "number": 1, "run": number, "state": "running"}
    archive.write_atomic(record, nbformat.writes(node).encode())
    return incident, number


def state(settings: Settings, run: int) -> str:
    return str(following.read(settings, run)["state"])


@pytest.mark.slow
def test_all_that_is_gone_ends_before_the_first_record_is_closed(settings: Settings) -> None:
    runs = [begun(settings) for _ in range(3)]
    processes.register(settings, "signer")  # one that was killed: whoever seals waits for it
    assert sorted(reaper.reap(settings)) == [number for _, number in runs]
    ends = [
        entry["at"] for incident, _ in runs for entry in entries(settings, incident) if entry["kind"] == "run-ended"
    ]
    files = [entry["at"] for incident, _ in runs for entry in entries(settings, incident) if entry["kind"] == "file"]
    assert len(ends) == 3
    assert len(files) == 6
    assert max(ends) < min(files)


def test_a_run_that_ended_by_itself_is_neither_lost_nor_closed_again(settings: Settings) -> None:
    incident, number = begun(settings)
    ending.end(settings, number, "succeeded", "", actor="worker")
    before = len(entries(settings, incident))
    assert not reaper.lose(settings, number, "The process that executed it is gone.")
    reaper.close_ended(settings)
    assert len(entries(settings, incident)) == before
    assert following.read(settings, number)["state"] == "succeeded"


def test_a_record_that_two_close_at_once_is_written_and_told_once(settings: Settings) -> None:
    incident, number = begun(settings)
    ending.end(settings, number, "lost", "It is gone.", actor="reaper")
    closed: list[bool] = []

    def close() -> None:
        closed.append(ending.close_record(settings, number, None, "lost", "It is gone."))

    both = [threading.Thread(target=close) for _ in range(2)]
    for one_of_them in both:
        one_of_them.start()
    for one_of_them in both:
        one_of_them.join()
    assert closed == [True, True]
    kinds = [entry["kind"] for entry in entries(settings, incident)]
    assert (kinds.count("file"), kinds.count("record-altered")) == (2, 0)
    assert verify(settings.home).ok


def test_what_a_seal_has_is_not_written_again_by_a_process_that_was_taken_for_gone(settings: Settings) -> None:
    incident, number = begun(settings)
    assert reaper.lose(settings, number, "It is gone.")
    reaper.close_ended(settings)
    before = len(entries(settings, incident))
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    assert ending.close_record(settings, number, executed, "lost", "It is gone.")
    assert (len(entries(settings, incident)), verify(settings.home).ok) == (before, True)


def test_a_record_that_is_closed_after_its_seal_is_at_no_moment_altered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident, number = begun(settings)
    assert reaper.lose(settings, number, "It is gone.")
    seal.seal(settings, incident)
    assert verify(settings.home).ok
    states: list[str] = []

    def looking(do: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*args: Any) -> Any:
            states.extend(report.state for report in verify(settings.home).incidents)
            return do(*args)

        return looked

    monkeypatch.setattr(html, "render", looking(html.render))
    monkeypatch.setattr(seal, "seal", looking(seal.seal))
    reaper.close_ended(settings)
    assert states == ["intact", "open"]
    assert verify(settings.home).ok


def test_a_long_output_that_the_journal_cut_hinders_no_closing(settings: Settings) -> None:
    incident, number = begun(settings)
    with store.transaction(settings) as connection:
        for kind, body in (("cell-started", {}), ("output", {"name": "stdout", "text": "\U0001f9ee" * 100_000})):
            journal.append(connection, incident, kind, {"run": number, "cell_id": "a", **body}, actor="worker")
    assert reaper.lose(settings, number, "It is gone.")
    reaper.close_ended(settings)
    book = nbformat.read(settings.home / following.read(settings, number)["record"], as_version=4)
    assert "\U0001f9ee" in next(cell for cell in book.cells if cell.get("id") == "a").outputs[0].text


def test_a_record_that_cannot_be_closed_now_is_closed_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident, number = begun(settings)
    whole = archive.write_atomic

    def full(*_: object) -> Path:
        raise RecordError("the disk is full")

    monkeypatch.setattr(archive, "write_atomic", full)
    assert reaper.lose(settings, number, "It is gone.")
    reaper.close_ended(settings)
    monkeypatch.setattr(archive, "write_atomic", whole)
    reaper.close_ended(settings)  # not at once
    assert "file" not in [entry["kind"] for entry in entries(settings, incident)]
    monkeypatch.setattr(reaper, "_ended", dict.fromkeys(reaper._ended, 0.0))
    reaper.close_ended(settings)
    assert "file" in [entry["kind"] for entry in entries(settings, incident)]
    assert not reaper._ended


def test_a_run_by_hand_whose_jupyterlab_is_gone_ends_and_is_not_run_again(settings: Settings) -> None:
    incident, number = begun(settings, "interactive")
    assert reaper.attend(settings) == [number]
    assert state(settings, number) == "lost"
    assert one(settings, "SELECT count(*) FROM runs WHERE incident = %(incident)s", incident=incident) == 1


def test_a_run_by_hand_of_another_host_that_is_silent_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(reaper, "_silence", Silence(clock))
    _, number = begun(settings, "interactive", worker="elsewhere/1/1")
    lost = []
    for _ in range(5):
        lost += reaper.attend(settings)
        clock.now += 5
    assert lost == [number]


def test_an_apply_is_left_to_the_applier(settings: Settings) -> None:
    incident, _ = queued(settings, "var-breach")
    with store.transaction(settings) as connection:
        facts = {"incident": incident, "platform": "crypto", "requested": "{}", "requested_by": "ann", "worker": GONE}
        connection.execute(queries("actions").begin_run, facts)
    assert reaper.attend(settings) == []


@pytest.mark.slow
def test_the_server_ends_what_is_gone_where_no_worker_is_left(settings: Settings) -> None:
    incident, number = begun(settings)

    async def serve() -> float:
        app, began = server.create_app(settings), time.monotonic()
        async with app.router.lifespan_context(app):
            await asyncio.to_thread(wait_for, lambda: state(settings, number) == "lost")
            took = time.monotonic() - began
            await asyncio.to_thread(wait_for, lambda: "file" in [one["kind"] for one in entries(settings, incident)])
        return took

    assert asyncio.run(serve()) < 30
    assert one(settings, "SELECT state FROM runs WHERE retry_of = %(run)s", run=number) == "waiting"


def test_a_process_is_seen_to_be_gone_only_where_its_processes_are_seen() -> None:
    host, number, born = descendants.me().split("/")
    bare, _, rest = host.partition("@")
    boot, _, counted = rest.partition(".")
    assert boot
    assert counted
    assert descendants.seen_gone(descendants.me()) is False
    assert descendants.seen_gone(GONE) is True
    assert descendants.seen_gone(f"{bare}/{number}/{born}") is False  # as it was written once
    assert descendants.seen_gone(f"{bare}/{number}/1") is True
    assert descendants.seen_gone(f"{bare}@{boot}.1/{number}/1") is None  # a container of the same name
    assert descendants.seen_gone(f"{bare}@00000000.{counted}/{number}/1") is None  # another machine of that name
    assert descendants.seen_gone(f"elsewhere/{number}/1") is None
    assert descendants.seen_gone("") is None
    assert descendants.spoken(descendants.me()) == f"{bare}/{os.getpid()}"
