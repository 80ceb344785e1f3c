"""`runbook serve`: one process tree that keeps itself up and leaves nothing behind, on an embedded store of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from opslib import store, web
from opslib.settings import Settings
from tests.intake.bodies import alert, webhook

pytestmark = pytest.mark.slow

KINDS = ("opslib.server", "opslib.record.recorder", "opslib.record.signer", "opslib.actions.applier", "worker")
SERVE = [sys.executable, "-c", "from opslib.cli import main; main()", "serve"]


def until(true: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def children(parent: int) -> dict[str, int]:
    """The processes of the tree, by kind."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode().split("\0")
            status = (place / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, UnicodeDecodeError):
            continue
        kind = next((kind for kind in KINDS if kind in command), None)
        if kind is not None and int(status[1]) == parent and status[0] != "Z":
            found[kind] = int(place.name)
    return found


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Tree:
    """A tree that is up."""

    settings: Settings
    process: subprocess.Popen[str]
    address: str
    said: str

    def deliver(self) -> int:
        """The status with which a delivery is answered; 0: nobody answered."""
        token = (self.settings.state / "intake-token").read_text("utf-8").strip()
        headers = {"Authorization": f"Bearer {token}"}
        try:
            address = f"{self.address}/api/v1/alerts"
            return web.post(address, content=webhook(alert()), headers=headers, timeout=30).status_code
        except httpx.TransportError:
            return 0


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """`runbook serve` on a free port."""
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    settings = Settings()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    log = (tmp_path / "serve.log").open("w")
    process = subprocess.Popen([*SERVE, "--port", str(port)], stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline()
        assert line, f"it ended: {(tmp_path / 'serve.log').read_text()}"
        said += line
    left = set(children(process.pid).values())
    yield Tree(settings, process, f"http://127.0.0.1:{port}", said)
    left |= set(children(process.pid).values())
    process.kill()
    process.wait()
    process.stdout.close()
    log.close()
    until(lambda: not any(runs(pid) for pid in left), "the tree is gone")
    store.stop(settings)


def test_tree_comes_up_keeps_itself_up_and_ends(tree: Tree) -> None:
    assert tree.address in tree.said
    token = (tree.settings.state / "intake-token").read_text("utf-8").strip()
    assert token in tree.said
    assert (tree.settings.state / "intake-token").stat().st_mode & 0o077 == 0
    until(lambda: set(children(tree.process.pid)) == set(KINDS), "every process runs")
    assert tree.deliver() == 200
    before = children(tree.process.pid)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(children(tree.process.pid).values()) - set(before.values())) == len(KINDS), "all are back")
    until(lambda: tree.deliver() == 200, "it takes alerts again")
    with store.transaction(tree.settings) as connection:
        row = connection.execute("SELECT count(*) AS alerts, sum(repeats) >= 1 AS repeated FROM alerts").fetchone()
    assert row == {"alerts": 1, "repeated": True}
    there = set(children(tree.process.pid).values())
    tree.process.terminate()
    assert tree.process.wait(timeout=60) == 0
    assert not any(runs(pid) for pid in there)


def test_killed_supervisor_leaves_nothing_behind(tree: Tree) -> None:
    until(lambda: set(children(tree.process.pid)) == set(KINDS), "every process runs")
    there = set(children(tree.process.pid).values())
    tree.process.kill()
    tree.process.wait()
    until(lambda: not any(runs(pid) for pid in there), "all ended with it")


def test_mistakes_and_a_port_that_is_taken_are_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        taken = subprocess.run([*SERVE, "--port", port], capture_output=True, text=True, check=False)
    assert taken.returncode == 2
    assert "choose another --port" in taken.stderr
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "routes.yaml").write_text("routes: 5\nmore: 6\n", "utf-8")
    monkeypatch.setenv("RUNBOOK_PARAMS", str(tmp_path / "params"))
    wrong = subprocess.run(SERVE, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    for part in ("routes.yaml: routes:", "routes.yaml: more:", "contacts.yaml: (the whole file): is missing"):
        assert part in wrong.stderr
    assert not (tmp_path / "home" / ".state" / "postgres").exists()
