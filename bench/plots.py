"""The pictures of docs/engine.md: `python -m bench.plots [folder of --json documents]`.

Accuracy is computed anew against a hundred digits. Speed is drawn from what the benchmarks wrote, one `NAME.json` each,
so that a picture never shows figures that nobody measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")

import matplotlib.pyplot as plt

from bench.exact import exact_greeks, exact_price, scales
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


def speed(folder: Path) -> None:
    """How many times as fast as each peer; the bars begin at 1."""
    mpl.rcParams["svg.hashsalt"] = "speed"
    rows: list[tuple[str, float]] = []
    for name, what in (("greeks", "price and 8 Greeks"), ("implied", "implied volatility")):
        document: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
        for row in document["rows"]:
            if row["case"] in ("one request", "1000000 options") and "copy" not in row["peer_name"]:
                size = "one" if row["case"] == "one request" else "1M"
                rows.append((f"{what}, {size}: {row['peer_name']}", row["ratio"]))
    rows.sort(key=lambda row: row[1])
    figure, axes = plt.subplots(figsize=(10.0, 0.36 * len(rows) + 1.1), layout="constrained")
    places = np.arange(len(rows))
    axes.barh(places, [ratio for _, ratio in rows], color=[BLUE if "one:" in name else ORANGE for name, _ in rows])
    for place, (_, ratio) in zip(places, rows, strict=True):
        axes.text(ratio * 1.05, place, f"{ratio:.3g}", va="center")
    axes.set_yticks(places, [name for name, _ in rows])
    axes.set(xscale="log", xlim=(1.0, 3.0 * max(ratio for _, ratio in rows)), xlabel="times as fast as the peer")
    axes.set_title("Blue: one request. Orange: a million options.", loc="left", fontsize=10)
    figure.savefig(IMAGES / "engine-speed.svg", metadata={"Date": None})


if __name__ == "__main__":
    accuracy()
    if len(sys.argv) > 1:
        speed(Path(sys.argv[1]))
