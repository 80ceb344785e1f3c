"""Fragments of a pod's specification with which it runs what this machine has: Python with the project's environment.

spec = {"containers": [{"name": "api", "image": HOST, "command": python("-m", "sandbox.derivatives.api"),
"env": environment(), "volumeMounts": mounts()}], "volumes": volumes()}
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from opslib.settings import PROJECT
from sandbox.cluster.images import HOST
from sandbox.gpu import description as gpu

__all__ = ["HOST", "TOLERATION", "card", "environment", "mounts", "python", "volumes"]

_SYSTEM = ("/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs")
_PACKAGES = ("engine", "opslib", "sandbox")

TOLERATION: dict[str, Any] = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def python(*arguments: str) -> list[str]:
    """Command that runs this very Python, in its environment."""
    return [sys.executable, *arguments]


def volumes(extra: Iterable[str | Path] = ()) -> list[dict[str, Any]]:
    """Read-only folders of the machine: the system, the interpreter, its environment, the project's packages.

    Parameters
    ----------
    extra : iterable of str or Path
        More folders or files.
    """
    return [{"name": _name(path), "hostPath": {"path": str(path)}} for path in [*_paths(), *map(Path, extra)]]


def mounts(extra: Iterable[str | Path] = ()) -> list[dict[str, Any]]:
    """Where the folders of `volumes` appear: each at its own path."""
    return [{"name": _name(path), "mountPath": str(path), "readOnly": True} for path in [*_paths(), *map(Path, extra)]]


def environment(**variables: str) -> list[dict[str, str]]:
    """Variables of the container: Python that writes nothing and uses one thread a library; then your own."""
    own = {
        "PATH": f"{Path(sys.executable).parent}:{gpu.BIN}:/usr/local/bin:/usr/bin:/usr/sbin:/bin",
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    }
    return [{"name": name, "value": value} for name, value in {**own, **variables}.items()]


def card() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts of the node's graphics card: `nvidia-smi`, and what the card's memory holds.

    On a node without a card there is nothing in them, and `nvidia-smi` is not found.
    """
    volume = {"name": "nvidia", "hostPath": {"path": gpu.FOLDER, "type": "DirectoryOrCreate"}}
    return [volume], [{"name": "nvidia", "mountPath": gpu.FOLDER}]


@cache
def _paths() -> list[Path]:
    """The folders that are mounted; none lies in another."""
    wanted = [Path(path) for path in _SYSTEM if Path(path).exists()]
    wanted += [Path(sys.base_prefix).resolve(), Path(sys.base_prefix), Path(sys.prefix)]
    wanted += [Path(sysconfig.get_path("purelib"))]
    wanted += [PROJECT / name for name in _PACKAGES]
    kept: list[Path] = []
    for path in wanted:
        if not any(path == other or path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def _name(path: Path) -> str:
    """A volume's name, made of the path: at most 63 letters, digits and dashes."""
    words = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in str(path).lower())
    return words.strip("-")[-63:].strip("-")
