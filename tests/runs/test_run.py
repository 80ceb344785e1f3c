"""A run from its request to its sealed record, with a real kernel, recorder and PostgreSQL."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from opslib import incidents, store
from opslib.errors import ParameterError
from opslib.record import client
from opslib.record.verify import verify
from opslib.runs import following, queue, reaper, run
from opslib.settings import Settings
from tests.runs.support import entries, execute, statuses, wait_for


def test_healthy_run_is_succeeded_sealed_and_its_incident_resolved(runs: Settings) -> None:
    row = execute(runs, "healthy")
    assert (row["state"], row["error"]) == ("succeeded", None)
    assert row["verdict"]["confirmed"] is False
    assert row["verdict"]["plan"] is None
    assert row["incident_state"] == "resolved"
    assert row["sealed_seq"] == row["journal_seq"]
    kinds = [entry["kind"] for entry in entries(runs, row["incident"])]
    assert kinds[:3] == ["incident-opened", "run-queued", "run-started"]
    assert kinds.index("run-ended") < kinds.index("resolved") < kinds.index("file")
    assert kinds.index("evidence") > kinds.index("cell-started")
    page = (runs.home / row["record"]).with_suffix(".html").read_text()
    assert "seen True test" in page
    assert set(statuses(runs, row).values()) == {"succeeded"}


def test_confirmed_run_keeps_its_incident_open_and_its_parameters(runs: Settings) -> None:
    row = execute(runs, "breach", {"count": 7})
    assert row["state"] == "succeeded"
    assert (row["verdict"]["cause"], row["incident_state"]) == ("a", "open")
    assert row["parameters"] == {"platform": "test", "alert": {}, "count": 7}


@pytest.mark.parametrize(
    ("name", "state", "sentence", "expected"),
    [
        ("raises", "failed", "raised ValueError: the feed is 7 s old", ["succeeded", "failed", "not-run"]),
        ("exits", "failed", r"ended the notebook with SystemExit\(0\)", ["failed", "not-run"]),
        ("dies", "kernel-died", "killed by SIGKILL", ["failed", "not-run"]),
    ],
)
def test_what_goes_wrong_is_told_truthfully(
    runs: Settings, name: str, state: str, sentence: str, expected: list[str]
) -> None:
    row = execute(runs, name)
    assert row["state"] == state
    assert re.search(sentence, row["error"])
    assert list(statuses(runs, row).values())[-len(expected) :] == expected
    ended = [entry["body"] for entry in entries(runs, row["incident"]) if entry["kind"] == "run-ended"]
    assert [body["state"] for body in ended] == [state]
    banner = nbformat.read(runs.home / row["record"], as_version=4).cells[0]
    assert banner.metadata.tags == ["runbook-banner"]
    assert row["incident_state"] == "open"
    assert row["sealed_seq"] == row["journal_seq"]


def test_secrets_that_cells_print_are_counted(runs: Settings, notebook: Callable[..., str]) -> None:
    notebook("prints", "print('postgresql://desk:' + 'hunter2-of-the-desk' + '@db.example/risk')", "2 + 2")
    row = execute(runs, "prints")
    [ended] = [entry["body"] for entry in entries(runs, row["incident"]) if entry["kind"] == "run-ended"]
    assert (ended["state"], ended["redacted"]) == ("succeeded", 1)


def test_a_nul_that_a_cell_prints_stops_nobody(runs: Settings, notebook: Callable[..., str]) -> None:
    conclude = "import opslib\nfrom opslib.diagnosis import Diagnosis\n\ncase = Diagnosis(opslib.connect())\n"
    conclude += "case.confirm(True, 'it says ' + chr(0))\ncase.conclude()"
    notebook("nul", "print('before' + chr(0) + 'after')", conclude, "raise ValueError('also ' + chr(0))")
    row = execute(runs, "nul")
    assert (row["state"], row["verdict"]["confirmed"]) == ("failed", True)
    with store.transaction(runs) as connection:  # whoever looks at the journal of all incidents can
        told = connection.execute(
            "SELECT line::jsonb -> 'body' ->> 'text' AS text FROM journal WHERE (line::jsonb ->> 'kind') = 'output'"
        ).fetchall()
    assert any("before\ufffdafter" in one["text"] for one in told)
    assert reaper.reap(runs) == []
    [mine] = verify(runs.home, incident=row["incident"]).incidents
    assert mine.state == "intact", mine


@pytest.mark.slow
def test_cell_past_its_time_is_interrupted(runs: Settings, notebook: Callable[..., str]) -> None:
    notebook("slow", "import time\n\ntime.sleep(60)", "2 + 2", cell_timeout_s=1)
    row = execute(runs, "slow")
    assert row["state"] == "timed-out"
    assert "ran past its time-out of 1 s" in row["error"]
    assert list(statuses(runs, row).values())[-2:] == ["interrupted", "not-run"]


@pytest.mark.slow
def test_cell_that_ignores_the_interrupt_is_ended_too(runs: Settings, notebook: Callable[..., str]) -> None:
    notebook(
        "stubborn",
        "import signal\nimport time\n\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    time.sleep(0.1)",
        run_timeout_s=1,
    )
    row = execute(runs, "stubborn")
    assert row["state"] == "timed-out"
    assert "the time-out of the whole run" in row["error"]


@pytest.mark.slow
def test_cancel_ends_a_running_run(runs: Settings) -> None:
    incident, number = run.start(runs, "sleeps", "test", {}, None, "plan", "ann")
    thread = threading.Thread(target=run.execute, args=(runs, number), kwargs={"inline": True})
    thread.start()
    wait_for(lambda: any(entry["kind"] == "output" for entry in entries(runs, incident)))
    with store.transaction(runs) as connection:
        assert queue.cancel(connection, incident, "bob", "wrong runbook") == [number]
    thread.join(60)
    row = following.read(runs, number)
    assert row["state"] == "cancelled"
    assert "bob cancelled the run (wrong runbook)" in row["error"]
    assert list(statuses(runs, row).values())[-2:] == ["interrupted", "not-run"]


def test_cancel_of_a_waiting_run_ends_it_at_once(runs: Settings) -> None:
    incident, number = run.start(runs, "sleeps", "test", {}, None, "plan", "ann")
    with store.transaction(runs) as connection:
        queue.cancel(connection, incident, "bob")
    assert run.execute(runs, number) == "cancelled"
    assert following.read(runs, number)["error"] == "bob cancelled it before it began."


def test_wrong_parameters_of_a_queued_run_stop_it_before_the_first_cell(runs: Settings) -> None:
    with store.transaction(runs) as connection:
        row = incidents.open_incident(
            connection, platform="test", runbook="breach", target="", severity="", title="T", opened_by="alert"
        )
        number = queue.create_run(
            connection,
            row["id"],
            runbook="breach",
            platform="test",
            mode="plan",
            requested={"count": "7", "other": 1},
            alert={"labels": {"a": 'quote"'}},
            requested_by="alert",
        )
    assert run.execute(runs, number) == "failed"
    row = following.read(runs, number)
    assert "count: must be int, not str '7'" in row["error"]
    assert "other: breach has no such parameter" in row["error"]
    assert set(statuses(runs, row).values()) == {"not-run"}
    assert row["sealed_seq"] == row["journal_seq"]


def test_start_stores_nothing_when_parameters_are_wrong(runs: Settings) -> None:
    with pytest.raises(ParameterError, match="count: must be at most 10 pieces, not 11"):
        run.start(runs, "breach", "test", {"count": 11}, None, "plan", "ann")
    with store.connect(runs) as connection:
        found = connection.execute("SELECT FROM runs WHERE requested = '{\"count\": 11}'").fetchall()
    assert found == []


def test_alert_reaches_the_notebook_as_it_is_and_nothing_of_it_runs(
    runs: Settings, notebook: Callable[..., str], tmp_path: Path
) -> None:
    notebook("echo", "import json\n\nprint(json.dumps(alert, sort_keys=True))")
    labels = {
        "alertname": "X\"'''\n\\",
        "__import__('os').system('touch /tmp/owned')": "{platform}",
        "../../x": "\x00\ud800 {0} %s",
        "long": "y" * 100_000,
    }
    _, number = run.start(runs, "echo", "test", {}, {"labels": labels}, "plan", "ann")
    run.execute(runs, number, inline=True)
    row = following.read(runs, number)
    assert row["state"] == "succeeded"
    node = nbformat.read(runs.home / row["record"], as_version=4)
    seen = json.loads(node.cells[-1].outputs[0].text)["labels"]
    assert seen["alertname"] == labels["alertname"]
    assert seen["long"].startswith("y" * 4000)
    assert seen["__import__('os').system('touch /tmp/owned')"] == "{platform}"


@pytest.mark.slow
def test_much_output_is_cut_in_the_notebook_and_kept_whole_beside_it(
    runs: Settings, notebook: Callable[..., str]
) -> None:
    notebook("loud", "for number in range(400_000):\n    print(number)")
    row = execute(runs, "loud")
    path = runs.home / row["record"]
    assert row["state"] == "succeeded"
    assert path.stat().st_size < 4_000_000
    side = next(path.parent.glob("*.txt.gz"))
    assert gzip.decompress(side.read_bytes()).decode() == "".join(f"{number}\n" for number in range(400_000))
    said = nbformat.read(path, as_version=4).cells[-1].outputs[-1].text
    assert re.search(rf"bytes of output cut here; the whole is in {re.escape(side.name)}", said)
    told = sum(len(one["body"]["text"]) for one in entries(runs, row["incident"]) if one["kind"] == "output")
    assert told < 70_000
    assert side.name in {one["body"]["path"] for one in entries(runs, row["incident"]) if one["kind"] == "file"}


@pytest.mark.slow
def test_record_that_cannot_be_saved_is_no_success(runs: Settings, notebook: Callable[..., str]) -> None:
    """As on a full disk: the file size limit makes each save of the notebook fail."""
    notebook("big", 'print("x" * 900_000)', "2 + 2")
    _, number = run.start(runs, "big", "test", {}, None, "plan", "ann")
    code = (
        "import resource, sys\n"
        "from opslib.runs import run\nfrom opslib.settings import Settings\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        f"print(run.execute(Settings(), {number}, inline=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=client.environment(runs), capture_output=True, text=True, timeout=100
    )
    assert done.stdout.strip().splitlines()[-1] == "failed", done.stderr
    row = following.read(runs, number)
    assert "The record could not be saved: File too large" in row["error"]
    node = nbformat.read(runs.home / row["record"], as_version=4)
    assert node.cells[0].metadata.tags == ["runbook-banner"] or node.metadata.run.state == "running"
    assert not list((runs.home / row["record"]).parent.glob(".*"))
