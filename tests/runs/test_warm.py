"""Warm kernels: made ahead, forked, confined like any other, one for each run, gone with whoever took it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nbformat import v4

import opslib
from opslib.record import client
from opslib.runs import descendants, kernels, leases, preload, priority
from opslib.runs.cells import Stop, execute
from opslib.runs.kernels import Kernel
from opslib.runs.outputs import CellOutputs
from opslib.settings import PROJECT, Settings
from tests.runs import support
from tests.runs.conftest import write_runbook
from tests.runs.support import processes_of, wait_for

pytestmark = pytest.mark.slow

SECRET = "postgresql://worker:secret-password@127.0.0.1/runbook"


def printed(kernel: Kernel, code: str) -> str:
    """What a cell printed, and why it failed if it did."""
    node = v4.new_code_cell(code)
    outputs = CellOutputs(node, None, tell=lambda _: None, redact=str)
    result = execute(kernel, code, outputs, timeout_s=60, deadline=1e12, stop=Stop(), idle=lambda: None)
    outputs.settle()
    shown = [output.get("text") or " ".join(output.get("data", {})) for output in node.outputs]
    return "".join(shown).strip() + result.sentence


def nursery_of(settings: Settings) -> subprocess.Popen[bytes]:
    """A nursery, once it answers."""
    process = leases.start(settings)
    assert process is not None
    wait_for(lambda: leases.place(settings).exists() or process.poll() is not None, within_s=300.0)
    assert process.poll() is None, (settings.state / "nursery.log").read_text()
    return process


def told_by(settings: Settings) -> dict[str, int]:
    """What a nursery says of its kernels."""
    return dict(json.loads((settings.runtime / leases.STATUS).read_text("ascii")))


def parked(number: int) -> list[int]:
    """The guards and kernels below a nursery."""
    return descendants.below(number)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, subprocess.Popen[bytes]]]:
    """A home with a nursery that was started among secrets."""
    settings = Settings(home=tmp_path_factory.mktemp("warm"), notebooks=Path(opslib.__file__).parents[1] / "notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_DATABASE_URL", SECRET)
        patch.setenv("RUNBOOK_TOKEN", "secret-token")
        patch.setenv("RUNBOOK_WARM_KERNELS", "2")
        process = nursery_of(settings)
    yield settings, process
    process.terminate()
    process.wait(30)
    assert wait_for(lambda: not list(settings.runtime.glob("kernel-*")))


@pytest.fixture
def settings(warm: tuple[Settings, subprocess.Popen[bytes]]) -> Settings:
    return warm[0]


@pytest.fixture
def take(settings: Settings) -> Iterator[Callable[[], Kernel]]:
    """Takes kernels, and gives them back at the end."""
    taken: list[Kernel] = []

    def one() -> Kernel:
        kernel = Kernel(*leases.take(settings, None))
        taken.append(kernel)
        kernel.ready()
        return kernel

    yield one
    for kernel in taken:
        kernel.end()


def test_a_kernel_that_is_ready_lets_the_service_go_first(take: Callable[[], Kernel]) -> None:
    session = Path(f"/proc/{take().process.pid}/autogroup")
    if not session.exists():
        pytest.skip("sessions do not count on this system")
    assert int(session.read_text().split()[-1]) == priority.RUNS


def test_a_kernel_that_was_taken_is_warm_and_confined(settings: Settings) -> None:
    told: list[str] = []
    with kernels.started(settings, ops_socket="/nowhere", tell=told.append) as kernel:
        kernel.ready()
        assert told == ["warm"]
        assert kernel.process.pid in descendants.named(f"{kernel.folder}/")  # else the reaper would take it for left
        loaded = printed(kernel, "import sys\nprint({'pandas', 'matplotlib.pyplot', 'engine'} <= set(sys.modules))")
        assert loaded == "True"
        secret = settings.state / "nursery.log"
        assert "Permission denied" in printed(kernel, f"open({str(secret)!r}).read()")
        names = set(printed(kernel, "import os\nprint(*os.environ)").split())
        assert {name for name in names if name.startswith("RUNBOOK_")} == {"RUNBOOK_OPS_SOCKET"}
        assert Path(printed(kernel, "print(os.getcwd())")).parent.parent == settings.runtime


def test_tables_are_shown_as_by_a_kernel_that_was_started_plainly(take: Callable[[], Kernel]) -> None:
    code = (
        "import pandas as pd\n"
        "options = ('max_columns', 'max_rows', 'min_rows', 'width', 'show_dimensions', 'large_repr', 'precision')\n"
        "print([pd.get_option(f'display.{name}') for name in options])\n"
        "print(pd.DataFrame([range(10**6, 10**6 + 18)], columns=[f'column {n}' for n in range(18)]))"
    )
    with kernels.started(None) as plain:
        plain.ready()
        assert printed(take(), code) == printed(plain, code)


def test_no_secret_of_the_starter_is_in_its_memory(take: Callable[[], Kernel]) -> None:
    code = (
        "import gc\nneedle = 'sec' + 'ret-'\n"
        "texts = [one for one in gc.get_objects() if isinstance(one, dict)]\n"
        "found = [1 for one in texts for value in one.values() if isinstance(value, str) and needle in value"
        " and value != needle]\n"
        "print(found, needle.encode() in open('/proc/self/environ', 'rb').read())"
    )
    assert printed(take(), code) == "[] False"


def test_pictures_appear(take: Callable[[], Kernel]) -> None:
    assert "image/png" in printed(take(), "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")


def test_kernels_draw_different_random_numbers(take: Callable[[], Kernel]) -> None:
    code = (
        "import random, uuid, numpy, numba\n"
        "draw = numba.njit(lambda: numpy.random.random())\n"
        "print(random.random(), numpy.random.random(), numpy.random.default_rng().random(), uuid.uuid4(), draw())"
    )
    first, second = (printed(take(), code).split() for _ in range(2))
    assert len(first) == len(second) == 5
    assert not set(first) & set(second)


def test_parallel_loops_and_new_compilations_work(take: Callable[[], Kernel]) -> None:
    code = (
        "import warnings, numba\nwarnings.simplefilter('ignore')\n"
        "@numba.njit(parallel=True)\n"
        "def add(n):\n    total = 0\n    for i in numba.prange(n):\n        total += i\n    return total\n"
        "print(add(1000))"
    )
    assert printed(take(), code) == "499500"


def test_the_engine_is_compiled_already(take: Callable[[], Kernel]) -> None:
    code = (
        "from numba.core import event\nfrom engine import european\n"
        "with event.install_recorder('numba:compile') as seen:\n"
        "    price = european(42.0, 40.0, 0.5, 0.10, 0.0, 0.20, 'call').price\n"
        "print(round(price, 7), len(seen.buffer))"
    )
    assert printed(take(), code) == "4.7594224 0"


def test_it_has_a_history_in_memory_and_no_debugger_which_could_not_be_reached(take: Callable[[], Kernel]) -> None:
    kernel = take()
    printed(kernel, "6 * 7")
    assert printed(kernel, "print(In[1], Out[1])\n%history -n 1") == "6 * 7 42\n   1: 6 * 7"
    assert printed(kernel, "print(hasattr(get_ipython().kernel, 'debugger'))") == "False"
    assert printed(kernel, "from pathlib import Path\nprint(*Path.home().rglob('*.sqlite'))") == ""


def test_each_is_used_once(take: Callable[[], Kernel]) -> None:
    first, second = take(), take()
    assert printed(first, "mine = 1\nprint(mine)") == "1"
    assert "NameError" in printed(second, "mine")


def test_a_kernel_that_dies_is_told_of(take: Callable[[], Kernel]) -> None:
    kernel = take()
    kernel.client.execute("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    wait_for(lambda: not kernel.alive())
    assert "SIGKILL" in kernel.why_dead()


def test_an_interrupt_reaches_the_cell(take: Callable[[], Kernel]) -> None:
    kernel = take()
    node = v4.new_code_cell("import time\ntime.sleep(60)")
    outputs = CellOutputs(node, None, tell=lambda _: None, redact=str)
    result = execute(kernel, node.source, outputs, timeout_s=0.5, deadline=1e12, stop=Stop(), idle=lambda: None)
    assert (result.status, result.reason) == ("interrupted", "timed-out")
    assert printed(kernel, "print('goes on')") == "goes on"


def test_nothing_that_a_cell_started_outlives_it(settings: Settings) -> None:
    mark = f"3602.{os.getpid()}"
    with kernels.started(settings) as kernel:
        kernel.ready()
        kernel.client.execute(f"import subprocess\nsubprocess.Popen(['setsid', 'nohup', 'sleep', '{mark}'])")
        wait_for(lambda: processes_of(mark))
    wait_for(lambda: not processes_of(mark))
    assert not kernel.folder.exists()


def test_it_ends_with_whoever_took_it(settings: Settings) -> None:
    mark = f"3603.{os.getpid()}"
    code = (
        "import time\nfrom opslib.runs import kernels\nfrom opslib.settings import Settings\n"
        f"with kernels.started(Settings(home={str(settings.home)!r})) as kernel:\n"
        "    kernel.ready()\n"
        f"    kernel.client.execute(\"import subprocess; subprocess.Popen(['setsid', 'sleep', '{mark}'])\")\n"
        "    print(kernel.process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        guard = int(runner.stdout.readline())
        wait_for(lambda: [one for one in processes_of(mark) if one != runner.pid])
        runner.kill()
    wait_for(lambda: not processes_of(mark) and descendants.birth(guard) is None)


def test_without_a_nursery_a_kernel_is_started_plainly_and_that_is_told(offline: Settings) -> None:
    told: list[str] = []
    with kernels.started(offline, tell=told.append) as kernel:
        kernel.ready()
        assert printed(kernel, "print(1 + 1)") == "2"
    assert told == ["plain: no nursery runs"]


def test_a_kernel_for_a_card_is_no_fork(settings: Settings) -> None:
    guard, folder = leases.take(settings, None, card=True)
    kernel = Kernel(guard, folder)
    try:
        kernel.ready()
        assert not guard.forked
        assert "image/png" in printed(kernel, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    finally:
        kernel.end()


def test_a_second_nursery_leaves(settings: Settings) -> None:
    assert leases.start(settings) is None
    words = ["-m", "opslib.runs.nursery", "--parent", str(os.getpid())]
    done = subprocess.run([sys.executable, *words], env=client.environment(settings), timeout=60, check=False)
    assert done.returncode == 0


def test_it_says_how_many_are_ready_and_were_taken(settings: Settings) -> None:
    def rested() -> dict[str, int] | None:
        told = told_by(settings)
        return told if told["ready"] >= 2 else None

    before = wait_for(rested)
    with kernels.started(settings) as kernel:
        kernel.ready()
    after = wait_for(rested)
    assert after["taken"] == before["taken"] + 1
    assert after["died"] == before["died"]


def _at_rest(settings: Settings, number: int) -> tuple[int, int, int]:
    """Descriptors, processes and folders of a nursery, once all its kernels are ready and nothing changes for a second.

    That nothing changes isn't enough: a kernel may take longer than that to load.
    """

    def count(folder: str) -> int:
        return sum(1 for _ in Path(folder).iterdir())

    seen: list[tuple[int, int, int]] = []

    def at_rest() -> bool:
        folders = len(list(settings.runtime.glob("kernel-*")))
        seen.append((count(f"/proc/{number}/fd"), len(parked(number)), folders))
        time.sleep(0.1)
        return len(seen) > 10 and len(set(seen[-10:])) == 1 and told_by(settings)["ready"] == folders

    wait_for(at_rest)
    return seen[-1]


def _leaks(settings: Settings, number: int, rounds: int) -> None:
    before, mine = _at_rest(settings, number), sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(rounds):
        with kernels.started(settings) as kernel:
            kernel.ready()
    assert _at_rest(settings, number) == before
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= mine


def test_nothing_is_left_of_those_that_were_used(
    settings: Settings, warm: tuple[Settings, subprocess.Popen[bytes]]
) -> None:
    _leaks(settings, warm[1].pid, 60)


@pytest.mark.soak
def test_nothing_is_left_of_many(settings: Settings, warm: tuple[Settings, subprocess.Popen[bytes]]) -> None:
    _leaks(settings, warm[1].pid, 500)


def test_kernels_that_wait_end_with_their_nursery_and_taken_ones_go_on(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, notebooks=tmp_path, warm_kernels=1)
    process = nursery_of(settings)
    kernel = Kernel(*leases.take(settings, None))
    try:
        kernel.ready()
        below = wait_for(lambda: [one for one in parked(process.pid) if one != kernel.process.pid])
        process.kill()
        process.wait()
        own = set(descendants.below(kernel.process.pid)) | {kernel.process.pid}
        wait_for(lambda: not [one for one in below if one not in own and descendants.birth(one) is not None])
        assert printed(kernel, "print('goes on')") == "goes on"
        with pytest.raises(leases.NoWarmKernel, match="no nursery runs"):
            leases.take(settings, None)
    finally:
        kernel.end()
    wait_for(lambda: not list(settings.runtime.glob("kernel-*")))


def test_code_that_changed_is_loaded_before_the_next_run(tmp_path: Path) -> None:
    package = Path(opslib.__file__).resolve().parent
    shutil.copytree(package, tmp_path / "opslib", ignore=shutil.ignore_patterns("__pycache__"))
    settings = Settings(home=tmp_path / "home", notebooks=tmp_path)
    environment = {**client.environment(settings), "PYTHONPATH": str(tmp_path), "RUNBOOK_WARM_KERNELS": "1"}
    words = ["-m", "opslib.runs.nursery", "--parent", str(os.getpid())]
    with subprocess.Popen([sys.executable, *words], env=environment, cwd=tmp_path) as process:
        try:
            wait_for(leases.place(settings).exists)
            with (tmp_path / "opslib" / "figures.py").open("a") as file:
                file.write("\nNEW = 42\n")
            time.sleep(1.2)
            with pytest.raises(leases.NoWarmKernel):
                leases.take(settings, None)

            def taken() -> Kernel | None:
                try:
                    return Kernel(*leases.take(settings, None))
                except leases.NoWarmKernel:
                    return None

            kernel = wait_for(taken)
            kernel.ready()
            assert printed(kernel, "from opslib import figures\nprint(figures.NEW)") == "42"
            kernel.end()
        finally:
            process.send_signal(signal.SIGTERM)


def test_what_the_runbooks_import_is_found(tmp_path: Path) -> None:
    write_runbook(tmp_path / "alerts" / "one.ipynb", "import json, os.path\nfrom xml import sax", "%magic", "x = ")
    (tmp_path / "alerts" / "two.ipynb").write_text("no notebook")
    found = preload.imports(tmp_path.glob("*/*.ipynb"))
    assert {"json", "os.path", "xml", "xml.sax"} <= set(found)


def test_a_forked_run_finds_all_that_a_record_needs() -> None:
    source = """
import pathlib, sys, threading
from opslib.runs import html, preload
preload.run()
from opslib.runs.formats import nbformat
before, threads = set(sys.modules), threading.active_count()
page = html.render(nbformat.read(pathlib.Path(sys.argv[1]), as_version=4))
print(threads, sorted(set(sys.modules) - before), "Verdict" in page)
"""
    record = next((PROJECT / "tests" / "golden").glob("*/*.ipynb"))
    said = subprocess.run([sys.executable, "-c", source, record], capture_output=True, text=True, check=True).stdout
    assert said == "1 [] True\n"


def test_the_journal_says_how_the_kernel_came_to_be(runs: Settings, notebook: Callable[..., str]) -> None:
    row = support.execute(runs, notebook("says-its-kernel", "1"))
    told = [entry["body"]["kernel"] for entry in support.entries(runs, row["incident"]) if entry["kind"] == "kernel"]
    assert (row["state"], told) == ("succeeded", ["plain: no nursery runs"])
