"""Replay, backtest and post-mortem by command on a real record, here and on a copy elsewhere; altered: refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from opslib.settings import PROJECT
from tests.acceptance.conftest import RUNBOOK, Installation

pytestmark = pytest.mark.acceptance


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".state" not in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_record_is_run_again_on_itself_alone(installation: Installation, tmp_path: Path) -> None:
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    installation.runbook("sandbox", "break", "var-breach/single-symbol", "--seed", "6")
    told = installation.json("run", "var-breach", "--platform", "crypto")
    incident = told["incident"]
    assert told["verdict"]["cause"] == "single-symbol"
    installation.runbook("sandbox", "down")

    # The platform is gone: the record alone answers, also on another machine.
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(installation.home, elsewhere, ignore=shutil.ignore_patterns(".state"))
    before = digests(elsewhere)
    done = installation.runbook("replay", incident, "--json", RUNBOOK_HOME=str(elsewhere))
    found = json.loads(done.stdout)
    assert (found["same"], found["verified"]) == (True, "intact"), found
    (run,) = found["runs"]
    assert run["no_evidence"] == run["not_asked"] == []
    assert run["verdict"]["replayed"]["cause"] == "single-symbol"
    assert len(run["cells"]) > 10
    assert digests(elsewhere) == before
    assert "the same again" in installation.runbook("replay", incident).stdout

    # Today's playbook with another level would not have called it a breach.
    params = tmp_path / "params"
    shutil.copytree(PROJECT / "params", params)
    file = params / "platforms" / "crypto.yaml"
    file.write_text(file.read_text("utf-8").replace("var_warning_pct: 1.8", "var_warning_pct: 90.0"), "utf-8")
    same = installation.json("backtest")
    assert (same["runs"], same["changed"]) == (1, 0), same
    other = json.loads(installation.runbook("backtest", "--json", RUNBOOK_PARAMS=str(params)).stdout)
    assert (other["runs"], other["changed"]) == (1, 1)
    assert other["verdicts"][0]["then"]["cause"] == "single-symbol"
    assert other["verdicts"][0]["now"]["confirmed"] is False
    assert json.loads(installation.runbook("backtest", "--runbook", "triage", "--json").stdout)["runs"] == 0

    written = installation.runbook("postmortem", incident, "--template", "004").stdout
    assert incident in written
    assert "[J" in written
    installation.runbook("postmortem", incident, "--template", "002", expect=2)

    # What was altered is said, and not replayed.
    evidence = next(elsewhere.glob("*/*/evidence/*.json"))
    evidence.write_bytes(evidence.read_bytes().replace(b"2", b"3", 1))
    for command in (["replay", incident], ["postmortem", incident]):
        refused = subprocess.run(
            [RUNBOOK, *command],
            env={**installation.environment, "RUNBOOK_HOME": str(elsewhere)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert "is altered" in refused.stderr
        assert evidence.name in refused.stderr
