"""What the sandbox's platforms cost: how long they take to start, once built, and what they need at rest.

The derivatives platform is with its whole Kubernetes. It needs what `runbook sandbox up derivatives` needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.timing import Row, report
from bench.usage import cpu_s, memory_mb
from opslib import store
from opslib.runs import descendants
from opslib.settings import Settings

PLATFORMS = {"derivatives": (0.5, 2.5), "crypto": (0.5, 2.5)}
"""How much each may take at rest: of a core, and of memory [GiB]."""
WEBHOOK = "http://127.0.0.1:9/api/v1/alerts"  # where nobody listens
_RUNBOOK = Path(sys.executable).with_name("runbook")
_SETTLED_S, _WATCHED_S = 60.0, 120.0


def rows() -> list[Row]:
    """Start, memory and time at rest, each beside its bound."""
    with tempfile.TemporaryDirectory(prefix="bench-sandbox-") as folder:
        home = Path(folder) / "home"
        try:
            return _rows(home)
        finally:
            _sandbox(home, "down")
            store.stop(Settings(home=home))  # where the people of the sandbox are


def _sandbox(home: Path, *words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")}
    environment["RUNBOOK_HOME"] = str(home)
    subprocess.run([_RUNBOOK, "sandbox", *words], env=environment, stdout=sys.stderr, check=True)


def _processes(home: Path, platform: str) -> set[int]:
    """All processes of a platform."""
    pids = json.loads((home / ".state" / "sandbox" / f"{platform}.json").read_bytes())["pids"]
    return set(pids.values()).union(*(descendants.below(number) for number in pids.values()))


def _rows(home: Path) -> list[Row]:
    began = time.monotonic()
    _sandbox(home, "up", *PLATFORMS, "--webhook", WEBHOOK)
    up_s = time.monotonic() - began
    time.sleep(_SETTLED_S)
    before = {name: cpu_s(_processes(home, name)) for name in PLATFORMS}
    time.sleep(_WATCHED_S)
    found = [_bound("both platforms up, once built", up_s, 90.0, "s", "with the cluster")]
    for name, (cores, gib) in PLATFORMS.items():
        running = _processes(home, name)
        taken = (cpu_s(running) - before[name]) / _WATCHED_S
        note = f"{len(running)} processes, over {_WATCHED_S:.0f} s"
        found.append(_bound(f"{name} at rest, of one core", 100 * taken, 100 * cores, "%", note))
        told = "with its Prometheus and Alertmanager"
        found.append(_bound(f"{name} at rest, memory (PSS)", memory_mb(running) / 1024, gib, "GiB", told))
    return found


def _bound(case: str, found: float, bound: float, unit: str, note: str) -> Row:
    return Row(case, found, bound, "bound", unit, bound / found, None, note)


if __name__ == "__main__":
    report("sandbox", rows)
