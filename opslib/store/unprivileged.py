"""Run a command as an ordinary user in a user namespace of its own, for a server that refuses root.

Started as `python -I -S unprivileged.py COMMAND...` and imports nothing of the project. Files keep
their owner outside; no folder's permissions are loosened.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_ORDINARY = 1000


def main(command: list[str]) -> None:
    """Enter a user namespace in which root outside is an ordinary user inside, then become `command`."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWUSER) != 0:
            reason = os.strerror(ctypes.get_errno())
            sys.exit(
                f"PostgreSQL does not run as root, and no user namespace can be made here ({reason}): "
                "run as an ordinary user, or set RUNBOOK_DATABASE_URL"
            )
        for name, text in (("setgroups", "deny"), ("uid_map", f"{_ORDINARY} 0 1"), ("gid_map", f"{_ORDINARY} 0 1")):
            Path("/proc/self", name).write_text(text, "ascii")
    os.execv(command[0], command)  # noqa: S606 - becoming the command is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
