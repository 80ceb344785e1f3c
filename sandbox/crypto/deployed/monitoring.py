"""Prometheus and Alertmanager of the deployed platform: `python -m sandbox.crypto.deployed.monitoring FOLDER`.

They run on this machine, as beside the platform of plain processes; pods reach Prometheus by a passage.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from sandbox import watchers
from sandbox.crypto import monitoring
from sandbox.crypto.deployed import passage

__all__ = ["main"]


def main() -> None:
    """Run both for the platform in a folder until SIGTERM."""
    folder = Path(sys.argv[1])
    given = watchers.given(folder)
    children: dict[str, subprocess.Popen[bytes]] = {}
    signal.signal(signal.SIGTERM, _leave)
    try:
        started = monitoring.start(
            folder, folder / "logs", given["api"], given["webhook"], Path(given["token_file"]), children
        )
        passage.lead_out(Path(given["passage"]), str(started.prometheus))
        watchers.tell(folder, str(started.prometheus), str(started.alertmanager))
        while True:
            signal.pause()
    finally:
        watchers.end_children(children.values())


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
