"""The pictures of docs/engine.md: `python -m bench.plots [folder of --json documents]`.

Accuracy is computed anew against a hundred digits. Speed is drawn from what the benchmarks measured, the same documents
that the table beside it is written from: `python -m bench --docs` makes both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")

import matplotlib.pyplot as plt

from bench.exact import exact_greeks, exact_price, scales
from bench.figures import digits, figures
from engine import european, implied_volatility

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
EPSILON = float(np.finfo(np.float64).eps)
# Okabe and Ito: told apart by every kind of sight
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"


def accuracy() -> None:
    """Errors over moneyness, at three volatilities, with the bound that the tests assert."""
    mpl.rcParams["svg.hashsalt"] = "accuracy"
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.8), layout="constrained")
    places = np.linspace(-1.2, 1.2, 121)
    for volatility, colour, marker in ((0.1, BLUE, "o"), (0.4, ORANGE, "s"), (1.2, GREEN, "^")):
        errors, kept, back = [], [], []
        for place in places:
            arguments = (100.0 * float(np.exp(place)), 100.0, 0.5, 0.03, 0.01, volatility)
            sign = -1 if place > 0 else 1  # out of the money
            exact, scale = exact_greeks(arguments, sign), scales(*arguments)
            found = european(*arguments, sign)
            worst = max(abs(a - b) / c for a, b, c in zip(found, exact, scale, strict=True))
            errors.append(worst / EPSILON)
            price = exact_price(arguments, sign)
            if price > 1e-100:
                kept.append(place)
                back.append(abs(implied_volatility(price, *arguments[:5], sign) / volatility - 1.0))
        label = f"volatility {volatility:.0%}"
        left.semilogy(places, errors, marker, color=colour, markersize=3.0, label=label)
        right.semilogy(kept, np.maximum(back, EPSILON / 8.0), marker, color=colour, markersize=3.0, label=label)
    left.axhline(30.0, color=GREY, linestyle="--")
    left.text(-1.2, 22.0, "asserted: 30", color=GREY, va="top")
    left.set(ylim=(1e-3, 100.0), xlabel="log(spot / strike)", ylabel="worst of price and 8 Greeks\n[units of rounding]")
    left.set_title("Price and Greeks")
    right.axhline(1e-12, color=GREY, linestyle="--")
    right.text(-1.2, 6e-13, "asserted: 1e-12", color=GREY, va="top")
    right.set(ylim=(1e-17, 1e-11), xlabel="log(spot / strike)", ylabel="relative error")
    right.set_title("Implied volatility, out of the money")
    right.legend(loc=(0.6, 0.55), frameon=False)
    figure.savefig(IMAGES / "engine-accuracy.svg", metadata={"Date": None})


def speed(documents: Mapping[str, Mapping[str, Any]]) -> None:
    """How many times as fast as each peer, by the rows of the table; bars begin at 1, a mark is what is wanted."""
    mpl.rcParams["svg.hashsalt"] = "speed"
    # neither a bound nor the memory's own speed is a peer, nor what is only imported
    rows = [
        (f"{figure.work}: {row['peer_name']}", row["ratio"], figure.wanted)
        for figure, row in figures(documents)
        if row["peer_name"] not in ("bound", "copy of its bytes") and figure.bench != "warmup"
    ]
    rows.sort(key=lambda row: row[1])
    figure, axes = plt.subplots(figsize=(10.0, 0.3 * len(rows) + 1.1), layout="constrained")
    for place, (_, ratio, wanted) in enumerate(rows):
        reached = wanted is None or ratio >= wanted
        axes.barh(place, ratio, color=BLUE if reached else ORANGE)
        beside = max(ratio, wanted or ratio)  # not under the mark
        axes.text(beside * 1.07, place, digits(ratio), va="center")
        if wanted is not None:
            axes.plot([wanted, wanted], [place - 0.4, place + 0.4], color="black", linewidth=2.0)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set(xscale="log", xlim=(1.0, 3.0 * max(ratio for _, ratio, _ in rows)), xlabel="times as fast as the peer")
    axes.set_title("Black mark: what was wanted. Orange: not reached.", loc="left", fontsize=10)
    figure.savefig(IMAGES / "engine-speed.svg", metadata={"Date": None})


def documents_in(folder: Path) -> dict[str, Any]:
    """Return what the benchmarks wrote with `--json`, one `NAME.json` each."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


if __name__ == "__main__":
    accuracy()
    if len(sys.argv) > 1:
        speed(documents_in(Path(sys.argv[1])))
