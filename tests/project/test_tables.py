"""A table is for reading: units in headings, the digits that count, times without a date, a dash for nothing."""

from __future__ import annotations

import math

import pandas as pd

from opslib import tables

TIMES = pd.to_datetime(["2026-01-05T12:00:00.025Z", "2026-01-05T12:01:30Z"], format="ISO8601")


def test_figures_have_the_digits_that_count_and_their_unit_above() -> None:
    table = tables.shown(pd.DataFrame({"p95_us": [76.408123, 1034.9], "share": [0.00012345, 0.5]}, index=["a", "b"]))
    assert table.headings == ("", "p95 [us]", "share")
    assert table.rows == (("a", "76.4", "0.00012"), ("b", "1,035", "0.5"))
    assert table.numeric == (False, True, True)


def test_figures_of_a_column_have_their_points_below_each_other() -> None:
    frame = pd.DataFrame(
        {"times": [1.07, 1.0, math.nan, -0.9], "us": [76.4, 1034.9, 5.0, 7.0], "n": [1.0, 2.0, math.nan, 3.0]}
    )
    table = tables.shown(frame)
    assert [row[0] for row in table.rows] == ["1.07", "1.00", "–", "-0.90"]
    assert [row[1] for row in table.rows] == ["76.4", "1,035", "5", "7"]  # no digit that was not measured
    assert [row[2] for row in table.rows] == ["1", "2", "–", "3"]


def test_what_is_not_there_is_a_dash() -> None:
    frame = pd.DataFrame({"x": [1.0, math.nan], "why": ["", "OOMKilled"], "at": [TIMES[0], pd.NaT], "left": math.inf})
    assert tables.shown(frame).rows == (("1", "–", "12:00:00", "–"), ("–", "OOMKilled", "–", "–"))


def test_times_have_a_date_only_where_it_differs() -> None:
    same, other = pd.DataFrame({"at": TIMES}), pd.DataFrame({"at": [TIMES[0], TIMES[1] + pd.Timedelta(days=1)]})
    assert [row[0] for row in tables.shown(same).rows] == ["12:00:00", "12:01:30"]
    assert [row[0] for row in tables.shown(other).rows] == ["2026-01-05 12:00", "2026-01-06 12:01"]


def test_the_columns_asked_for_are_shown_in_their_order_and_words() -> None:
    frame = pd.DataFrame(
        {"ready": [True], "node": ["node-1"], "uid": ["x"]}, index=pd.Index(["postgres-0"], name="pod")
    )
    table = tables.shown(frame, {"node": "", "ready": "takes requests", "gone": "not there"})
    assert table.headings == ("pod", "node", "takes requests")
    assert table.rows == (("postgres-0", "node-1", "yes"),)


def test_an_index_that_only_counts_is_not_shown() -> None:
    assert tables.shown(pd.DataFrame({"a": [1]}, index=[7])).headings == ("a",)
    assert tables.shown(pd.DataFrame({"a": [1]}, index=[7]).rename_axis("revision")).rows == (("7", "1"),)


def test_an_empty_table_has_its_headings() -> None:
    assert tables.shown(pd.DataFrame({"a": []})).rows == ()
    assert tables.shown(pd.DataFrame()).rows == ()


def test_an_empty_table_says_so() -> None:
    empty = tables.shown(pd.DataFrame({"alert": []}))
    assert repr(empty) == "alert\n(none)"
    assert ">none</td>" in empty._repr_html_()


def test_shares_are_told_in_per_cent() -> None:
    table = tables.shown(pd.DataFrame({"share": [0.026, math.nan]}), {"share": "of the time"}, shares=("share",))
    assert (table.headings, table.rows) == (("of the time [%]",), (("2.6",), ("–",)))


def test_a_short_name_is_never_broken() -> None:
    page = tables.shown(pd.DataFrame({"node": ["node-1"], "says": ["much " * 10]}))._repr_html_()
    assert "white-space:nowrap'>node-1<" in page
    assert "nowrap'>much" not in page


def test_hostile_text_stays_text_and_long_text_is_cut() -> None:
    page = tables.shown(pd.DataFrame({"<b>": ["<script>alert(1)</script>", "x" * 500]}))._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "x" * 161 not in page


def test_as_text_the_columns_stand_below_each_other() -> None:
    assert repr(tables.shown(pd.DataFrame({"n": [1, 100], "what": ["a", "b"]}))) == "  n  what\n  1  a\n100  b"
