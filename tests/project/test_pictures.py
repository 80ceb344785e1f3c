"""A picture over time draws its threshold, the moment of the alert and the changes, and tells what is bad apart."""

from __future__ import annotations

import datetime as dt

import pandas as pd

from opslib import pictures

START = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)
TIMES = pd.date_range(START, periods=10, freq="1min")


def words(figure: object) -> list[str]:
    axes = figure.axes[0]  # type: ignore[attr-defined]
    return [text.get_text() for text in [*axes.texts, *(axes.get_legend().get_texts() if axes.get_legend() else [])]]


def test_threshold_alert_and_changes_are_marked() -> None:
    series = pd.DataFrame({"A": range(10), "B": [1] * 10}, index=TIMES)
    figure = pictures.over_time(
        series,
        quantity="latency [us]",
        threshold=5.0,
        alert_at=START + dt.timedelta(minutes=6),
        changes={"deployed v2": START + dt.timedelta(minutes=4), "long ago": START - dt.timedelta(days=1)},
    )
    assert {"alert", "deployed v2", "alert above 5", "A", "B"} <= set(words(figure))
    assert "long ago" not in words(figure)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["A"].get_color() != pictures.QUIET
    assert lines["B"].get_color() == pictures.QUIET
    assert figure.axes[0].get_ylabel() == "latency [us]"


def test_the_past_is_grey_and_a_threshold_may_be_a_floor() -> None:
    table = pd.DataFrame({"now": [3.0] * 10, "day before": [9.0] * 10}, index=TIMES)
    figure = pictures.over_time(table, quantity="hit rate [%]", threshold=5.0, below=True)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["now"].get_color() == pictures.COLOURS[0]
    assert lines["day before"].get_color() == pictures.QUIET
    assert "alert below 5" in words(figure)


def test_nothing_seen_is_an_empty_picture() -> None:
    assert pictures.over_time(pd.DataFrame(index=TIMES[:0]), quantity="x [1]", threshold=1.0).axes
    assert pictures.over_time(pd.Series([1.0], index=TIMES[:1], name="x"), quantity="x [1]").axes


def test_a_small_change_looks_small_and_a_loss_is_seen_whole() -> None:
    flat = pictures.over_time(pd.DataFrame({"MB": [215.2, 215.7]}, index=TIMES[:2]), quantity="memory [MB]")
    low, high = flat.axes[0].get_ylim()
    assert 0 < low < high
    assert 0.5 / (high - low) < 0.05
    leak = pictures.over_time(pd.DataFrame({"MB": [215.0, 228.0]}, index=TIMES[:2]), quantity="memory [MB]")
    low, high = leak.axes[0].get_ylim()
    assert 13 / (high - low) > 0.3
    assert (
        pictures.over_time(pd.DataFrame({"us": [60.0, 190.0]}, index=TIMES[:2]), quantity="us").axes[0].get_ylim()[0]
        == 0
    )
    loss = pictures.over_time(
        pd.DataFrame({"book": [5e4, -2e5]}, index=TIMES[:2]), quantity="profit [USD]", threshold=-1e5
    )
    assert loss.axes[0].get_ylim()[0] < -2e5
    assert "alert above -100,000" in words(loss)


def test_marks_that_would_meet_stand_above_each_other_and_the_youngest_alert_is_marked() -> None:
    changes = {"revision 4": TIMES[9], "revision 2": TIMES[2]}
    series = pd.DataFrame({"A": range(10)}, index=TIMES)
    figure = pictures.over_time(series, quantity="x [1]", alert_at=TIMES[9] + dt.timedelta(seconds=5), changes=changes)
    heights = {text.get_text(): text.xyann[1] for text in figure.axes[0].texts}
    assert heights["revision 4"] == heights["revision 2"] < heights["alert"]


def test_a_line_breaks_where_nothing_was_told() -> None:
    series = pd.DataFrame({"errors": [0.0, 0.1, None, None, None, None, None, None, 5.0, 9.0]}, index=TIMES)
    figure = pictures.over_time(series, quantity="requests that fail [%]")
    assert sum(value != value for value in figure.axes[0].lines[0].get_ydata()) == 1


def test_values_that_are_no_numbers_leave_a_picture_against_the_limit() -> None:
    """What is stored may be anything; the axis is then that of the limit."""
    for values in ([float("nan")] * 10, [float("inf")] * 10, [1.0] * 9 + [float("nan")]):
        figure = pictures.against_limit(
            pd.DataFrame({"A": values, "B": values}, index=TIMES), warning=1.8, limit=2.0, quantity="VaR [%]"
        )
        assert figure.axes[0].get_ylim() == (0.0, 1.15 * 2.0)
    none = pd.DataFrame({"A": []}, index=TIMES[:0], dtype=float)
    assert pictures.against_limit(none, warning=1.8, limit=2.0, quantity="VaR [%]", marks={"opened": START}).axes


def test_a_mark_stands_above_the_picture_by_name() -> None:
    series = pd.DataFrame({"A": [1.0] * 10}, index=TIMES)
    calls = pd.DataFrame({"p50_ms": [0.2], "p99_ms": [9.0]}, index=["the platform"])
    for figure in (
        pictures.against_limit(series, warning=1.8, limit=2.0, quantity="VaR [%]", marks={"opened": TIMES[4]}),
        pictures.latency(series, calls, pd.Series(dtype=float), limit_ms=5.0, marks={"opened": TIMES[4]}),
    ):
        (name,) = (text for text in figure.axes[0].texts if text.get_text() == "opened")
        assert (name.get_rotation(), name.xyann[1] > 0) == (0.0, True)


def test_switches_of_any_symbol_to_a_model_of_any_name_are_drawn() -> None:
    log = pd.DataFrame({"time": TIMES, "symbol": ["A", "DOGE"] * 5, "to": [r"$\frac{x$", "b\n" + 60 * "c"] * 5})
    log["took_ms"] = float("nan")
    figure = pictures.switches(log, ["A", "B"], until=TIMES[-1], window_s=120.0, slow_ms=100.0)
    figure.canvas.draw()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["A", "DOGE"]
    assert f"to b {28 * 'c'}..." in words(figure)
    assert pictures.switches(log.tail(1), ["A"], until=TIMES[-1], window_s=120.0, slow_ms=100.0).axes
