"""A23 dashboard-no-data: where on their way the data are lost, as a picture."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from opslib.pictures import COLOURS, LIMIT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def panels(
    series: pd.DataFrame | None,
    points: pd.Series[float],
    *,
    until: dt.datetime,
    quantity: str,
    marks: dict[str, dt.datetime] | None = None,
) -> Figure:
    """A series as it is stored, up to where its data end, beside the points that each panel of a dashboard gets.

    Parameters
    ----------
    series : DataFrame or None
        Indexed by time, one column a symbol; None or empty where nothing is stored.
    points : Series
        Points by the title of the panel; a panel that gets none is marked.
    until : datetime
        The end of the picture: now.
    quantity : str
        What the series is, with its unit.
    marks : dict, optional
        Times to mark, by name.
    """
    from matplotlib import pyplot as plt
    from matplotlib.dates import AutoDateLocator, DateFormatter

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=(3, 2), layout="constrained")
    stored = None if series is None else series.dropna(how="all")
    if stored is None or not len(stored):
        left.text(0.5, 0.5, "nothing is stored", transform=left.transAxes, ha="center", fontsize=9, color=LIMIT)
        left.set(xticks=[], yticks=[])
    else:
        for place, name in enumerate(stored.columns):
            values = stored[name].dropna()
            left.plot(values.index, values, color=COLOURS[place % len(COLOURS)], lw=1, label=str(name))
        left.axvspan(stored.index[-1], until, color=LIMIT, alpha=0.12, lw=0)
        ends = {"data end": stored.index[-1], **(marks or {})}
        for name, moment in ((name, at) for name, at in ends.items() if stored.index[0] <= at <= until):
            left.axvline(moment, color=LIMIT if name == "alert" else "black", lw=1, ls=":")
            left.annotate(
                name,
                (moment, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right",
                fontsize=8,
                bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 1},
            )
        left.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), fontsize=8, frameon=False, ncols=5)
        left.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=9))  # type: ignore[no-untyped-call]
        left.xaxis.set_major_formatter(DateFormatter("%H:%M:%S", tz=dt.UTC))  # type: ignore[no-untyped-call]
    left.tick_params(labelsize=8)
    left.set(ylabel=quantity, xlabel="time [UTC]")
    got = points.fillna(0)[::-1]
    bars = right.barh(range(len(got)), got.to_numpy(), color=COLOURS[0])
    right.bar_label(bars, [f"{value:,.0f}" if value else "no data" for value in got], fontsize=8, padding=2)
    right.set_yticks(range(len(got)), [str(name)[:40] for name in got.index], fontsize=8)
    right.set(xlabel="points that the panel gets", xlim=(0, 1.3 * max(1.0, float(got.max() if len(got) else 0))))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure
