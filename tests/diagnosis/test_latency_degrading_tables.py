"""A05 on tables as the probes tell them: which has grown, which lacks an index, and where one is built."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import grown_tables, lost_indexes
from tests.diagnosis.derivatives_facts import noisy, over_time, ramp
from tests.diagnosis.latency_facts import (
    COLUMNS,
    EXPOSURE,
    INDEXES,
    Case,
    Looks,
    fixes,
    full_of_data,
    step,
    without_an_index,
)
from tests.diagnosis.verdicts import likely


def test_a_table_that_was_always_large_is_not_blamed() -> None:
    case = full_of_data(Case())
    case.rows["option_trades"] = noisy(600_000.0, 0.0)
    assert "data-growth" not in likely(case.diagnose())


def test_a_dropped_index_is_not_taken_for_rows_that_another_table_took() -> None:
    case = without_an_index(Case())
    case.rows["greeks_history"] = ramp(60_000, 460_000, last_s=70, share=0.0)
    case.earlier["option_trades"] = 0.0  # restored, no row inserted since
    verdict = case.diagnose()
    assert likely(verdict) == {"missing-index"}, verdict
    case.earlier["option_trades"] = 2_000_000.0  # as far as is counted, it may have taken the new rows
    verdict = case.diagnose()
    assert likely(verdict) == {"missing-index"}, verdict
    told = next(item.because for item in verdict.causes if item.key == "data-growth")
    assert told.startswith("no index of option_trades begins with what its slow statement asks for")


def test_a_statement_that_never_had_an_index_is_not_why_latency_rose() -> None:
    case = without_an_index(Case())
    case.read = noisy(300_000.0, 0.05)  # as many as ever
    verdict = case.diagnose()
    assert verdict.cause == "none-of-these", verdict
    told = next(item.because for item in verdict.causes if item.key == "missing-index")
    assert "rows are read each second, 1 times as many as before" in told


def test_rows_read_that_were_not_seen_leave_the_index_in_doubt() -> None:
    case = without_an_index(Case())
    case.read = ()
    finding = next(item for item in case.diagnose().causes if item.key == "missing-index")
    assert 0.5 < finding.likelihood < 0.96, finding


@pytest.mark.parametrize(
    ("indexes", "told"),
    [
        (INDEXES, "an index of option_trades begins with what its slow statement asks for"),
        ([INDEXES[0], INDEXES[1].replace("(client, ", "(underlying, ")], "no index of option_trades (100,000 rows)"),
    ],
    ids=["the index is there", "another took its place"],
)
def test_an_index_on_other_columns_is_none_for_a_statement(indexes: list[str], told: str) -> None:
    case = without_an_index(Case())
    case.indexes = indexes
    verdict = case.diagnose()
    because = next(item.because for item in verdict.causes if item.key == "missing-index")
    assert told in because
    assert (verdict.cause == "missing-index") == told.startswith("no index")


def test_an_analysts_look_beside_it_does_not_hide_the_statement() -> None:
    case = without_an_index(Case())
    look = "SELECT count(*) FROM option_trades WHERE mod(id, $1) = $2 AND price * quantity > $3"
    case.statements.append((look, 900.0))
    lost = case.lost()
    assert lost is not None
    assert (lost["table"], lost["unanswered"], lost["mean_ms"]) == ("option_trades", True, 230.0)
    assert case.diagnose().cause == "missing-index"
    case.indexes = INDEXES
    assert case.diagnose().cause == "none-of-these", case.diagnose()


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        (EXPOSURE, ["client", "timestamp"]),
        ("SELECT id FROM option_trades WHERE client = $1 ORDER BY timestamp DESC LIMIT $2", ["client", "timestamp"]),
        ("SELECT 1 FROM t WHERE strike > $1 AND client = $2 AND kind IN ($3)", ["client", "kind", "strike"]),
        ("SELECT id FROM option_trades WHERE client = $1 OR kind = $2", []),
        ("SELECT id FROM option_trades WHERE lower(client) = $1", []),
        ("SELECT id FROM option_trades", []),
    ],
)  # fmt: skip
def test_the_index_that_a_statement_lacks(query: str, columns: list[str]) -> None:
    assert lost_indexes.narrowing(grown_tables.plain(query), COLUMNS) == columns


def test_the_missing_index_is_proposed_where_there_is_room(capsys: pytest.CaptureFixture[str]) -> None:
    database = {"workload": "statefulset/postgres", "folder": "/data"}
    case, wanted = without_an_index(Case()), {"table": "option_trades", "columns": ["client", "timestamp"]}
    lost = case.lost()
    assert lost_indexes.index_for(Looks(200.0), lost, database) == wanted  # type: ignore[arg-type]
    assert fixes(case, "missing-index", lacking=wanted) == [
        ("postgres.create-index", {**wanted, "reason": "what reads option_trades reads all of it for want of an index"})
    ]
    assert lost_indexes.index_for(Looks(60.0), lost, database) == {}  # type: ignore[arg-type]
    assert "60 MB are free beside a table of 70 MB" in capsys.readouterr().out
    assert lost_indexes.index_for(Looks(200.0), lost, {}) == {}  # type: ignore[arg-type]
    assert lost_indexes.index_for(Looks(200.0), Case().lost(), database) == {}  # type: ignore[arg-type]
    assert fixes(case, "missing-index", lacking={}) == []


def test_rows_that_no_other_table_can_have_taken_are_counted_without_an_index_too() -> None:
    case = full_of_data(Case())
    case.indexes = INDEXES[:1]
    assert likely(case.diagnose()) == {"data-growth"}
    case = full_of_data(Case())
    case.earlier["greeks_history"] = 1e6  # which of the two took them is not known: the index is there, and it is slow
    verdict = case.diagnose()
    assert likely(verdict) == {"data-growth"}
    assert "option_trades has 600,000 rows, up to 6.0 times as many" in verdict.summary


def test_a_small_table_has_not_grown_for_what_others_took() -> None:
    case = Case()
    case.rows |= {"hedges": noisy(12.0, 0.0), "greeks_history": ramp(60_000, 120_000, last_s=70, share=0.0)}
    case.earlier["hedges"] = 8.0
    case.lines["requests_ms"] = step(30.0, 420.0, ago=40)
    case.statements.append(("SELECT h.id FROM hedges h WHERE pg_sleep(0.2) IS NULL", 230.0))
    grown = case.grown()
    assert grown is not None
    assert math.isnan(grown.at["hedges", "ratio"])
    assert grown_tables.culprit(grown) == "greeks_history"
    verdict = case.diagnose()
    assert verdict.cause == "none-of-these", verdict
    assert "hedges" not in verdict.summary


def test_where_the_rows_were_not_counted_no_table_has_grown_for_certain() -> None:
    statements = pd.DataFrame([(EXPOSURE, 230.0)], columns=["query", "mean_ms"])
    now = pd.DataFrame({"table": ["option_trades"], "live_rows": [600_000], "inserted": [600_000]})
    grown = grown_tables.tables(pd.DataFrame({"value": over_time([math.nan])}), now, statements)
    assert grown is not None
    assert grown[["least", "ratio"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT * FROM t WHERE client = $1 ORDER BY id", True),
        ("SELECT * FROM t WHERE price > $1 GROUP BY client", False),
        ("SELECT count(*) FROM t", True),
        ("SELECT * FROM t JOIN u ON t.client = u.name", True),
    ],
)
def test_an_index_answers_what_narrows_a_statement(query: str, told: bool) -> None:
    definition = "CREATE INDEX i ON public.t USING btree (client, price) WHERE (quantity > 0)"
    assert grown_tables.leads(query, [definition]) is told
    assert grown_tables.leads("SELECT id FROM t WHERE lower(name) = $1", ["... USING btree (lower(name))"])
    assert not grown_tables.leads("SELECT id FROM t WHERE name = $1", [])


def test_the_index_that_answers_the_statement_alone() -> None:
    wanted = {"table": "option_trades", "columns": ["client", "timestamp", "underlying", "quantity", "price"]}
    assert grown_tables.covering("option_trades", grown_tables.plain(EXPOSURE), COLUMNS, INDEXES) == wanted
    assert grown_tables.covering("option_trades", "SELECT id FROM option_trades", COLUMNS, INDEXES) is None
    assert grown_tables.covering("option_trades", EXPOSURE, COLUMNS, []) is None


def test_an_index_is_built_only_where_there_is_room_for_certain(capsys: pytest.CaptureFixture[str]) -> None:
    database = {"workload": "statefulset/postgres", "folder": "/data"}
    grown = full_of_data(Case()).grown()
    assert grown is not None
    found: Any = grown_tables.index_for(Looks(200.0), grown, database)  # type: ignore[arg-type]
    assert found == {"table": "option_trades", "columns": ["client", "timestamp", "underlying", "quantity", "price"]}
    assert grown_tables.index_for(Looks(60.0), grown, database) is None  # type: ignore[arg-type]
    assert "60 MB are free beside a table of 70 MB" in capsys.readouterr().out
    assert grown_tables.index_for(Looks(200.0), grown, {}) is None  # type: ignore[arg-type]
    assert math.isnan(grown_tables.free_bytes("df: /data: No such file or directory"))
