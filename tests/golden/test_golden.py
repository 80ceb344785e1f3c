"""Golden records show the same again, cell by cell, and today's playbooks still name what was broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from opslib.record.archived import ArchivedRun, runs_in
from opslib.record.replay import ReplaySession
from opslib.runs import replaying
from opslib.settings import PROJECT, Settings
from tests.golden import FOLDER, GOLDEN

NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}  # the records are of a machine without one: with one, more would be timed
NO_OTHER_PLUGIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take longer to import than the cells take to run
CELL_S = "240"  # a dead kernel would hang nbval for 2000 s


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home")
    settings.make_home()
    return settings


def archived(name: str) -> ArchivedRun:
    (run,) = runs_in(FOLDER / name)
    return run


@contextmanager
def answered(settings: Settings, run: ArchivedRun) -> Iterator[str]:
    """A socket on which the record answers."""
    with closing(ReplaySession(settings, run)) as session:
        yield str(session.path)


def test_every_playbook_has_a_golden_record() -> None:
    playbooks = {path.stem for path in (PROJECT / "notebooks" / "alerts").glob("*.ipynb")}
    assert playbooks
    assert {golden.runbook for golden in GOLDEN.values()} == playbooks


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_each_cell_shows_what_it_showed(name: str, home: Settings) -> None:
    run = archived(name)
    options = ["-p", "nbval.plugin", "--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_S}"]
    options += ["-p", "no:cacheprovider"]
    options += [f"--nbval-sanitize-with={FOLDER / 'sanitise.cfg'}", "-c", os.devnull, f"--rootdir={FOLDER}"]
    with answered(home, run) as socket:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, str(run.notebook)],
            env={
                **os.environ,
                **NO_CARD,
                **NO_OTHER_PLUGIN,
                "RUNBOOK_OPS_SOCKET": socket,
                "IPYTHONDIR": str(home.home / "ipython"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=580,
        )
    assert done.returncode == 0, done.stdout[-6000:]
    cells = sum(line.startswith("tests") or "passed" in line for line in done.stdout.splitlines())
    assert cells, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_the_playbook_of_today_names_the_same(name: str, home: Settings) -> None:
    told = replaying.backtest(home, archived(name))
    assert told.verdict is not None, told.error
    assert told.verdict["cause"] == GOLDEN[name].cause
    assert told.verdict["confirmed"] is (GOLDEN[name].fault is not None)
    assert not told.changed
    assert told.missing == []


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_record_is_small_and_has_its_outputs(name: str) -> None:
    files = [path for path in (FOLDER / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    run = archived(name)
    assert run.state == "succeeded"
    assert run.verdict is not None
    assert run.verdict["cause"] == GOLDEN[name].cause
    assert all((FOLDER / name / body["file"]).is_file() for body in run.answers.values())
