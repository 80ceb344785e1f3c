"""Starts the kernels of JupyterLab: confined like those of runs, and with a session of the recorder.

The entry point `runbook-provisioner` of `jupyter_client.kernel_provisioners`; the kernelspec names it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from opslib.jupyter import copies
from opslib.jupyter.interactive import InteractiveRun
from opslib.runs import kernels
from opslib.settings import Settings


class RunbookProvisioner(LocalProvisioner):
    """One kernel; started again it is another run of the same incident.

    A notebook that is no working copy of a runbook gets a kernel without a session: it can compute, and sees nothing.
    """

    _settings: Settings | None = None
    _folder: Path | None = None
    _run: InteractiveRun | None = None
    _incident: str | None = None
    _asked = False
    _died = ""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Open the run, and lay down how the kernel is started: its sockets, its environment, its folder."""
        settings = self._settings = self._settings or Settings()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="kernel-", dir=settings.runtime))
        (self._folder / "work" / "tmp").mkdir(parents=True, exist_ok=True)
        manager: Any = self.parent
        manager.transport, manager.ip = "ipc", str(self._folder / "s")
        manager.connection_file = str(self._folder / "connection.json")
        notebook = Path(kwargs.get("env", {}).get("JPY_SESSION_NAME") or "untitled")
        copy = await asyncio.to_thread(copies.of, notebook) if notebook.suffix == ".ipynb" else None
        if copy is not None:
            self._run = await asyncio.to_thread(InteractiveRun.open, settings, notebook, copy, self._incident)
            self._incident = self._run.incident
        self._asked, self._died = False, ""
        prepared = await super().pre_launch(**kwargs)
        socket = self._run.ops_socket if self._run is not None else None
        # Nothing of the server's environment passes but what the kernel of a run gets too.
        prepared["env"] = kernels.kernel_environment(settings.state / "fonts", self._folder, socket)
        prepared["cwd"] = str(self._folder / "work")
        module = prepared["cmd"].index("-f")
        prepared["cmd"][module + 2 : module + 2] = ["--parent", str(os.getpid())]
        return prepared

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
