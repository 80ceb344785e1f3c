"""What a machine needs to run a Kubernetes of the sandbox, and what this one lacks of it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path

from sandbox.cluster.build import built
from sandbox.cluster.build import cache as builds

__all__ = ["missing"]

_FILES = Path(__file__).parent / "files"
_RELEASE = Path("/etc/os-release")
_TO_RUN = {"unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "mount": "mount"}
_TO_BUILD = {"apt-get": "apt", "dpkg-deb": "dpkg", "dpkg-source": "dpkg-dev"}
_NETLINK_NETFILTER = 12
_BUILD_BYTES = 6 * 1024**3
_MEMORY_BYTES = 2 * 1024**3


def missing() -> list[str]:
    """What this machine lacks to run a cluster, in words; empty when it can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return [f"it needs Linux on x86-64, and this is {platform.system()} on {platform.machine()}"]
    lacking = []
    if os.geteuid() != 0:
        lacking.append("it needs root, to make namespaces and control groups")
    lacking += _programs(_TO_RUN)
    if built() is None:
        lacking += _to_build()
    if _available_memory() < _MEMORY_BYTES:
        lacking.append(f"it needs {_MEMORY_BYTES >> 30} GiB of free memory")
    if not lacking:
        lacking += [f"the kernel refuses {what}" for what in _refused()]
    return lacking


def _to_build() -> list[str]:
    """What the first start lacks, which builds."""
    if not _bookworm():
        return ["it builds Kubernetes from the packages of Debian 12 (bookworm), and this system is another"]
    lacking = _programs(_TO_BUILD)
    folder = builds()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        lacking.append(f"it keeps what it builds in {builds()}, which cannot be written; set XDG_CACHE_HOME")
    elif shutil.disk_usage(folder).free < _BUILD_BYTES:
        lacking.append(f"it needs {_BUILD_BYTES >> 30} GiB free in {folder} while it builds")
    return lacking


def _programs(needed: dict[str, str]) -> list[str]:
    return [
        f"it needs the program {name} (apt-get install {package})"
        for name, package in needed.items()
        if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None
    ]


def _bookworm() -> bool:
    try:
        return "VERSION_CODENAME=bookworm" in _RELEASE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _MEMORY_BYTES


@cache
def _refused() -> tuple[str, ...]:
    """What the kernel refuses, tried once in namespaces of their own."""
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", str(_FILES / "probe.sh")],
        capture_output=True,
        text=True,
        timeout=30.0,
        check=False,
    )
    if tried.returncode != 0 and not tried.stdout:
        return (f"namespaces of its own ({tried.stderr.strip()})",)
    refused = tried.stdout.splitlines()
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER).close()
    except OSError:
        refused.append("packet filtering (module nfnetlink)")
    return tuple(refused)
