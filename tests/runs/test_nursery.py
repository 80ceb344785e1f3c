"""The nursery itself: what it counts, whom it serves, what it must never hold, and what it says where it cannot."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import opslib
from opslib.record import client
from opslib.runs import descendants, leases, nursery
from opslib.runs.kernels import Kernel
from opslib.settings import Settings
from tests.runs import support
from tests.runs.support import sockets, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, int]]:
    """A home with a nursery of one kernel; the nursery's process."""
    settings = Settings(home=tmp_path_factory.mktemp("nursery"), notebooks=Path("/nowhere"), warm_kernels=1)
    with support.nursery(settings) as process:
        yield settings, process.pid


@pytest.fixture
def settings(served: tuple[Settings, int]) -> Settings:
    """The same, once no kernel is in use and one is ready."""
    wait_for(lambda: told(served[0]).get("ready") == 1 and told(served[0])["in_use"] == 0)
    return served[0]


def told(settings: Settings) -> dict[str, int]:
    """What the nursery tells."""
    found = leases.counted(settings)
    assert found is not None
    return found


def taken(settings: Settings) -> Kernel:
    """A kernel, once it answers."""
    kernel = Kernel(*leases.take(settings, None))
    kernel.ready()
    return kernel


def test_a_kernel_is_in_use_until_whoever_took_it_ends_it(settings: Settings) -> None:
    before = told(settings)
    kernel = taken(settings)
    wait_for(lambda: told(settings)["in_use"] == 1)
    kernel.end()
    after = wait_for(lambda: (now := told(settings))["in_use"] == 0 and now)
    assert after["taken"] == before["taken"] + 1
    assert (after["died"], after["died_in_use"]) == (before["died"], before["died_in_use"])


@pytest.mark.parametrize(
    "end",
    [
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "import ctypes\nctypes.string_at(0)",
        "import os\nos._exit(3)",
    ],
    ids=["killed, as for want of memory", "crashed", "exit status"],
)
def test_a_kernel_that_dies_in_a_run_is_counted(settings: Settings, end: str) -> None:
    before = told(settings)
    kernel = taken(settings)
    try:
        kernel.client.execute(end)
        after = wait_for(lambda: (now := told(settings))["died_in_use"] > before["died_in_use"] and now)
        assert (after["died_in_use"], after["in_use"]) == (before["died_in_use"] + 1, 0)
        assert after["died"] == before["died"]
    finally:
        kernel.end()


def test_one_whose_guard_is_killed_is_counted_too(settings: Settings) -> None:
    before = told(settings)
    kernel = taken(settings)
    os.kill(kernel.process.pid, signal.SIGKILL)
    wait_for(lambda: told(settings)["died_in_use"] == before["died_in_use"] + 1)
    kernel.end()


def test_one_that_is_asked_to_leave_has_not_died(settings: Settings) -> None:
    before = told(settings)
    kernel = taken(settings)
    kernel.client.execute("exit()")
    wait_for(lambda: not kernel.alive() and told(settings)["in_use"] == 0)
    kernel.end()
    assert told(settings)["died_in_use"] == before["died_in_use"]


def test_one_whose_taker_is_gone_has_not_died(settings: Settings) -> None:
    before = told(settings)
    guard, _ = leases.take(settings, None)
    wait_for(lambda: told(settings)["in_use"] == 1)
    guard._connection.close()
    wait_for(lambda: told(settings)["in_use"] == 0)
    assert told(settings)["died_in_use"] == before["died_in_use"]


def test_who_has_gone_is_not_waited_upon(served: tuple[Settings, int], settings: Settings) -> None:
    before, number = told(settings), served[1]
    os.kill(number, signal.SIGSTOP)
    try:
        for _ in range(3):  # they give up before they are heard
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as gone:
                gone.connect(str(leases.place(settings)))
                gone.send(json.dumps({"ops": None}).encode())
    finally:
        os.kill(number, signal.SIGCONT)
    kernel = taken(settings)
    try:
        wait_for(lambda: (now := told(settings))["ready"] == 1 and now["in_use"] == 1)
        assert told(settings)["taken"] == before["taken"] + 1
    finally:
        kernel.end()


def test_it_has_one_thread_and_no_socket_but_to_who_asks_and_to_its_kernels(
    served: tuple[Settings, int], settings: Settings
) -> None:
    number = served[1]

    assert len(list(Path(f"/proc/{number}/task").iterdir())) == 1
    wait_for(lambda: sockets(number) == 2)  # where it is asked, and the kernel that is ready; who asked has gone
    kernel = taken(settings)
    wait_for(lambda: told(settings)["ready"] == 1)
    wait_for(lambda: sockets(number) == 3)
    assert len(list(Path(f"/proc/{number}/task").iterdir())) == 1
    kernel.end()
    wait_for(lambda: sockets(number) == 2)


def test_who_looks_for_a_nursery_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, notebooks=tmp_path)
    settings.make_home()
    leases.lock(settings).touch()
    code = "import sys\nfrom opslib.runs import leases\nfrom opslib.settings import Settings\n"
    code += f"settings = Settings(home={str(tmp_path)!r})\nprint(flush=True)\nwhile True: leases._served(settings)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        try:
            for _ in range(2000):
                with leases.lock(settings).open("r+b") as file:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            looker.kill()


def _broken(tmp_path: Path, settings: Settings) -> subprocess.Popen[bytes]:
    """A nursery whose kernels die before they are ready."""
    package = Path(opslib.__file__).resolve().parent
    shutil.copytree(package, tmp_path / "opslib", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "opslib" / "runs" / "parked.py"
    text = file.read_text("utf-8")
    assert "    _freshen(kernel)\n" in text
    file.write_text(text.replace("    _freshen(kernel)\n", "    raise MemoryError('none left')\n"), "utf-8")
    environment = {**client.environment(settings), "PYTHONPATH": str(tmp_path), "RUNBOOK_WARM_KERNELS": "1"}
    words = ["-m", "opslib.runs.nursery", "--parent", str(os.getpid())]
    with (tmp_path / "nursery.log").open("wb") as log:
        return subprocess.Popen([sys.executable, *words], env=environment, cwd=tmp_path, stderr=log, stdout=log)


def test_where_kernels_die_before_they_are_ready_runs_get_plain_ones_and_are_told_why(
    runs: Settings, notebook: Callable[..., str], tmp_path: Path
) -> None:
    process = _broken(tmp_path, runs)
    try:
        wait_for(lambda: "kernels die before they are ready" in (tmp_path / "nursery.log").read_text(), 300)
        assert json.loads((runs.runtime / leases.STATUS).read_text("ascii"))["died"] >= nursery._WORST
        row = support.execute(runs, notebook("has-no-warm-kernel", "1"))
        why = [entry["body"]["kernel"] for entry in support.entries(runs, row["incident"]) if entry["kind"] == "kernel"]
        assert row["state"] == "succeeded"
        assert why == ["plain: the nursery's kernels die before they are ready; its log says why"]
        assert "MemoryError: none left" in (tmp_path / "nursery.log").read_text()
    finally:
        process.terminate()
        process.wait(60)


def test_a_guard_that_was_stopped_does_not_hold_up_the_end_of_its_run(settings: Settings) -> None:
    kernel = taken(settings)
    below = descendants.below(kernel.process.pid)
    os.kill(kernel.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    kernel.end(within_s=1.0)
    assert time.monotonic() - began < 120.0, "it waits for what was stopped"  # a bound of waiting, no claim of speed
    wait_for(lambda: not [one for one in (kernel.process.pid, *below) if descendants.birth(one) is not None], 10.0)
    assert not kernel.folder.exists()
