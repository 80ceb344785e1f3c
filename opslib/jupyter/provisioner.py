"""Starts the kernels of JupyterLab, nbclient and papermill: confined like those of runs, with the recorder's session.

The entry point `runbook-provisioner` of `jupyter_client.kernel_provisioners`; the kernelspec "Runbook" names it. A
kernel comes warm from the nursery where one runs, else it is started plainly, and that is told. One that is started
again is always plain: whoever speaks to it knows the sockets of the one before.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from opslib.jupyter import copies
from opslib.jupyter.interactive import ACTOR, InteractiveRun
from opslib.record import journal
from opslib.runs import catalogue, kernels, leases
from opslib.settings import Settings

_log = logging.getLogger("opslib.jupyter")  # Jupyter's own log says nothing where no application of Jupyter's runs


class RunbookProvisioner(LocalProvisioner):
    """One kernel; started again it is another run of the same incident.

    A notebook that is no working copy of a runbook gets a kernel without a session: it can compute, and sees nothing.
    """

    _settings: Settings | None = None
    _folder: Path | None = None
    _run: InteractiveRun | None = None
    _guard: leases.Guard | None = None
    _incident: str | None = None
    _asked = False
    _died = ""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Open the run, and lay down how the kernel is started: its sockets, its environment, its folder."""
        settings = self._settings = self._settings or Settings()
        notebook = Path(kwargs.get("env", {}).get("JPY_SESSION_NAME") or "untitled")
        copy = await asyncio.to_thread(copies.of, notebook) if notebook.suffix == ".ipynb" else None
        if copy is not None:
            self._run = await asyncio.to_thread(InteractiveRun.open, settings, notebook, copy, self._incident)
            self._incident = self._run.incident
            self._run.interrupt = self._interrupt
        self._asked, self._died = False, ""
        socket = self._run.ops_socket if self._run is not None else None
        self._guard = await self._take(settings, socket, copy)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="kernel-", dir=settings.runtime))
        (self._folder / "work" / "tmp").mkdir(parents=True, exist_ok=True)
        manager: Any = self.parent
        manager.transport, manager.ip = "ipc", str(self._folder / "s")
        manager.connection_file = str(self._folder / "connection.json")
        if self._guard is not None:
            manager.load_connection_info(json.loads(Path(manager.connection_file).read_text("ascii")))
        prepared = await super().pre_launch(**kwargs)
        # Nothing of the server's environment passes but what the kernel of a run gets too.
        prepared["env"] = kernels.kernel_environment(settings.state / "fonts", self._folder, socket)
        prepared["cwd"] = str(self._folder / "work")
        module = prepared["cmd"].index("-f")
        prepared["cmd"][module + 2 : module + 2] = ["--parent", str(os.getpid())]
        return prepared

    async def _take(self, settings: Settings, socket: str | None, copy: copies.CopyOf | None) -> leases.Guard | None:
        """A warm kernel; None where there is none, which is told, in the journal where the kernel is a run."""
        guard = None
        if self._folder is None:
            card = copy is not None and catalogue.find(settings, copy.runbook).card
            try:
                guard, self._folder = await asyncio.to_thread(leases.take, settings, socket, card=card)
            except leases.NoWarmKernel as problem:
                told = f"plain: {problem}"
            else:
                told = "warm" if guard.forked else "warm, no fork, for a card"
        else:
            told = "plain: it was started again"
        if self._run is not None:
            body = {"run": self._run.run, "kernel": told}
            await asyncio.to_thread(journal.record, settings, self._run.incident, "kernel", body, actor=ACTOR)
        _log.log(logging.INFO if guard is not None else logging.WARNING, "kernel: %s", told)
        return guard

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Start the kernel, unless there is a warm one."""
        if self._guard is None:
            return await super().launch_kernel(cmd, **kwargs)
        process: Any = self._guard  # the part of a Popen that is asked of it
        self.process, self.pid = process, process.pid
        return self.connection_info

    def _interrupt(self) -> None:
        """Interrupt the kernel; from a thread, since the loop may be at rest until somebody asks the kernel again."""
        asyncio.run(self.send_signal(signal.SIGINT))

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Somebody asks the kernel to end; one that is dead by now died by itself."""
        await self._look_whether_dead()
        await super().shutdown_requested(restart)

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel; one that was dead already died by itself."""
        await self._look_whether_dead()
        await super().kill(restart)

    async def _look_whether_dead(self) -> None:
        code = await self.poll() if self.process is not None else None
        if code and not self._asked:
            self._died = f"The kernel died (exit status {code})."
        self._asked = True

    async def cleanup(self, restart: bool = False) -> None:
        """End the run; remove the kernel's folder when it is not started again."""
        await super().cleanup(restart)
        run, self._run = self._run, None
        if run is not None:
            await asyncio.to_thread(run.close, died=self._died)
        if not restart and self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder = None
