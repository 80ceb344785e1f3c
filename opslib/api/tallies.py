"""The kept counts of alerts and runs: read for `/metrics`, and folded now and then by the server's housekeeping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opslib import store
from opslib.settings import Settings
from opslib.sql import queries

_SPACE = 0x54414C4C


@dataclass
class Duration:
    """How long something took, counted.

    Attributes
    ----------
    bounds : list of float
        Ascending [s].
    counts : list of int
        How many lie below the first bound, between the first and the second, and so on; one more than there are bounds.
    sum_s : float
        All together [s].
    """

    bounds: list[float]
    counts: list[int]
    sum_s: float = 0.0


class Tallies:
    """All counts of one moment.

    Parameters
    ----------
    rows : list of dict
        `what`, `label`, `bucket`, `count`, `sum_s`.
    bounds : dict
        The bounds of each kind of duration [s].
    """

    def __init__(self, rows: list[dict[str, Any]], bounds: dict[str, list[float]]) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._durations: dict[str, dict[str, Duration]] = {what: {} for what in bounds}
        for row in rows:
            what, label, count = row["what"], row["label"], row["count"]
            if what not in bounds:
                self._counts[what, label] = count
                continue
            edges = bounds[what]
            found = self._durations[what].setdefault(label, Duration(edges, [0] * (len(edges) + 1)))
            found.counts[row["bucket"]] += count
            found.sum_s += row["sum_s"]

    def count(self, what: str, label: str = "") -> int:
        """One count; 0 where nothing was ever counted."""
        return self._counts.get((what, label), 0)

    def durations(self, what: str) -> dict[str, Duration]:
        """A kind of duration, by label."""
        return self._durations[what]


DURATIONS = ("wait", "first cell", "duration")


def read(connection: store.Connection) -> Tallies:
    """The counts, exact as of the connection's snapshot."""
    sql = queries("metrics")
    bounds = {}
    for what in DURATIONS:
        row = connection.execute(sql.bounds, {"what": what}).fetchone()
        bounds[what] = list(row["bounds"]) if row else []
    return Tallies(connection.execute(sql.tallies).fetchall(), bounds)


def fold(settings: Settings) -> None:
    """Put what has changed into the counts, unless another server does just that.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the store is away.
    """
    sql = queries("metrics")
    with store.transaction(settings) as connection:
        row = connection.execute(sql.lock_tallies, {"space": _SPACE}).fetchone()
        if row is not None and row["alone"]:
            connection.execute(sql.fold)
