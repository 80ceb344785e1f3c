"""docs/authoring.md: its example is built as the page tells, and names what is true of a real Redis."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from opslib.runs import catalogue, skeleton
from opslib.settings import PROJECT, Settings
from sandbox import faults

pytestmark = pytest.mark.slow
PAGE = (PROJECT / "docs" / "authoring.md").read_text("utf-8")
CELLS = dict(re.findall(r"```python\n# cell: ([a-z-]+)\n(.*?)```", PAGE, re.DOTALL))
SERVERS = runpy.run_path(str(PROJECT / "tests" / "probes" / "servers.py"))
MB = 2**20
Answer = dict[str, Any]


def runbook(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from opslib.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=os.environ)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    (tmp_path / "redis").mkdir()
    with SERVERS["redis_server"](tmp_path / "redis") as (url, client):
        client.execute_command(
            "ACL", "SETUSER", "recorder", "+config|get"
        )  # a plan's preview shows the setting as it is
        yield url, client


@pytest.fixture
def ask(
    settings: Settings, redis: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Answer]]:
    """Builds the example by the command that the page gives, and runs it."""
    params = tmp_path / "params"
    (params / "platforms").mkdir(parents=True)
    for name in ("contacts.yaml", "policy.yaml"):
        shutil.copy(PROJECT / "params" / name, params / name)
    (route,) = yaml.safe_load(re.findall(r"```yaml\n# routes\n(.*?)```", PAGE, re.DOTALL)[0])
    routes = {"routes": [route], "default": {"runbook": "redis-memory", "target": ["alertname"]}}
    (params / "routes.yaml").write_text(yaml.safe_dump(routes))
    platform = {"title": "Crypto", "environment": "staging", "endpoints": {"redis": redis[0]}}
    (params / "platforms" / "crypto.yaml").write_text(yaml.safe_dump(platform))
    monkeypatch.setenv("RUNBOOK_PARAMS", str(params))
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path / "notebooks"))
    (command,) = re.findall(r"^runbook (new redis-memory .*)$", PAGE, re.MULTILINE)
    made = runbook(*command.split())
    assert made.returncode == 0, made.stderr
    path = tmp_path / "notebooks" / "alerts" / "redis-memory.ipynb"
    notebook = json.loads(path.read_text("utf-8"))
    there = {cell["id"]: cell for cell in notebook["cells"] if cell["cell_type"] == "code"}
    assert CELLS.keys() <= there.keys(), "the page tells of cells that `runbook new` does not make"
    for name, source in CELLS.items():
        there[name]["source"] = source.rstrip("\n")
    path.write_text(json.dumps(notebook))

    def run() -> Answer:
        done = runbook("run", "redis-memory", "--platform", "crypto", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        told: Answer = json.loads(done.stdout)
        assert told["state"] == "succeeded", told
        return told

    yield run
    shutil.rmtree(settings.runtime, ignore_errors=True)


def full(client: Any, share: float, *, kinds: int) -> None:
    """Fill Redis with some kinds of keys, and set its limit so that this is a share of it."""
    for kind in range(kinds):
        client.mset({f"kind{kind}:{number}": "x" * 10_000 for number in range(800)})
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] / share))


def test_on_a_redis_with_room_nothing_is_wrong(ask: Callable[[], Answer], redis: tuple[str, Any]) -> None:
    redis[1].config_set("maxmemory", 512 * MB)
    verdict = ask()["verdict"]
    assert (verdict["confirmed"], verdict["cause"], verdict["plan"]) == (False, None, None)


def test_a_kind_of_key_that_grew_and_a_low_limit_are_told_apart(
    ask: Callable[[], Answer], redis: tuple[str, Any]
) -> None:
    full(redis[1], 0.9, kinds=4)
    verdict = ask()["verdict"]
    assert (verdict["confirmed"], verdict["cause"]) == (True, "limit-too-low")
    assert verdict["causes"][1]["likelihood"] < 0.5
    assert verdict["plan"], "raising the limit is proposed"
    redis[1].flushall()
    full(redis[1], 0.9, kinds=1)
    both = {one["key"]: one["likelihood"] for one in ask()["verdict"]["causes"]}
    assert min(both.values()) > 0.5, both


def test_with_redis_away_it_says_what_it_could_not_see(
    ask: Callable[[], Answer], tmp_path: Path, redis: tuple[str, Any]
) -> None:
    platform = tmp_path / "params" / "platforms" / "crypto.yaml"
    platform.write_text(platform.read_text().replace(redis[0], "redis://127.0.0.1:1/0"))
    verdict = ask()["verdict"]
    assert (verdict["confirmed"], verdict["cause"], verdict["plan"]) == (False, None, None)
    assert len(verdict["unseen"]) >= 2


def test_what_the_page_says_of_the_sandbox_is_there() -> None:
    for named in re.findall(r"`((?:opslib|sandbox|tests|params)/[\w/.]*)`", PAGE):
        assert (PROJECT / named).exists(), named
    assert faults.FAULTS


FACTS = catalogue.Facts(
    id="A30", title="T", kind="alert", platforms=["crypto"], trigger=["T"], severity="P2", respond_within="1 h"
)


def test_a_new_notebook_has_the_layout_that_all_have() -> None:
    cells = skeleton.notebook(FACTS, ["one", "two", "three", "four"])["cells"]
    assert 10 <= len(cells) <= 25
    headings = re.findall(r"^## (.+)$", "\n".join(cell["source"] for cell in cells), re.MULTILINE)
    assert headings == ["Is it real?", "Diagnosis", "Verdict", "Mitigation", "Next"]
    assert max(len(cell["source"].splitlines()) for cell in cells if cell["cell_type"] == "code") <= 14


def test_nothing_is_written_over_and_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path))
    words = ("new", "redis-memory", "--alert", "RedisMemory", "--platform", "crypto", "--cause", "one")
    assert runbook(*words, "--id", "A30").returncode == 0
    before = (tmp_path / "alerts" / "redis-memory.ipynb").read_bytes()
    for more, told in (
        (("--id", "A31"), "there is a runbook redis-memory already"),
        (("--id", "nonsense"), "'nonsense' is no id of a runbook"),
        (("--id", "A31", "--cause", "../out"), "'../out': names of runbooks and causes"),
        (("--id", "A31", "--cause", "one"), "there is a runbook redis-memory already"),
    ):
        done = runbook(*words, *more)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    other = runbook("new", "other", *words[2:], "--id", "A30")
    assert "A30 is the id of another runbook" in other.stderr
    assert (tmp_path / "alerts" / "redis-memory.ipynb").read_bytes() == before
    assert [path.name for path in tmp_path.rglob("*.ipynb")] == ["redis-memory.ipynb"]
