"""The steps of a build: each is one command, logged, with progress, ended with this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import processes
from sandbox.errors import BuildFailed

__all__ = ["Steps"]

_POLL_S = 0.2
_SAY_EVERY_S = 5.0


@dataclass
class Steps:
    """Runs commands one after the other.

    Attributes
    ----------
    work : Path
        Folder for what is needed only while building.
    log : Path
        Takes everything that the commands say; begun anew.
    progress : callable
        Takes a line for the person who waits.
    """

    work: Path
    log: Path
    progress: Callable[[str], None]
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.log.write_bytes(b"")

    def say(self, line: str) -> None:
        """Show a line with the seconds since the beginning."""
        self.progress(f"[{time.monotonic() - self._began:4.0f} s] {line}")

    def run(
        self,
        what: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        lines: int | None = None,
        limit_s: float = 3600.0,
    ) -> None:
        """Run one command and wait for it.

        Parameters
        ----------
        what : str
            What it does, in words.
        command : sequence of str or Path
        folder : Path
            Where it runs.
        environment : mapping, optional
            Its whole environment; by default this process's own.
        lines : int, optional
            How many lines it says about, for the share that is shown as done.
        limit_s : float
            It is ended after so long [s].

        Raises
        ------
        BuildFailed
            With the end of the log.
        """
        self.say(what)
        words = [str(word) for word in command]
        own = dict(os.environ) if environment is None else dict(environment)
        found = shutil.which(words[0], path=own.get("PATH"))
        if found is None:
            raise BuildFailed(f"{what} did not work: this machine has no program {words[0]}")
        before = self.log.stat().st_size
        process = processes.spawn([found, *words[1:]], self.log, folder, own)
        try:
            self._wait(process, what, before, lines, limit_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            end = "\n".join(self._said(before).splitlines()[-12:])
            raise BuildFailed(f"{what} did not work; the end of {self.log} says:\n{end}")

    def _wait(
        self, process: subprocess.Popen[bytes], what: str, before: int, lines: int | None, limit_s: float
    ) -> None:
        began = said = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            if now - began > limit_s:
                raise BuildFailed(f"{what} took longer than {limit_s:.0f} s; its log is {self.log}")
            if lines and now - said > _SAY_EVERY_S:
                done = self._said(before).count("\n")
                self.say(f"{what}: {min(99, 100 * done // lines)} %")
                said = now
            time.sleep(_POLL_S)

    def _said(self, before: int) -> str:
        with self.log.open("rb") as source:
            source.seek(before)
            return source.read().decode("utf-8", errors="replace")
