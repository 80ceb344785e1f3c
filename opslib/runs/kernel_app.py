"""The kernel's application, made lighter: every page that it writes to as it starts is one that a fork has alone."""

# ipykernel has no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

# As if it were not installed: it listens on a socket, which no kernel may, and is as large as pandas.
sys.modules.setdefault("debugpy", None)  # type: ignore[arg-type]

import zmq  # noqa: E402
from ipykernel import ipkernel  # noqa: E402
from ipykernel.kernelapp import IPKernelApp  # noqa: E402
from traitlets.config import Config  # noqa: E402


class _NoModules:
    """`sys`, in which a kernel finds no modules to list for the debugger."""

    modules: ClassVar[dict[str, ModuleType]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


vars(ipkernel)["sys"] = _NoModules()


class KernelApp(IPKernelApp):
    """Told what it needs, and not by a command line; keeps its history in memory, since its folder goes with it."""

    @classmethod
    def made(cls, connection_file: Path, guard: int | None = None) -> KernelApp:
        """The application of this process, initialised.

        Parameters
        ----------
        connection_file : Path
        guard : int, optional
            The process with which it ends.
        """
        log = logging.getLogger("opslib.kernel")
        log.propagate = False
        log.setLevel(logging.WARNING)
        log.addHandler(logging.StreamHandler(sys.__stderr__))
        config = Config({"HistoryManager": {"enabled": False}})
        app = cls.instance(log=log, config=config, connection_file=str(connection_file), parent_handle=guard or 0)
        app.initialize([])
        return app

    def parse_command_line(self, argv: Any = None) -> None:
        """Nothing to do; to find that out, a parser of every option of every class would be made."""

    def init_config_files(self) -> None:
        """None is laid down: the kernel's folder is new, and it reads no other."""

    def load_config_file(self, *_: Any, **__: Any) -> None:
        """There is none."""

    def init_iopub(self, context: Any) -> None:
        """What a cell shows waits for whoever reads it; by itself the socket would drop what comes faster than that."""
        context.setsockopt(zmq.XPUB_NODROP, 1)  # for the next socket
        super().init_iopub(context)
        del context.sockopts[zmq.XPUB_NODROP]

    def init_crash_handler(self) -> None:
        """Whoever made this process tells how it ended."""

    def init_extensions(self) -> None:
        """None is loaded: that of `%store` keeps variables in a folder that goes with the kernel."""

    def init_code(self) -> None:
        """None runs before the first cell; what is defined by now is no variable of the notebook's."""
        shell: Any = self.shell
        shell.user_ns_hidden.update(shell.user_ns)
