"""What a cell cannot reach: looked for from inside, as somebody would who means harm."""

from __future__ import annotations

import errno
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opslib.record import archive
from opslib.runs import kernels, landlock, seccomp
from opslib.runs.cells import Stop, execute
from opslib.runs.formats import v4
from opslib.runs.outputs import CellOutputs
from opslib.settings import Settings
from tests.runs import support
from tests.runs.support import entries, processes_of, wait_for

confined = pytest.mark.skipif(
    landlock.abi() < 6 or not seccomp.available(), reason="this kernel has no Landlock of version 6, or no seccomp"
)
Run = Callable[[str], str]


@pytest.fixture
def cell(offline: Settings) -> Iterator[Run]:
    """Runs code in one confined kernel; gives what it printed, and the error if it raised one."""
    archive.key(offline, "signing")
    (offline.state / "tokens").mkdir()
    (offline.state / "tokens" / "demo-l1").write_text("secret-token")
    os.environ["RUNBOOK_DATABASE_URL"] = "postgresql://worker:secret-password@127.0.0.1/runbook"
    try:
        with kernels.started(offline, ops_socket="/nowhere/ops.sock") as kernel:
            kernel.ready()

            def run(code: str) -> str:
                node = v4.new_code_cell(code)
                outputs = CellOutputs(node, None, tell=lambda _: None, redact=str)
                until = 1e12
                result = execute(kernel, code, outputs, timeout_s=60, deadline=until, stop=Stop(), idle=lambda: None)
                outputs.settle()
                text = "".join(output.get("text", "") for output in node.outputs)
                return f"{text}{result.sentence}".strip()

            yield run
    finally:
        del os.environ["RUNBOOK_DATABASE_URL"]


def test_environment_is_an_allow_list(cell: Run) -> None:
    names = set(cell("import os\nprint(*os.environ)").split())
    assert "RUNBOOK_OPS_SOCKET" in names
    assert not {name for name in names if name.startswith("RUNBOOK_")} - {"RUNBOOK_OPS_SOCKET"}
    assert "secret" not in cell("print(dict(os.environ))")


@confined
def test_home_of_the_records_and_of_the_user_cannot_be_read(cell: Run, offline: Settings) -> None:
    for path in (offline.home, offline.state / "keys" / "signing", offline.state / "tokens" / "demo-l1", Path.home()):
        assert "Permission denied" in cell(f"import os\nprint(os.listdir({str(path)!r}))") or path.is_file()
        assert "Permission denied" in cell(f"print(open({str(path)!r}).read())") or path.is_dir()
    found = cell(
        f"found = []\nfor place, folders, files in os.walk({str(offline.home)!r}):\n    found += files\nprint(found)"
    )
    assert found == "[]"


@confined
def test_no_other_process_can_be_looked_into_or_signalled(cell: Run) -> None:
    seen = cell(
        "import os\n"
        "for process in range(1, 70_000):\n"
        "    for name in ('environ', 'cmdline', 'maps', 'fd'):\n"
        "        try:\n"
        "            path = f'/proc/{process}/{name}'\n"
        "            os.listdir(path) if name == 'fd' else open(path).read()\n"
        "        except OSError:\n"
        "            continue\n"
        "        if process != os.getpid():\n"
        "            print(path)"
    )
    assert seen == ""
    assert "Operation not permitted" in cell(f"os.kill({os.getpid()}, 0)")
    assert "Operation not permitted" in cell("os.kill(os.getppid(), 9)")


