"""Whether a process of this machine is alive: `python -m opslib.alive KIND`, for probes of containers.

The server is asked; a worker, recorder, applier or signer has to have said so to the store lately. While the store is
away nothing is known, which is no reason to start a process again: the answer is yes then.
"""

from __future__ import annotations

import argparse
import socket
import sys

from opslib import store
from opslib.errors import RunbookError
from opslib.settings import Settings
from opslib.sql import queries

KINDS = ("server", "worker", "recorder", "applier", "signer")
SILENT_S = 60.0
_ANSWER_S = 3.0


def alive(settings: Settings, kind: str) -> bool:
    """Whether the process of that kind on this machine, or in this container, is alive."""
    if kind == "server":
        return _answers(settings.port)
    try:
        with store.connect(settings) as connection:
            facts = {"kind": kind, "host": socket.gethostname(), "within_s": SILENT_S}
            row = connection.execute(queries("processes").alive_here, facts).fetchone()
    except RunbookError:
        return True
    return row is not None and bool(row["alive"])


def _answers(port: int) -> bool:
    """Whether the server on this machine answers `/healthz`."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 where the process is alive, else 1."""
    parser = argparse.ArgumentParser(prog="python -m opslib.alive", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    kind = parser.parse_args(arguments).kind
    if alive(Settings(), kind):
        return 0
    print(f"the {kind} of this machine is not alive", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
