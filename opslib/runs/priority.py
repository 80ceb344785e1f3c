"""Who goes first on a busy machine: intake and the database, then runs, then kernels that are made ahead.

Linux shares the processors out between sessions first (`sched_autogroup_enabled`), and each kernel has one of its own:
a dozen that are being made would weigh as much as a dozen servers. Within a container that holds all of them sessions
do not count, and the niceness of each process does.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

RUNS = 5
"""Niceness of what executes runs."""
AHEAD = 10
"""Niceness of a kernel until somebody may take it."""
_SESSION = Path("/proc/self/autogroup")
_AGAIN_S = 0.11  # who is not root may change one in a tenth of a second, on the whole machine


def step_back(nice: int = RUNS) -> None:
    """Let others go first, for good: this process, those that it starts, and its session."""
    os.nice(nice)
    share(nice)


def share(nice: int, tries: int = 1) -> None:
    """The niceness of this process's session, which can be taken back; of no effect where sessions do not count."""
    for attempt in range(tries):
        time.sleep(_AGAIN_S * min(attempt, 1))
        try:
            _SESSION.write_text(str(nice), "ascii")
        except BlockingIOError:
            continue
        except OSError:
            pass
        return