@confined
def test_no_port_can_be_reached_or_opened(cell: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = cell(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)")
    assert "Permission denied" in answer or "Network is unreachable" in answer
    assert "PermissionError" in cell("socket.create_server(('127.0.0.1', 0))")


@confined
def test_files_are_written_in_the_scratch_folder_alone(cell: Run, tmp_path: Path) -> None:
    assert (
        cell("import pathlib\npathlib.Path('here.txt').write_text('x')\nprint(pathlib.Path('here.txt').read_text())")
        == "x"
    )
    for place in (tmp_path, Path("/tmp"), Path(kernels.__file__).parent, Path(sys.prefix)):
        assert "PermissionError" in cell(f"pathlib.Path({str(place / 'owned')!r}).write_text('x')")
    assert "PermissionError" in cell("import os\nos.mknod('disk', 0o60600, os.makedev(8, 0))") or os.getuid() != 0


@confined
def test_no_capability_is_left(cell: Run) -> None:
    lines = cell("print(open('/proc/self/status').read())").splitlines()
    facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert {facts[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert facts["NoNewPrivs"] == "1"


def test_libraries_of_the_field_work(cell: Run) -> None:
    assert (
        cell(
            "import numpy, pandas, scipy.stats, numba, matplotlib.pyplot as plt, opslib, engine\n"
            "plt.plot([1, 2])\n"
            "@numba.njit(cache=False)\ndef double(x):\n    return 2 * x\n"
            "print(double(21))"
        )
        == "42"
    )


def test_nothing_that_a_cell_started_outlives_the_kernel(offline: Settings) -> None:
    with kernels.started(offline) as kernel:
        kernel.ready()
        mark = f"3600.{os.getpid()}"
        kernel.client.execute(f"import subprocess\nsubprocess.Popen(['setsid', 'nohup', 'sleep', '{mark}'])")
        wait_for(lambda: processes_of(mark))
    assert processes_of(mark) == []
    assert kernel.process.returncode is not None


def test_kernel_and_what_it_started_end_with_a_killed_runner(offline: Settings) -> None:
    mark = f"3601.{os.getpid()}"
    code = (
        "import os, signal, time\nfrom opslib.runs import kernels\nfrom opslib.settings import Settings\n"
        f"with kernels.started(Settings(home={str(offline.home)!r})) as kernel:\n"
        "    kernel.ready()\n"
        f"    kernel.client.execute(\"import subprocess; subprocess.Popen(['setsid', 'sleep', '{mark}'])\")\n"
        "    print('asked', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"asked\n"
        wait_for(lambda: [one for one in processes_of(mark) if one != runner.pid])
        runner.kill()
    wait_for(lambda: not processes_of(mark) and not processes_of(f"--parent {runner.pid}"))


@confined
def test_no_socket_outside_can_be_connected_to(cell: Run, offline: Settings) -> None:
    """Neither the recorder's, nor another run's, nor the sandbox's, nor anything else's on the machine."""
    for name in ("recorder.sock", "ops/another.sock", "crypto-control.sock"):
        path = offline.runtime / name
        path.parent.mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen(1)
            assert "PermissionError" in cell(
                f"import socket\nwith socket.socket(socket.AF_UNIX) as line:\n    line.connect({str(path)!r})"
            )
            assert "PermissionError" in cell(f"import os\nos.remove({str(path)!r})")
    for code in (
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET6)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    ):
        assert "PermissionError" in cell(f"import socket\n{code}")


@confined
def test_no_way_out_by_other_system_calls(cell: Run) -> None:
    calls = {
        "ptrace": (101, 117), "process_vm_readv": (310, 270), "unshare": (272, 97), "setns": (308, 268),
        "mount": (165, 40), "keyctl": (250, 219), "shmget": (29, 194), "pidfd_getfd": (438, 438), "bpf": (321, 280),
    }  # fmt: skip
    column = 0 if platform.machine() == "x86_64" else 1
    told = cell(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, number in {[(name, numbers[column]) for name, numbers in calls.items()]}:\n"
        "    result = libc.syscall(number, 0x10000000, 0, 0, 0, 0, 0)\n"
        "    print(name, result, ctypes.get_errno())"
    )
    assert told.splitlines() == [f"{name} -1 {errno.EACCES}" for name in calls]
    assert "PermissionError" in cell("import os\nos.listdir('/proc/self/root/root')")
    assert "OSError" in cell("os.link('/etc/passwd', 'passwd')")


@confined
def test_the_run_is_led_by_no_link_that_a_cell_lays(offline: Settings) -> None:
    """The kernel's log and connection file are read from outside: a link there would show what it leads to."""
    secret = offline.state / "tokens" / "demo-l4"
    secret.parent.mkdir(parents=True)
    secret.write_text("swordfish")
    with kernels.started(offline) as kernel:
        kernel.ready()
        code = (
            "import os, pathlib\n"
            "folder = pathlib.Path.home().parent\n"
            "for name in ('kernel.log', 'connection.json', 'new', 'cache'):\n"
            "    for lay in (lambda: (folder / name).unlink(),\n"
            f"                lambda: (folder / name).symlink_to({str(secret)!r}),\n"
            f"                lambda: (pathlib.Path.home() / name).symlink_to({str(secret)!r}),\n"
            "                lambda: (pathlib.Path.home() / name).rename(folder / name),\n"
            "                lambda: (folder / name).write_text('x')):\n"
            "        try:\n            lay()\n        except OSError:\n            pass\n"
            "os.kill(os.getpid(), 9)"
        )
        kernel.client.execute(code)
        wait_for(lambda: not kernel.alive())
        assert "swordfish" not in kernel.why_dead()
        assert "killed by SIGKILL" in kernel.why_dead()
        assert [path for path in kernel.folder.iterdir() if path.is_symlink()] == []


@confined
def test_nothing_that_a_cell_leaves_in_a_cache_reaches_the_next_kernel(
    offline: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MPLCONFIGDIR")
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    (compiled / "loop.nbc").write_bytes(b"code")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(compiled))
    for turn in ("first", "second"):
        with kernels.started(offline) as kernel:
            kernel.ready()
            places = [next(kernel.folder.glob("cache-*")) / name for name in ("numba", "matplotlib")]
            assert [path.name for path in places[0].iterdir()] == ["loop.nbc"]
            assert [path.name[:9] for path in places[1].iterdir()] == ["fontlist-"]
            kernel.client.execute(
                "import os, pathlib\n"
                "for name in ('NUMBA_CACHE_DIR', 'MPLCONFIGDIR'):\n"
                f"    (pathlib.Path(os.environ[name]) / 'matplotlibrc').write_text('text.color: white  # {turn}')\n"
                f"for kept in ({str(offline.state / 'fonts')!r}, {str(compiled)!r}):\n"
                "    try:\n        (pathlib.Path(kept) / 'matplotlibrc').write_text('x')\n"
                "    except OSError:\n        pathlib.Path('refused-' + kept.replace('/', '-')).touch()"
            )
            wait_for(lambda: len(list((kernel.folder / "work").glob("refused-*"))) == 2)
            assert (places[1] / "matplotlibrc").exists()
    assert [path.name[:9] for path in (offline.state / "fonts").iterdir()] == ["fontlist-"]
    assert [path.name for path in compiled.iterdir()] == ["loop.nbc"]


def test_a_cell_reaches_the_recorder_of_its_own_run_alone(
    runs: Settings, notebook: Callable[..., str], tmp_path: Path
) -> None:
    """It asks through the connection that it is given; its words cannot name another run, incident or platform."""
    name = notebook(
        "mischief",
        "import opslib\nops = opslib.connect()\nprint(ops.now() == opslib.connect().now(), ops.context.run)",
        "from opslib.errors import RunbookError\n"
        "def refused(operation, **facts):\n"
        "    try:\n        print('DONE', operation, ops._ask(operation, **facts))\n"
        "    except RunbookError as error:\n        print('refused:', error)",
        "refused('open', subject={'incident': 'INC-2026-000001', 'run': 1}, token='')\n"
        "refused('apply', hash='0' * 64, token='rb_x')\n"
        "refused('approve', hash='0' * 64)\n"
        "refused('probe', probe='redis.text', arguments={'key': 'x', 'system': 'redis_admin'})\n"
        "refused('probe', probe='http.text', arguments={'path': '@127.0.0.1:5432/'})\n"
        "refused('probe', probe='http.text', arguments={'path': '/x', 'system': '../../../etc'})\n"
        "refused('propose', actions=[{'action': 'crypto.emergency-reduce', 'arguments': {'run_id': 1}}])\n"
        "refused('conclude', verdict={'confirmed': True, 'summary': 's', 'causes':"
        " [{'key': 'x', 'likelihood': 1, 'because': 'b', 'evidence': ['E001', 'E077']}]})\n",
        "ops.conclude({'confirmed': True, 'summary': 'first', 'plan': {'hash': 'f' * 64, 'actions': []}})\n"
        "ops._ask('conclude', run=1, incident='INC-2026-000001', verdict={'confirmed': False, 'summary': 'second'})",
        "from opslib import store\nfrom opslib.settings import Settings\n"
        f"try:\n    store.connect(Settings(home={str(runs.home)!r}))\n"
        "except (OSError, RunbookError) as error:\n    print('refused:', error)",
        reads=["http.text", "http.text@../../../etc", "redis.text@redis_admin"],
        proposes=["crypto.emergency-reduce"],
    )
    row = support.execute(runs, name)
    assert row["state"] == "succeeded", row["error"]
    told = entries(runs, row["incident"])
    printed = "".join(entry["body"]["text"] for entry in told if entry["kind"] == "output")
    assert "DONE" not in printed
    assert printed.count("refused:") == 9
    assert "cites evidence that this run has not seen: E077" in printed
    assert [entry["body"]["verdict"]["summary"] for entry in told if entry["kind"] == "verdict"] == ["first", "second"]
    assert {entry["body"]["run"] for entry in told if entry["kind"] in ("verdict", "evidence")} == {row["id"]}
    assert (row["verdict"]["summary"], row["verdict"]["plan"]) == ("second", None)


def test_confinement_is_named() -> None:
    version = landlock.abi()
    means = [f"landlock-{version}"] * bool(version) + ["seccomp"] * seccomp.available()
    assert kernels.confinement() == (" ".join(means) or "environment-only")
