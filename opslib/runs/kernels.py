"""Kernels for runs: warm or started plainly, confined, spoken to over Unix sockets, gone with all they started."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opslib
from opslib.errors import RunbookError
from opslib.runs import caches, descendants, landlock, leases, seccomp

if TYPE_CHECKING:
    from opslib.settings import Settings

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
_THREADS = "4"
_LAST_WORDS = 4096


def _quiet(_: str) -> None:
    """Tell nobody."""


class KernelDied(RunbookError):
    """The kernel died; its memory or a library's fault is the usual reason, and the last lines it wrote say more."""


@dataclass
class Kernel:
    """A started kernel.

    Attributes
    ----------
    process : subprocess.Popen or Guard
        The process that guards the kernel; it leads the group that all of the kernel's processes are in.
    folder : Path
        Its sockets, `work` (its home and working folder) and `kernel.log`; removed at the end.
    client : jupyter_client.BlockingKernelClient
        There after `ready`, with open channels.
    """

    process: subprocess.Popen[bytes] | leases.Guard
    folder: Path
    client: Any = None

    def ready(self, within_s: float = 60.0) -> None:
        """Open the channels and wait until the kernel answers.

        Raises
        ------
        KernelDied
            When it dies, or does not answer in that time.
        """
        import zmq
        from jupyter_client.blocking.client import BlockingKernelClient

        self.client = BlockingKernelClient(context=zmq.Context())
        self.client.load_connection_file(str(self.folder / "connection.json"))
        self.client.start_channels(stdin=False, hb=False, control=False)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            request = self.client.kernel_info()
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                if self.client.iopub_channel.socket.poll(100):
                    message = self.client.iopub_channel.get_msg(timeout=0)
                    if message["parent_header"].get("msg_id") == request:
                        return
                if not self.alive():
                    raise KernelDied(self.why_dead())
        raise KernelDied(f"The kernel did not answer within {within_s:g} s; the machine may be short of memory or CPU.")

    def alive(self) -> bool:
        """Whether the kernel's process runs."""
        return self.process.poll() is None

    def interrupt(self) -> None:
        """SIGINT to the kernel and what it started: the running cell ends with KeyboardInterrupt."""
        if isinstance(self.process, leases.Guard):
            self.process.interrupt()
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

    def why_dead(self) -> str:
        """How the kernel ended, as a sentence, with the last line that it wrote to its own log."""
        code = self.process.poll()
        if code is None:
            return "The kernel runs."
        number = code - 128 if code > 128 else -code if code < 0 else 0
        how = f"killed by {signal.Signals(number).name}" if number else f"exit status {code}"
        lines = self._last_words().decode("utf-8", "replace").strip().splitlines()
        return f"The kernel died ({how})." + (f" It last wrote: {lines[-1][:300]}" if lines else "")

    def _last_words(self) -> bytes:
        """The end of the kernel's log; a kernel may remove it, and cannot put anything in its place."""
        try:
            descriptor = os.open(self.folder / "kernel.log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return b""
        with os.fdopen(descriptor, "rb") as log:
            log.seek(max(0, os.fstat(descriptor).st_size - _LAST_WORDS))
            return log.read(_LAST_WORDS)

    def end(self, within_s: float = 3.0) -> None:
        """End the kernel and every process that it started."""
        if self.client is not None:
            self.client.stop_channels()
            self.client.context.destroy(linger=0)
            self.client = None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self._kill(within_s)
        with suppress(subprocess.TimeoutExpired):  # what not even SIGKILL ends is left to the reaper
            self.process.wait(within_s)

    def _kill(self, within_s: float) -> None:
        """End a kernel whose guard does not: all below the guard first, since it would slip away when that is gone."""
        descendants.end_below(self.process.pid)
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
            return
        with suppress(ProcessLookupError):  # its connection is open, hence it lives, and the number is still its own
            os.kill(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def confinement() -> str:
    """How the kernels of this machine are confined: `landlock-N seccomp`, or what there is, or `environment-only`."""
    version = landlock.abi()
    means = [f"landlock-{version}"] * bool(version) + ["seccomp"] * seccomp.available()
    return " ".join(means) or "environment-only"


@contextmanager
def started(
    settings: Settings | None,
    *,
    ops_socket: str | None = None,
    card: bool = False,
    tell: Callable[[str], None] = _quiet,
) -> Iterator[Kernel]:
    """A kernel, warm where there is one, that answers after `ready`; ended, with all it started, at the block's end.

    Parameters
    ----------
    settings : Settings or None
        None: a kernel for `papermill --engine runbook` outside any home.
    ops_socket : str, optional
        The recorder's socket for this session, given to the notebook as `RUNBOOK_OPS_SOCKET`.
    card : bool
        Whether it is to use a card.
    tell : callable
        Is told how the kernel came to be: `warm`, or `plain` and why.
    """
    if settings is not None:
        try:
            guard, folder = leases.take(settings, ops_socket, card=card)
        except leases.NoWarmKernel as problem:
            tell(f"plain: {problem}")
        else:
            tell("warm" if guard.forked else "warm, no fork, for a card")
            kernel = Kernel(guard, folder)
            try:
                yield kernel
            finally:
                kernel.end()
            return
    else:
        tell("plain: there is no home")
    folder = new_folder(settings.runtime if settings is not None else Path(tempfile.gettempdir()))
    try:
        environment = kernel_environment(settings.state / "fonts" if settings is not None else None, folder, ops_socket)
        with _process(folder, environment) as kernel:
            yield kernel
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_folder(parent: Path) -> Path:
    """A folder for a new kernel, with its connection file."""
    folder = Path(tempfile.mkdtemp(prefix="kernel-", dir=parent))
    (folder / "work" / "tmp").mkdir(parents=True)
    file = folder / "connection.json"
    file.touch(0o600)
    file.write_text(json.dumps(_connection(folder)), "ascii")
    return folder


@contextmanager
def _process(folder: Path, environment: dict[str, str]) -> Iterator[Kernel]:
    """The kernel's process; jupyter_client is not imported before it is on its way."""
    file = folder / "connection.json"
    command = [sys.executable, "-m", "opslib.runs.confined", "-f", str(file), "--parent", str(os.getpid())]
    with (folder / "kernel.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder / "work",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    kernel = Kernel(process, folder)
    try:
        yield kernel
    finally:
        kernel.end()


def _connection(folder: Path) -> dict[str, Any]:
    """What a kernel and its client have to know: Unix sockets of their own, and a key that signs the messages."""
    names = ("shell", "iopub", "stdin", "control", "hb")
    ports = {f"{name}_port": number for number, name in enumerate(names, start=1)}
    signed = {"key": secrets.token_hex(32), "signature_scheme": "hmac-sha256"}
    return {**ports, **signed, "transport": "ipc", "ip": str(folder / "s"), "kernel_name": ""}


def kernel_environment(
    fonts: Path | None, folder: Path, ops_socket: str | None, *, forked: bool = False
) -> dict[str, str]:
    """All that a kernel finds in its environment.

    Parameters
    ----------
    fonts : Path or None
        Where the list of fonts is kept for the next kernel.
    folder : Path
        The kernel's own.
    ops_socket : str or None
    forked : bool
        Whether it will be a fork of a process with the libraries loaded.
    """
    environment = bare_environment() | {
        "HOME": str(folder / "work"),
        "TMPDIR": str(folder / "work" / "tmp"),
        "IPYTHONDIR": str(folder / "work" / ".ipython"),
        **caches.private(fonts, folder, code=not forked),
    }
    if ops_socket:
        environment["RUNBOOK_OPS_SOCKET"] = ops_socket
    return environment


def bare_environment() -> dict[str, str]:
    """What a process that runs notebooks may know of where it runs: an allow-list, nothing else is inherited."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    environment.setdefault("LANG", "C.UTF-8")
    environment.setdefault("NUMBA_NUM_THREADS", str(min(int(_THREADS), os.cpu_count() or 1)))
    environment.setdefault("OMP_NUM_THREADS", environment["NUMBA_NUM_THREADS"])
    return environment | {
        "PYTHONPATH": str(Path(opslib.__file__).resolve().parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
