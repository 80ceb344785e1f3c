"""Pictures that show a finding: thresholds drawn, axes with units, colours that the colour-blind can tell apart."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design", 2008
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
WARNING, LIMIT, QUIET = "#E69F00", "#D55E00", "#999999"


def against_limit(
    series: pd.DataFrame,
    *,
    warning: float,
    limit: float,
    quantity: str,
    marks: dict[str, dt.datetime] | None = None,
) -> Figure:
    """A quantity per symbol over time and now, against its warning level and its limit.

    Parameters
    ----------
    series : DataFrame, shape (n_times, n_symbols)
        Indexed by time.
    warning, limit : float
        In the unit of the series.
    quantity : str
        The name of the vertical axis, with its unit.
    marks : dict, optional
        Times to mark, by name: the alert, a deployment, a switch.

    Returns
    -------
    Figure
        Over time on the left, now on the right; symbols above the warning level are coloured, the rest grey.
    """
    from matplotlib import pyplot as plt

    figure, (over_time, now) = plt.subplots(
        1, 2, figsize=(10, 3.4), sharey=True, width_ratios=(3, 1), layout="constrained"
    )
    latest = series.iloc[-1].sort_values(ascending=False)
    above = [symbol for symbol in latest.index if latest[symbol] > warning]
    colour = {
        symbol: COLOURS[place % len(COLOURS)] if symbol in above else QUIET for place, symbol in enumerate(latest.index)
    }
    for symbol in reversed(list(latest.index)):
        bold = symbol in above
        over_time.plot(
            series.index, series[symbol], color=colour[symbol], lw=2 if bold else 1, label=symbol if bold else None
        )
    now.bar(range(len(latest)), latest.to_numpy(), color=[colour[symbol] for symbol in latest.index])
    now.set_xticks(range(len(latest)), list(latest.index), rotation=60, ha="right", fontsize=8)
    for place, value in enumerate(latest.to_numpy()):
        now.annotate(f"{value:.2f}", (place, value), ha="center", va="bottom", fontsize=8)
    for axes in (over_time, now):
        _levels(axes, warning, limit, named=axes is over_time)
    low, high = series.index[0], series.index[-1]
    for name, moment in (marks or {}).items():
        if low <= moment <= high:
            over_time.axvline(moment, color="black", lw=1, ls=":")
            over_time.annotate(
                name, (moment, 1), xycoords=("data", "axes fraction"), fontsize=8, va="top", ha="right", rotation=90
            )
    over_time.set(ylabel=quantity, xlabel="time [UTC]", ylim=(0, max(1.15 * float(series.max().max()), 1.15 * limit)))
    over_time.xaxis.set_major_formatter(_clock())
    if above:
        over_time.legend(loc="upper left", ncols=len(above), fontsize=8, frameon=False)
    now.set_title("now", fontsize=9)
    plt.close(figure)
    return figure


def _levels(axes: Axes, warning: float, limit: float, *, named: bool) -> None:
    """Draw the warning level and the limit; where `named`, the higher one's name above it and the lower one's below."""
    for value, name, colour in ((warning, "warning", WARNING), (limit, "limit", LIMIT)):
        axes.axhline(value, color=colour, lw=1.2, ls="--")
        if named:
            above = value >= max(warning, limit)
            axes.annotate(
                f"{name} {value:g}",
                (0.01, value),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2 if above else -2),
                textcoords="offset points",
                fontsize=8,
                va="bottom" if above else "top",
                color="#333333",
            )
    axes.spines[["top", "right"]].set_visible(False)


def _clock() -> object:
    from matplotlib.dates import DateFormatter

    formatter: object = DateFormatter("%H:%M:%S", tz=dt.UTC)  # type: ignore[no-untyped-call]
    return formatter
