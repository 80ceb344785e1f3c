"""The journal of one run, written by a thread so that cells do not wait; spooled while the store is away."""

from __future__ import annotations

import contextlib
import datetime as dt
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

import psycopg
import structlog

from opslib import store
from opslib.canonical import plain
from opslib.errors import RecordError, RunbookError, StoreError
from opslib.record import journal, redaction, spool
from opslib.settings import Settings

ACTOR = "worker"
_GATHER_S = 0.3
_PIECE = 8 * 1024
_CELL_TEXT = 64 * 1024
_AGAIN_S = 2.0
_FLUSH_S = 30.0
_log = structlog.get_logger(__name__)
_Item = tuple[str, dict[str, Any], dt.datetime]


class RunJournal:
    """Tells the journal what happens in a run, in order; these are the engine's `Events`.

    Parameters
    ----------
    settings : Settings
    incident : str
    run : int
    """

    def __init__(self, settings: Settings, incident: str, run: int) -> None:
        self._settings = settings
        self._incident = incident
        self._run = run
        self._items: queue.SimpleQueue[_Item | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._text: list[str] = []
        self._cell = ""
        self._told = 0
        self._kept = store.kept_in_use()
        self._connection: store.Connection | None = None
        self._away_until = 0.0
        self._failure: RecordError | None = None
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def write(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write an entry of this run; `run` is added to its body."""
        self._hand_over_text()
        self._put(kind, {"run": self._run, **body})

    def cell_started(self, cell_id: str, index: int) -> None:
        """A cell starts; on the record before the cell can do anything."""
        self._told = 0
        self.write("cell-started", {"cell_id": cell_id, "index": index})
        self.flush()

    def cell_ended(self, cell_id: str, status: str, took_s: float) -> None:
        """A cell ended."""
        self.write("cell-ended", {"cell_id": cell_id, "status": status, "took_s": round(took_s, 6)})

    def output(self, cell_id: str, text: str) -> None:
        """A cell printed or showed something: gathered for a moment, and cut above 64 KiB a cell."""
        with self._lock:
            room = _CELL_TEXT - self._told
            if room <= 0:
                return
            self._cell = cell_id
            kept = text[:room]
            self._told += len(kept)
            self._text.append(kept if len(text) < room else f"{kept}\n[more is in the notebook]")
            full = sum(map(len, self._text)) > _PIECE
        if full:
            self._hand_over_text()

    def flush(self) -> None:
        """Wait until all that was told is in the journal or the spool.

        Raises
        ------
        RecordError
            When neither could be written.
        """
        written = threading.Event()
        self._hand_over_text()
        self._items.put(written)
        if not written.wait(_FLUSH_S) and self._failure is None:
            self._failure = RecordError(f"the journal of {self._incident} was not written within {_FLUSH_S:g} s")
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._hand_over_text()
        self._items.put(None)
        self._thread.join(_FLUSH_S)

    def _put(self, kind: str, body: dict[str, Any]) -> None:
        self._items.put((kind, body, dt.datetime.now(dt.UTC)))

    def _hand_over_text(self) -> None:
        with self._lock:
            text, self._text = "".join(self._text), []
        if text:
            self._put("output", {"run": self._run, "cell_id": self._cell, "text": text})

    def _work(self) -> None:
        with contextlib.suppress(StoreError, psycopg.Error):  # then the first entry tries again
            taken = self._kept and self._kept.take(self._settings, "worker", autocommit=True)
            self._connection = taken or store.connect(self._settings, autocommit=True)
        while True:
            try:
                item = self._items.get(timeout=_GATHER_S)
            except queue.Empty:
                self._hand_over_text()
                continue
            if item is None:
                break
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                self._write(*item)
            except RecordError as error:
                self._failure = error
            except (RunbookError, OSError) as error:
                self._failure = RecordError(f"the journal of {self._incident} cannot be written: {error}")
        if self._connection is not None:
            self._connection.close()

    def _write(self, kind: str, body: dict[str, Any], at: dt.datetime) -> None:
        if time.monotonic() >= self._away_until:
            try:
                spool.drain(self._settings, self._incident)
                if self._connection is None:
                    self._connection = store.connect(self._settings, autocommit=True)
                with self._connection.transaction():
                    journal.append(
                        self._connection, self._incident, kind, body, actor=ACTOR, at=at, settings=self._settings
                    )
            except (StoreError, psycopg.Error) as error:
                _log.warning("an entry waits in the spool", run=self._run, kind=kind, why=str(error).strip())
                self._away_until = time.monotonic() + _AGAIN_S
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
            else:
                return
        redacted = redaction.default(self._settings)(plain(body))
        spool.add(self._settings, self._incident, kind, redacted, actor=ACTOR, at=at)
