"""Seccomp: a process gives up, for itself and its children, the system calls that a notebook has no business with.

What Landlock does not cover: connecting to a Unix socket by its path (the recorder's, a container engine's, another
run's), every network but the ports of TCP, looking into memory that is shared between processes, and namespaces in
which capabilities would come back.

References
----------
Linux kernel documentation, "Seccomp BPF", userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_GET_ACTION_AVAILABLE, _SECCOMP = 2, {"x86_64": 317, "aarch64": 277}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # where they are in what the filter sees
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
_UNIX, _NETLINK = 1, 16
_STREAM, _SEQPACKET, _TYPE_MASK = 1, 5, 0xF
_NEW_USER_NAMESPACE = 0x10000000

# Numbers on (x86-64, arm64).
_CALLS: dict[str, tuple[int, int]] = {
    "connect": (42, 203),
    # other processes' memory and descriptors
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # keys of the user
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # namespaces, mounts, the system
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "mount_setattr": (442, 442), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "bpf": (321, 280), "kexec_load": (246, 104), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "quotactl": (179, 60), "swapon": (167, 224),
    "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89), "syslog": (103, 116),
}  # fmt: skip
# Those that are said not to exist, so that a library falls back to what the filter can look into.
_UNKNOWN: dict[str, tuple[int, int]] = {
    "clone3": (435, 435), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
_SOCKET, _SOCKETPAIR, _CLONE = (41, 198), (53, 199), (56, 220)


def available() -> bool:
    """Whether this machine has it, and its system calls are known here."""
    number = _SECCOMP.get(platform.machine())
    if number is None:
        return False
    action = ctypes.c_uint32(_ERROR)
    return int(_libc().syscall(number, _GET_ACTION_AVAILABLE, 0, ctypes.byref(action))) == 0


def restrict() -> bool:
    """Confine this thread, and every child that it will have, for good; False where there is no such thing.

    Left are Unix sockets that are made here, bound here and accepted on. A connection out is made by somebody else.

    Raises
    ------
    OSError
        When the kernel has it and refuses; the caller must not go on.
    """
    if not available():
        return False
    code = _program(platform.machine())

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    program, libc = Program(len(code) // 8, code), _libc()
    for arguments in ((_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")
    return True


def _program(machine: str) -> bytes:
    """The filter's instructions."""
    column = 0 if machine == "x86_64" else 1
    refuse, unknown = _ERROR | errno.EACCES, _ERROR | errno.ENOSYS
    code = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, _AUDIT[machine], 1, 0), _step(_RETURN, refuse)]
    code.append(_step(_LOAD, _NUMBER))
    if machine == "x86_64":
        code += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, unknown)]
    for calls, answer in ((_CALLS, refuse), (_UNKNOWN, unknown)):
        for numbers in calls.values():
            code += [_step(_EQUAL, numbers[column], 0, 1), _step(_RETURN, answer)]
    sockets = [
        _step(_LOAD, _ARGUMENTS),
        _step(_EQUAL, _UNIX, 3, 0),
        _step(_EQUAL, _NETLINK, 0, 1),
        _step(_RETURN, _ERROR | errno.EOPNOTSUPP),  # what ZeroMQ takes for a machine without interfaces
        _step(_RETURN, refuse),
        _step(_LOAD, _ARGUMENTS + 8),
        _step(_AND, _TYPE_MASK),
        _step(_EQUAL, _STREAM, 2, 0),
        _step(_EQUAL, _SEQPACKET, 1, 0),
        _step(_RETURN, refuse),
        _step(_RETURN, _ALLOW),
    ]
    for numbers in (_SOCKET, _SOCKETPAIR):
        code += [_step(_EQUAL, numbers[column], 0, len(sockets)), *sockets]
    clone = [_step(_LOAD, _ARGUMENTS), _step(_ANY_BIT, _NEW_USER_NAMESPACE, 0, 1), _step(_RETURN, refuse)]
    code += [_step(_EQUAL, _CLONE[column], 0, len(clone)), *clone, _step(_RETURN, _ALLOW)]
    return b"".join(code)


def _step(operation: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    """One instruction; the jumps count instructions from the next one."""
    return struct.pack("=HBBI", operation, if_so, if_not, value)


def _libc() -> ctypes.CDLL:
    """The C library, with errno kept."""
    return ctypes.CDLL(None, use_errno=True)
