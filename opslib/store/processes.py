"""Which of our processes are alive: worker, recorder, applier, signer, server."""

from __future__ import annotations

import os
import secrets
import socket

from psycopg.types.json import Jsonb

from opslib import store
from opslib.settings import Settings
from opslib.sql import queries

ALIVE_S = 10.0
"""A process that has said nothing for so long is not alive [s]."""


class Process:
    """One process that tells it is alive by `beat`, at most every few seconds."""

    def __init__(self, settings: Settings, kind: str) -> None:
        self.settings = settings
        self.kind = kind
        self.id = f"{kind}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    def beat(self, kernels: dict[str, int] | None = None) -> None:
        """Say that this process is alive; a worker, too, what its host's nursery counts."""
        facts = {"id": self.id, "kind": self.kind, "host": socket.gethostname(), "pid": os.getpid()}
        with store.transaction(self.settings) as connection:
            connection.execute(queries("processes").beat, {**facts, "kernels": kernels and Jsonb(kernels)})

    def close(self) -> None:
        """Say that this process ends."""
        with store.transaction(self.settings) as connection:
            connection.execute(queries("processes").remove, {"id": self.id})


def register(settings: Settings, kind: str) -> Process:
    """A process of that kind, alive from now."""
    process = Process(settings, kind)
    process.beat()
    return process


def alive(connection: store.Connection, kind: str, within_s: float = ALIVE_S) -> bool:
    """Whether a process of that kind has said so within the last `within_s` seconds."""
    row = connection.execute(queries("processes").alive, {"kind": kind, "within_s": within_s}).fetchone()
    return row is not None and bool(row["alive"])
