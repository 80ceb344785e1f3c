"""`runbook list`, `run` and `cancel` as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from opslib.record import client
from opslib.settings import Settings
from tests.runs.support import entries, worker

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def runbook(settings: Settings, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from opslib.cli import main; main()", *words]
    return subprocess.run(command, env=client.environment(settings), capture_output=True, text=True, timeout=120, **how)


def document(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text())


@pytest.mark.slow
def test_run_prints_one_document_and_exits_0_whatever_the_verdict(runs: Settings) -> None:
    done = runbook(runs, "run", "breach", "--platform", "test", "-p", "count=4", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    jsonschema.validate(printed, document("run.json"))
    assert set(printed) == {"incident", "runbook", "platform", "state", "record", "took_s", "verdict"}
    assert printed["verdict"]["cause"] == "a"
    assert Path(printed["record"]).is_file()
    assert Path(printed["record"]).with_suffix(".html").is_file()


@pytest.mark.slow
def test_run_in_words_says_cause_and_record(runs: Settings) -> None:
    done = runbook(runs, "run", "breach", "--platform", "test")
    assert done.returncode == 0, done.stderr
    for part in ("breach on test: succeeded", "A it is.", "90 %", "of this", "01-breach.html"):
        assert part in done.stdout


@pytest.mark.slow
def test_failed_run_exits_1_and_says_where(runs: Settings) -> None:
    done = runbook(runs, "run", "raises", "--platform", "test")
    assert done.returncode == 1
    assert "raised ValueError: the feed is 7 s old" in done.stdout


@pytest.mark.slow
def test_a_look_that_is_not_declared_is_unseen_and_a_replay_tells_the_same(
    runs: Settings, notebook: Callable[..., str]
) -> None:
    looks = (
        "import opslib\nops = opslib.connect()\nops.look('the health', ops.http.health)",
        "from opslib.errors import PlanError\n"
        "try:\n    ops.propose('crypto.set-kelly', kelly_fraction=0.1)\n"
        "except PlanError as error:\n    print(error)",
        "ops.conclude({'confirmed': False, 'summary': 'Not all was seen.', 'unseen': ops.unseen})",
    )
    done = runbook(runs, "run", notebook("undeclared", *looks, reads=["redis.ping"]), "--platform", "test", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    why = "undeclared does not declare that it reads http.health: add it to metadata.runbook.reads"
    assert (told["state"], told["verdict"]["unseen"]) == ("succeeded", [f"the health ({why})"])
    journal = [entry for entry in entries(runs, told["incident"]) if entry["kind"] in ("evidence", "proposal-refused")]
    assert [entry["body"]["error"] for entry in journal] == [
        why,
        "undeclared does not declare that it may propose crypto.set-kelly: add it to metadata.runbook.proposes",
    ]
    again = runbook(runs, "replay", told["incident"], "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["same"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "nothing", "--platform", "test"], "there is no runbook 'nothing'"),
        (["run", "breach", "--platform", "mars"], "there is no platform 'mars'"),
        (["run", "breach", "--platform", "test", "-p", "count=x"], "count: must be int, not str 'x'"),
        (["run", "breach", "--platform", "test", "-p", "count"], "-p takes NAME=VALUE, not 'count'"),
        (["run", "breach", "--platform", "test", "-p", "count=1", "-p", "count=2"], "-p gives count more than once"),
        (["run", "breach", "--platform", "test", "--alert", "/nowhere"], "--alert /nowhere: cannot be read as JSON"),
        (["run", "breach", "--platform", "test", "--mode", "apply"], "apply"),
    ],
)
def test_wrong_words_exit_2(runs: Settings, words: list[str], told: str) -> None:
    done = runbook(runs, *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("alert", "told"),
    [
        ({"startsAt": "2026-11-28T11:59:00Z"}, "--alert -: `labels` must be an object of strings"),
        ({"labels": "x"}, "--alert -: `labels` must be an object of strings"),
        ({"labels": {"alertname": 3}}, "--alert -: `labels`: 'alertname' is not a string"),
        ({"labels": {}, "startsAt": "yesterday"}, "--alert -: `startsAt` is no RFC 3339 time"),
    ],
)
def test_what_is_no_alert_exits_2(runs: Settings, alert: dict[str, Any], told: str) -> None:
    done = runbook(runs, "run", "healthy", "--platform", "test", "--alert", "-", input=json.dumps(alert))
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.slow
def test_alert_of_a_webhook_body_is_handed_to_the_notebook(runs: Settings) -> None:
    body = {
        "version": "4",
        "alerts": [{"labels": {"alertname": "X", "severity": "critical"}, "startsAt": "9999-01-01T00:00:00Z"}],
    }
    done = runbook(runs, "run", "healthy", "--platform", "test", "--alert", "-", "--json", input=json.dumps(body))
    assert done.returncode == 0, done.stderr
    shown = runbook(runs, "show", json.loads(done.stdout)["incident"], "--json")
    found = json.loads(shown.stdout)
    assert (found["severity"], found["state"]) == ("critical", "resolved")


@pytest.mark.slow
def test_run_waits_for_a_worker_where_one_is_alive(runs: Settings) -> None:
    from opslib.runs import worker as work
    from tests.runs.support import wait_for

    with worker(runs):
        wait_for(lambda: work.alive(runs))
        done = runbook(runs, "run", "healthy", "--platform", "test", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "succeeded"


def test_list_prints_every_runbook(runs: Settings) -> None:
    done = runbook(runs, "list", "--json")
    jsonschema.validate(json.loads(done.stdout), document("catalogue.json"))
    assert "breach" in runbook(runs, "list").stdout
