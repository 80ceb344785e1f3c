"""The table of figures in docs/engine.md, written from what the benchmarks measured, and read for the picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "BEGIN",
    "END",
    "GUIDE",
    "ROWS",
    "Figure",
    "conditions",
    "digits",
    "figures",
    "missing",
    "renew",
    "table",
]

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "engine.md"
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
HEAD = "| work | ours | peer | ratio | wanted |\n|---|---|---|---|---|\n"
_TIMES = (("s", 1e-6), ("ms", 1e-3), ("us", 1.0))


class Figure(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    bench, case, peer : str
        Where it is among the documents: name, `case` and `peer_name`.
    work : str
        What people read.
    wanted : float or None
        Ratio.
    noted : bool
        Whether the note of the measurement belongs beside the peer.
    """

    bench: str
    case: str
    peer: str
    work: str
    wanted: float | None
    noted: bool = False


_MILLION, _KS = "1000000 options", "1000000 rows against 1000000"
_NUMPY, _SAME = "numpy per scenario, cache-sized", "to the same standard error"
ROWS = (
    Figure("greeks", "one request", "QuantLib, BlackCalculator", "price and 8 Greeks, one request", 10.0),
    Figure("greeks", "one request", "QuantLib, instrument reused", "price and 8 Greeks, one request", 10.0),
    Figure("greeks", "100000 requests, the slowest in 1000", "bound", "100,000 requests, the slowest in 1,000", 1.0),
    Figure("greeks", _MILLION, "fast-vollib, numpy", "price and 8 Greeks, 1M options", 15.0, True),
    Figure("greeks", _MILLION, "fast-vollib, numba", "price and 8 Greeks, 1M options", 15.0, True),
    Figure("greeks", _MILLION, "py_vollib_vectorized", "price and 8 Greeks, 1M options", 100.0, True),
    Figure("greeks", _MILLION, "copy of its bytes", "price and 8 Greeks, 1M options", 0.5),
    Figure("implied", _MILLION, "fast-vollib, rational", "implied volatility, 1M", 5.0),
    Figure("heston", "calibration, 100 quotes, easy surface", "QuantLib", "Heston, 100 quotes, easy", 5.0, True),
    Figure("heston", "calibration, 100 quotes, hard surface", "QuantLib", "Heston, 100 quotes, hard", 5.0, True),
    Figure("var", "full revaluation, 10000 options x 1000 scenarios", _NUMPY, "10,000 options x 1,000 scenarios", 2.5),
    Figure(
        "var", "historical VaR, 10000 options x 1000 scenarios", _NUMPY, "historical VaR of these, contributions", 2.5
    ),
    Figure(
        "pbo", "16 blocks, 1000 strategies, 2000 periods", "numpy, sums of blocks and matrices",
        "PBO, 16 blocks, 1,000 strategies, 2,000 periods", 4.0,
    ),
    *(
        Figure("ks", f"{name}, {_KS}", "scipy.stats.ks_2samp", f"KS, 1M against 1M rows, {name}", 50.0)
        for name in ("normal", "Student t(3), two digits", "Cauchy", "lognormal", "lognormal, sigma 3", "six values")
    ),
    Figure("psi", f"quantile bins, 20 bins, {_KS}", "numpy quantile, histogram", "PSI, 1M against 1M rows", None),
    Figure("psi", f"sorted, 20 bins, {_KS}", "numpy quantile, histogram", "PSI, sorted", None),
    Figure(
        "simulation", f"GBM, Asian of 12 fixings, {_SAME}", "numpy",
        "Asian of 12 fixings, to the standard error of 100,000 paths", None, True,
    ),
    Figure("simulation", f"Heston, European, 32 steps, {_SAME}", "numpy", "Heston, 32 steps, likewise", None, True),
    Figure("simulation", "American put, to 1e-08", "QuantLib", "American put with Greeks", None, True),
    Figure("warmup", "import and warm-up, after Python's own start", "bound", "import and warm-up", 1.0),
    *(
        Figure("warmup", "import and warm-up", f"{name} alone", "the same, the whole process", None)
        for name in ("QuantLib", "scipy.stats", "fast_vollib")
    ),
)  # fmt: skip


def _stated(document: Mapping[str, Any], case: str, peer: str) -> Mapping[str, Any] | None:
    """Return the row of a document that compares this; None where the peer was not installed."""
    return next((row for row in document["rows"] if (row["case"], row["peer_name"]) == (case, peer)), None)


def _time(value: float, best: float | None, unit: str) -> str:
    """Three digits of a median, and the best round in brackets where it reads differently."""
    factor = 1.0
    if unit in {"us", "s"}:
        micro = value * (1e6 if unit == "s" else 1.0)
        unit, per_micro = next(((name, part) for name, part in _TIMES if micro * part >= 1.0), _TIMES[-1])
        factor = micro * per_micro / value if value else 1.0
    median = digits(value * factor)
    least = "" if best is None else digits(best * factor)
    return f"{median} ({least}) {unit}" if least not in ("", median) else f"{median} {unit}"


def digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000.0 else f"{value:.3g}"


def figures(documents: Mapping[str, Mapping[str, Any]]) -> list[tuple[Figure, Mapping[str, Any]]]:
    """Return the rows of the table that were measured, in its order."""
    found = []
    for figure in ROWS:
        row = _stated(documents[figure.bench], figure.case, figure.peer) if figure.bench in documents else None
        if row is not None:
            found.append((figure, row))
    return found


def missing(documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the rows of the table that were not measured, as where a peer is not installed."""
    there = {figure for figure, _ in figures(documents)}
    return [f"{figure.work} beside {figure.peer}" for figure in ROWS if figure not in there]


def table(documents: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table in markdown, heading included."""
    lines = []
    for figure, row in figures(documents):
        ours = _time(row["ours"], row["ours_best"], row["unit"])
        note = f"; {row['note']}" if figure.noted and row["note"] else ""
        peer = f"{row['peer_name']}, {_time(row['peer'], row['peer_best'], row['unit'])}{note}"
        wanted = "" if figure.wanted is None else f"{figure.wanted:g}"
        lines.append(f"| {figure.work} | {ours} | {peer} | {digits(row['ratio'])} | {wanted} |\n")
    return HEAD + "".join(lines)


def conditions() -> str:
    """Return where and when this is measured, as a sentence."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = os.getloadavg()[0]
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({model}), load {load:.1f} at the end."


def renew(documents: Mapping[str, Mapping[str, Any]], sentence: str, guide: Path = GUIDE) -> None:
    """Write sentence and table into the guide, between its marks."""
    text = guide.read_text("utf-8")
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise ValueError(f"{guide} lacks the marks {BEGIN} and {END}")
    guide.write_text(f"{before}{BEGIN}\n\n{sentence}\n\n{table(documents)}\n{END}{after}", "utf-8")
