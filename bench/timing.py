"""Interleaved timing and the one format in which every benchmark reports."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

__all__ = ["Row", "compare", "report", "told"]

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes
    ----------
    case : str
    ours, peer : float
        Medians, in `unit`.
    peer_name, unit : str
    ratio : float
        Above 1 when ours is better.
    error : float or None
        Largest relative difference between the two answers.
    note : str
    ours_best, peer_best : float or None
        The shortest round, in `unit`: what a machine with nothing else to do would come close to.
    """

    case: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    error: float | None
    note: str
    ours_best: float | None = None
    peer_best: float | None = None


def compare(
    case: str,
    ours: Work,
    peer: Work,
    peer_name: str,
    *,
    error: float | None = None,
    note: str = "",
    rounds: int = 15,
    round_s: float = 0.02,
) -> Row:
    """Time two ways of the same work in alternation, so that a busy machine slows both; medians of the rounds.

    Parameters
    ----------
    case, peer_name, note : str
    ours, peer : callable
        Called once before timing starts, so that nothing is compiled or loaded within it.
    error : float, optional
        Largest relative difference between the two answers.
    rounds : int
    round_s : float
        Least length of a round [s]; the work is repeated to fill it.
    """
    repeats = [_repeats(work, round_s) for work in (ours, peer)]
    times: tuple[list[float], list[float]] = ([], [])
    gc.disable()
    try:
        for _ in range(rounds):
            for place, work in enumerate((ours, peer)):
                times[place].append(_time(work, repeats[place]))
    finally:
        gc.enable()
    mine, theirs = (median(values) * 1e6 for values in times)
    best, their_best = (min(values) * 1e6 for values in times)
    return Row(case, mine, theirs, peer_name, "us", theirs / mine, error, note, best, their_best)


def report(name: str, rows: Callable[[], list[Row]]) -> None:
    """Run a benchmark from the command line: a table for people, one document with `--json`."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    found = rows()
    if as_json:
        json.dump({"name": name, "rows": [asdict(row) for row in found]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    sys.stdout.write("".join(told(name, row) for row in found))


def told(name: str, row: Row) -> str:
    """Return a row as a line for people."""
    error = "" if row.error is None else f", differs by {row.error:.1e}"
    best = "" if row.ours_best is None else f" (best {row.ours_best:.1f} and {row.peer_best:.1f})"
    return (
        f"{name}: {row.case}: {row.ours:.1f} {row.unit}, {row.peer_name} {row.peer:.1f} {row.unit}, "
        f"{row.ratio:.2f} times as fast{best}{error}{'; ' + row.note if row.note else ''}\n"
    )


def _time(work: Work, repeats: int) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - begun) / repeats


def _repeats(work: Work, round_s: float) -> int:
    """How often the work fits into a round; the first call warms it up."""
    work()
    return max(1, round(round_s / max(_time(work, 1), 1e-7)))
