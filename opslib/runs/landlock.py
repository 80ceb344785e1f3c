"""Landlock: a process gives up, for itself and its children, every file and every TCP port but those named.

System calls by number through ctypes (they are the same on every architecture), so that nothing has to be installed.

References
----------
Linux kernel documentation, "Landlock: unprivileged access control", userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_SOCKET = 1 << 5, 1 << 9
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
# How many file rights each version of the interface knows: the rights are the bits below that.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_TCP_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11
_SET_NO_NEW_PRIVILEGES = 38


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The version of Landlock's interface that this kernel has; 0 where there is none."""
    version = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    return max(int(version), 0)


def restrict(
    read: Iterable[Path], write: Iterable[Path], devices: Iterable[Path] = (), sockets: Iterable[Path] = ()
) -> int:
    """Confine this thread, and every child that it will have, for good.

    Parameters
    ----------
    read : iterable of Path
        Files and folders to read and execute from. Those that do not exist are left out.
    write : iterable of Path
        Files and folders to do everything in, but for making device nodes.
    devices : iterable of Path
        Device files to read, write and control.
    sockets : iterable of Path
        Folders to make sockets in, and nothing else: no file or link there that another process might be led by.

    Returns
    -------
    int
        The version applied; 0 where the kernel has no Landlock, and nothing was given up. From 4 on no TCP port can
        be bound or connected to; from 6 on no process outside can be signalled.

    Raises
    ------
    OSError
        When the kernel has Landlock and refuses; the caller must not go on.
    """
    version = abi()
    if not version:
        return 0
    libc = _libc()
    handled = (1 << _RIGHTS.get(version, 16)) - 1
    wanted = _Ruleset(handled, _TCP_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(size), ctypes.c_uint32(0)))
    try:
        everything = handled & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEVICE)
        making = _MAKE_SOCKET | _REMOVE_FILE | _READ_DIR
        device = handled & (_READ_FILE | _WRITE_FILE | _IOCTL_DEVICE)
        for paths, rights in ((read, _READ), (write, everything), (devices, device), (sockets, making)):
            for path in paths:
                _allow(libc, ruleset, path, rights)
        _checked(libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)
    return version


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Add one rule; a path that does not exist needs none."""
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, opened)
        _checked(
            libc.syscall(
                _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0)
            )
        )
    finally:
        os.close(opened)


def _libc() -> ctypes.CDLL:
    """The C library, with errno kept."""
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    """The result of a system call, or its error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
