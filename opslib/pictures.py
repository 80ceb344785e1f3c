"""Pictures that show a finding: thresholds drawn, axes with units, colours that the colour-blind can tell apart."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design", 2008
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
WARNING, LIMIT, QUIET = "#E69F00", "#D55E00", "#999999"
_GAP = 3.0  # times the usual time between two points, from which on a line breaks
_SMALL = 0.05  # a change by less of a value is small
_LONGEST = 30  # characters of a name from outside
_LETTER = 0.009  # the width of a letter of a mark's name, as a share of the picture's


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
    series = series.where(series.abs() < math.inf)
    latest = (series.ffill().iloc[-1] if len(series) else series.max()).sort_values(ascending=False)
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
        if value == value:
            now.annotate(f"{value:.2f}", (place, value), ha="center", va="bottom", fontsize=8)
    for axes in (over_time, now):
        _levels(axes, warning, limit, named=axes is over_time)
    if len(series):
        _mark(over_time, marks or {}, series.index[0], series.index[-1])
    highest = float(series.max().max())
    top = 1.15 * (max(highest, limit) if highest == highest else limit)
    over_time.set(ylabel=quantity, xlabel="time [UTC]", ylim=(0, top))
    over_time.xaxis.set_major_formatter(_clock())
    if above:
        over_time.legend(loc="upper left", ncols=len(above), fontsize=8, frameon=False)
    now.set_title("now", fontsize=9)
    plt.close(figure)
    return figure


def latency(
    history: pd.DataFrame | None,
    calls: pd.DataFrame,
    shares: pd.Series[float],
    *,
    limit_ms: float,
    marks: dict[str, dt.datetime] | None = None,
) -> Figure:
    """How long calls of a server take, over time or now, and in what the server lost its time.

    Parameters
    ----------
    history : DataFrame or None
        A percentile over time [ms], indexed by time, one column; None: only what `calls` tells is drawn.
    calls : DataFrame, columns `p50_ms`, `p99_ms`
        The latency now [ms], a row for each who measured.
    shares : Series
        Share of the time in which the server kept everybody waiting, by what it did.
    limit_ms : float
        Of the 99th percentile [ms].
    marks : dict, optional
        Times to mark, by name.
    """
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.dates import AutoDateLocator

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=(3, 2), layout="constrained")
    if history is not None and len(history):
        values = history.iloc[:, 0]
        left.plot(history.index, values, color=COLOURS[0], lw=2, label="99th percentile")
        _mark(left, marks or {}, history.index[0], history.index[-1])
        left.set_xlabel("time [UTC]")
        left.xaxis.set_major_locator(AutoDateLocator(maxticks=6))  # type: ignore[no-untyped-call]
        left.xaxis.set_major_formatter(_clock())
        top = float(values.max())
    else:
        places = np.arange(len(calls))
        for shift, column, name in ((-0.2, "p50_ms", "median"), (0.2, "p99_ms", "99th percentile")):
            bars = left.bar(places + shift, calls[column], 0.38, color=COLOURS[0] if shift > 0 else QUIET, label=name)
            left.bar_label(bars, fmt="%.2g", fontsize=8)
        left.set_xticks(places, [f"seen by {name}" for name in calls.index])
        top = float(calls["p99_ms"].max())
    left.axhline(limit_ms, color=LIMIT, lw=1.2, ls="--", label=f"limit {limit_ms:g} ms")
    left.set(ylabel="time of a call [ms]", ylim=(0, 1.25 * max(top, limit_ms)))
    left.legend(fontsize=8, frameon=False, loc="upper left", ncols=3)
    worst = shares.head(5)[::-1]
    bars = right.barh(range(len(worst)), 100.0 * worst.to_numpy(), color=COLOURS[1])
    right.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    right.set_yticks(range(len(worst)), list(worst.index), fontsize=8)
    right.axvline(1.0, color=LIMIT, lw=1.2, ls="--", label="normal below 1 %")
    right.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, fontsize=8, frameon=False)
    right.set(
        xlabel="time in which all others waited [%]",
        xlim=(0, max(2.0, 120.0 * float(worst.max() if len(worst) else 0))),
    )
    if not len(worst):
        right.text(0.5, 0.5, "nothing kept the others waiting", transform=right.transAxes, ha="center", fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure


def switches(
    log: pd.DataFrame,
    symbols: list[str],
    *,
    until: dt.datetime,
    window_s: float,
    slow_ms: float,
    marks: dict[str, dt.datetime] | None = None,
) -> Figure:
    """Every switch of a model: a row a symbol over time, coloured by the model switched to; slow ones are crosses.

    Parameters
    ----------
    log : DataFrame
        `time`, `symbol`, `to`, `took_ms`.
    symbols : list of str
        Rows, the first on top.
    until : datetime
        The right end; the left end is three windows before, or the first switch.
    window_s : float
        The window of the alert [s], shaded.
    slow_ms : float
        From here on a switch is slow [ms].
    marks : dict, optional
        Times to mark, by name.

    Returns
    -------
    Figure
        Switches on the left, how many of them each symbol has in the window on the right.
    """
    from matplotlib import pyplot as plt

    begin = max(
        until - dt.timedelta(seconds=3 * window_s), min(log["time"].min(), until - dt.timedelta(seconds=window_s))
    )
    shown = log[log["time"] >= begin]
    known = [symbol for symbol in symbols if symbol in set(log["symbol"])]
    rows = known + sorted(set(log["symbol"]) - set(known))
    figure, (over_time, counts) = plt.subplots(
        1, 2, figsize=(10, 3.4), sharey=True, width_ratios=(3, 1), layout="constrained"
    )
    over_time.axvspan(until - dt.timedelta(seconds=window_s), until, color="#EEEEEE", lw=0)
    slow = shown["took_ms"].astype(float) > slow_ms if "took_ms" in shown else shown["time"].isna()
    for place, model in enumerate(sorted(set(shown["to"]))):
        for late, sign in ((False, "o"), (True, "x")):
            mine = shown[(shown["to"] == model) & (slow == late)]
            colour, name = COLOURS[place % len(COLOURS)], f"to {_plain(model)}{', slow' if late else ''}"
            heights = [rows.index(symbol) for symbol in mine["symbol"]]
            if heights:
                over_time.plot(mine["time"], heights, sign, color=colour, ms=5, label=name)
    recent = shown[shown["time"] > until - dt.timedelta(seconds=window_s)]["symbol"].value_counts()
    totals = [int(recent.get(symbol, 0)) for symbol in rows]
    counts.barh(range(len(rows)), totals, color=QUIET)
    for place, value in enumerate(totals):
        counts.annotate(f" {value}", (value, place), va="center", fontsize=8)
    for name, moment in (marks or {}).items():
        if begin <= moment <= until:
            over_time.axvline(moment, color="black", lw=1, ls=":", label=name)
    over_time.set_yticks(range(len(rows)), [_plain(symbol) for symbol in rows], fontsize=8)
    over_time.set(xlabel="time [UTC]", ylim=(len(rows) - 0.5, -0.5), xlim=(begin, until))
    over_time.xaxis.set_major_formatter(_clock())
    over_time.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=4, fontsize=8, frameon=False)
    counts.set_title(f"switches in {window_s:g} s", fontsize=9)
    for axes in (over_time, counts):
        axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure


def over_time(
    series: pd.DataFrame | pd.Series[float],
    *,
    quantity: str,
    threshold: float | None = None,
    below: bool = False,
    named: str = "",
    alert_at: dt.datetime | None = None,
    changes: dict[str, dt.datetime] | None = None,
) -> Figure:
    """Any quantity over time, with the threshold of its alert, the moment of the alert, and what was changed.

    Parameters
    ----------
    series : DataFrame, one column a series, or Series
        Indexed by time; as `ops.prometheus.range` and `compared` give it. `now` is drawn boldly, its past in grey.
    quantity : str
        The name of the vertical axis, with its unit.
    threshold : float, optional
        In the unit of the series.
    below : bool
        Whether values below the threshold are the bad ones.
    named : str
        What the threshold is; empty: the alert's.
    alert_at : datetime, optional
        When the alert began.
    changes : dict, optional
        Deployments and other changes: times by name, as `ops.changes.recent` tells them.

    Returns
    -------
    Figure
        Series on the wrong side of the threshold at the end are coloured, the rest grey; all coloured without one.
    """
    from matplotlib import pyplot as plt

    table = series.to_frame() if series.ndim == 1 else series
    figure = plt.figure(figsize=(10, 3.4), layout="constrained")
    axes: Any = figure.add_subplot()
    past = [name for name in table.columns if str(name).partition(",")[0].endswith(" before")]
    latest = {name: values.iloc[-1] for name in table.columns if len(values := table[name].dropna())}
    bad = [
        name
        for name in table.columns
        if name not in past and (threshold is None or (name in latest and (latest[name] < threshold) == below))
    ]
    shown = dict(zip(bad, (COLOURS[place % len(COLOURS)] for place in range(len(bad))), strict=True))
    for name in sorted(table.columns, key=lambda one: one in shown):
        values = _broken(table[name])
        style = "--" if name in past else "-"
        label = str(name) if name in shown or name in past or len(table.columns) <= len(COLOURS) else None
        axes.plot(
            values.index, values, color=shown.get(name, QUIET), lw=2 if name in shown else 1, ls=style, label=label
        )
    if threshold is not None:
        named = named or f"alert {'below' if below else 'above'}"
        axes.axhline(threshold, color=LIMIT, lw=1.2, ls="--", label=f"{named} {threshold:,g}")
    if len(table):
        _mark(axes, {**({"alert": alert_at} if alert_at else {}), **(changes or {})}, table.index[0], table.index[-1])
    axes.set(ylabel=quantity, xlabel="time [UTC]", ylim=_ends(table, threshold))
    axes.xaxis.set_major_formatter(_clock())
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), fontsize=8, frameon=False, ncols=4)
    plt.close(figure)
    return figure


def _broken(series: pd.Series[float]) -> pd.Series[float]:
    """What is known of a series, with a gap where nothing was told for a while: a line there would tell a slope."""
    import pandas as pd

    values = series.dropna()
    apart = values.index[1:] - values.index[:-1]
    late = values.index[1:][apart > _GAP * apart.to_series().median()] if len(apart) else values.index[:0]
    gaps = pd.Series(float("nan"), index=late - pd.Timedelta(microseconds=1), dtype=float)
    return pd.concat([values.astype(float), gaps]).sort_index() if len(gaps) else values


def _ends(table: pd.DataFrame, threshold: float | None) -> tuple[float | None, float | None]:
    """The ends of the vertical axis, such that a small change of a large value looks small; never below zero for none.

    The change takes a third of the height at most where the values are far from zero.
    """
    values = [float(value) for value in [table.min().min(), table.max().max(), threshold] if value is not None]
    values = [value for value in values if value == value]
    if not values or min(values) < 0 or max(values) <= 0:
        return (None, None)
    spread = max(max(values) - min(values), _SMALL * max(values))
    return (max(0.0, min(values) - 2.0 * spread), max(values) + 0.15 * spread)


def _mark(axes: Any, moments: dict[str, dt.datetime], low: dt.datetime, high: dt.datetime) -> None:
    """Times within the picture, by name above it; the alert's in the colour of the limit.

    Names that would meet stand above each other. The alert may be a moment younger than what was seen of the series.
    """
    width = high - low
    there = {name: at for name, at in moments.items() if low <= at <= high + 0.05 * width}
    ends: list[dt.datetime] = []  # of the names at each height
    for name, moment in sorted(there.items(), key=lambda item: item[1]):
        colour = LIMIT if name == "alert" else "black"
        axes.axvline(moment, color=colour, lw=1, ls=":")
        half = (0.5 * _LETTER * len(name)) * width
        height = next((place for place, end in enumerate(ends) if end < moment - half), len(ends))
        ends[height : height + 1] = [moment + half]
        axes.annotate(
            name,
            (moment, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 10 * height),
            textcoords="offset points",
            fontsize=8,
            color=colour,
            va="bottom",
            ha="center",
        )


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


def _plain(name: str) -> str:
    """A name from outside as it stands, in one line of some length: no formula, whatever signs it has."""
    told = " ".join(name.split())
    return (told if len(told) <= _LONGEST else f"{told[:_LONGEST]}...").replace("$", r"\$")


def _clock() -> object:
    from matplotlib.dates import DateFormatter

    formatter: object = DateFormatter("%H:%M:%S", tz=dt.UTC)  # type: ignore[no-untyped-call]
    return formatter
