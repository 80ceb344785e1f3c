"""JupyterLab as a process: its files, its settings, its command line. Nothing of it reaches outside."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from opslib import people
from opslib.errors import RunbookError
from opslib.jupyter import copies
from opslib.record.client import environment
from opslib.settings import Settings

FIRST_PORT = 8888
_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": 5},
    "@jupyterlab/extensionmanager-extension:plugin": {"enabled": False},
}


class NoPort(RunbookError):
    """The port is taken; choose another with --port."""


# Parts of JupyterLab whose servers are off here.
_UNUSED = [
    "@jupyterlab/lsp-extension",
    "@jupyterlab/fileeditor-extension:language-server",
    "@jupyterlab/notebook-extension:language-server",
    "@jupyterlab/terminal-extension",
    "@jupyterlab/extensionmanager-extension",
]


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that is ready to be started.

    Attributes
    ----------
    command : list of str
    environment : dict
    url : str
        Where it will be, with its token.
    folder : Path
        Today's working copies.
    """

    command: list[str]
    environment: dict[str, str]
    url: str
    folder: Path


def ready(
    settings: Settings,
    *,
    port: int | None = None,
    browser: bool = True,
    as_: str | None = None,
    notebook: Path | None = None,
) -> Lab:
    """Lay down everything that JupyterLab needs.

    Parameters
    ----------
    settings : Settings
    port : int, optional
        Where it listens on 127.0.0.1; the first free one from 8888 on where it is left out.
    browser : bool
        Whether it opens a browser.
    as_ : str, optional
        Who runs the notebooks; in the sandbox one of its people.
    notebook : Path, optional
        A working copy to open at once.

    Raises
    ------
    NotAllowed
        When `as_` is not who the token belongs to.
    NoPort
        When the port is taken.
    ConfigurationError
        When a runbook or a platform does not validate.
    """
    place = settings.state / "lab"
    settings.make_home()
    today = copies.prepare(settings)
    _write(place / "share" / "kernels" / copies.KERNEL / "kernel.json", _kernelspec())
    _write(place / "settings" / "overrides.json", _SETTINGS)
    _write(place / "settings" / "page_config.json", {"disabledExtensions": _UNUSED})
    with as_file(files(__package__).joinpath("labextensions")) as extensions:
        shutil.copytree(extensions, place / "share" / "labextensions", dirs_exist_ok=True)
    port = _free_port(port)
    token = secrets.token_urlsafe(32)
    own = environment(settings) | {
        "JUPYTER_PATH": str(place / "share"),
        "JUPYTER_CONFIG_DIR": str(place / "config"),
        "JUPYTER_DATA_DIR": str(place / "data"),
        "JUPYTER_RUNTIME_DIR": str(place / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(place / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(place / "workspaces"),
        "JUPYTER_TOKEN": token,
        "IPYTHONDIR": str(place / "ipython"),
    }
    if as_ is not None:
        own["RUNBOOK_TOKEN"] = _token(settings, as_)
    at = "/lab"
    if notebook is not None:
        at += f"/tree/{quote(notebook.relative_to(copies.folder(settings)).as_posix())}"
    return Lab(_command(place, port, browser, at), own, f"http://127.0.0.1:{port}{at}?token={token}", today)


def _kernelspec() -> dict[str, Any]:
    """The one that is also installed beside Python, for everything else that speaks to Jupyter's kernels."""
    return dict(json.loads(files(__package__).joinpath("kernelspec", "kernel.json").read_text("utf-8")))


def _command(place: Path, port: int, browser: bool, at: str) -> list[str]:
    """JupyterLab's command line: on this machine alone, no terminals, no news, no other kernels."""
    servers = {"jupyterlab": True, "jupyter_lsp": False, "jupyter_server_terminals": False}
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": place / "notebooks",
        "ServerApp.open_browser": browser,
        "ServerApp.allow_root": True,
        "ServerApp.terminals_enabled": False,
        "ServerApp.shutdown_no_activity_timeout": 0,
        "ServerApp.jpserver_extensions": servers,
        "LabApp.default_url": at,
        "LabApp.app_settings_dir": place / "settings",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
        "LabApp.news_url": None,
        "KernelSpecManager.allowed_kernelspecs": f"{{'{copies.KERNEL}'}}",
        "KernelSpecManager.ensure_native_kernel": False,
        "MultiKernelManager.default_kernel_name": copies.KERNEL,
    }
    return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]


def _token(settings: Settings, name: str) -> str:
    """The token of who runs the notebooks, after it was found to be theirs."""
    people.current(settings, name)
    if settings.token is not None:
        return settings.token.get_secret_value()
    return (people.tokens(settings) / name).read_text("utf-8").strip()


def _free_port(wanted: int | None) -> int:
    for port in [wanted] if wanted else range(FIRST_PORT, FIRST_PORT + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NoPort(f"port {wanted} is taken; choose another with --port" if wanted else None)


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    temporary.write_text(json.dumps(document, indent=1), "utf-8")
    temporary.replace(path)
