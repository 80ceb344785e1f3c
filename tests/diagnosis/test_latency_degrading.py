"""A05 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import engine
from opslib.diagnosis import Diagnosis, Verdict, grown_tables, latency_degrading, lost_indexes, service_pods
from opslib.probes.calls_postgres import Postgres
from tests.diagnosis.derivatives_facts import (
    BEFORE,
    NAME,
    NOW,
    OLDEST_S,
    REVISION,
    WORKLOAD,
    Pod,
    World,
    noisy,
    over_time,
    ramp,
)

EXPOSURE = (
    "-- What a client traded today, by strike.\n"
    "SELECT underlying, sum(quantity * price) AS premium, count(*) AS trades FROM option_trades WHERE client = $1 "
    "AND timestamp > now() - interval $2 GROUP BY underlying"
)
COLUMNS = ["id", "timestamp", "client", "underlying", "kind", "strike", "expiry", "quantity", "price"]
INDEXES = [
    "CREATE UNIQUE INDEX option_trades_pkey ON public.option_trades USING btree (id)",
    'CREATE INDEX option_trades_client_timestamp ON public.option_trades USING btree (client, "timestamp")',
]


class Looks:
    """An `ops` that has seen the table, and so much room."""

    def __init__(self, free_mb: float, indexes: Sequence[str] = INDEXES, read: Any = ()) -> None:
        self._free_kb = int(free_mb * 1e6 / 1024)
        self.prometheus = SimpleNamespace(range=lambda *_: pd.DataFrame({"value": over_time(read)}))
        self.postgres = Postgres(self)  # type: ignore[arg-type]
        self._indexes = list(indexes)
        self.kubernetes = SimpleNamespace(run=self._df)

    def _df(self, command: str, workload: str, folder: str) -> dict[str, str]:
        assert (command, workload, folder) == ("df", "statefulset/postgres", "/data")
        head = "Filesystem 1024-blocks Used Available Capacity Mounted on"
        return {"output": f"{head}\ntmpfs 229376 1000 {self._free_kb} 14% /data\n"}

    def probe(self, name: str, **arguments: Any) -> pd.DataFrame:
        """What the recorder is asked for."""
        if name == "postgres.named":
            assert arguments == {"query": "columns_of", "parameters": {"table": "option_trades"}, "limit": 1000}
            return pd.DataFrame({"column": COLUMNS})
        assert (name, arguments["table"]) == ("postgres.indexes", "option_trades")
        return pd.DataFrame({"definition": self._indexes})

    def look(self, what: str, probe: Any, *arguments: Any, **named: Any) -> Any:
        assert what
        return probe(*arguments, **named)


class Case(World):
    """The service, its series, its revisions and its tables."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = {
            "greeks_us": noisy(50.0, 0.04),
            "requests_ms": noisy(30.0, 0.05, seed=5),
            "quick_us": noisy(15.0, 0.04, seed=6),
            "rate": noisy(17.0, 0.05, seed=7),
            "queue": noisy(1.0, 0.0),
        }
        self.rows = {"option_trades": noisy(100_000.0, 0.0), "greeks_history": noisy(60_000.0, 0.0)}
        self.earlier = {"option_trades": 5_000.0, "greeks_history": 40_000.0}  # inserted before what is seen
        self.indexes = INDEXES
        self.read = noisy(900.0, 0.2, seed=10)  # rows each second
        self.statements = [("SELECT timestamp FROM option_trades WHERE client = $1", 0.4), (EXPOSURE, 3.0)]
        self.rollouts = [(3, True, 3600.0, "api: env RELEASE '2.3.1' -> '2.4.0'")]
        self.holds: bool | None = True
        self.seen = True

    def series_of_the_whole(self) -> pd.DataFrame:
        table = pd.DataFrame({name: over_time(values) for name, values in self.lines.items()})
        table.attrs["evidence"] = "E002"
        return table

    def load(self) -> pd.DataFrame:
        return pd.DataFrame({"value": over_time(self.lines["rate"])})

    def history(self) -> pd.DataFrame:
        rows = [
            {"revision": number, "current": current, "created": NOW - pd.Timedelta(seconds=ago), "change_cause": None,
             "changes": changes}
            for number, current, ago, changes in self.rollouts
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def risen(self) -> pd.DataFrame | None:
        windows = {"now_s": 15.0, "before_s": 60.0, "before_span_s": 30.0}
        return latency_degrading.levels(self.series_of_the_whole() if self.seen else None, engine, **windows)

    def grown(self) -> pd.DataFrame | None:
        new = sum(np.asarray(values, float) - values[0] for values in self.rows.values())
        inserted = pd.DataFrame({"value": over_time(new + sum(self.earlier.get(name, 0.0) for name in self.rows))})
        now = pd.DataFrame([(name, values[-1]) for name, values in self.rows.items()], columns=["table", "live_rows"])
        now["inserted"] = [values[-1] - values[0] + self.earlier.get(name, 0.0) for name, values in self.rows.items()]
        now["table_bytes"] = 70e6
        return grown_tables.tables(inserted, now, self.listed_statements())

    def listed_statements(self) -> pd.DataFrame:
        return pd.DataFrame(self.statements, columns=["query", "mean_ms"])

    def lost(self) -> service_pods.Facts | None:
        ops: Any = Looks(0.0, self.indexes, self.read)
        given = {"platform": "derivatives", "window_s": 20.0, "stretch": (2.0, 2.0), "levels_s": (15.0, 60.0, 30.0)}
        return lost_indexes.look(ops, self.grown(), self.listed_statements(), **given)

    def diagnose(self) -> Verdict:
        case = Diagnosis(SimpleNamespace(unseen=[]), latency_degrading.CAUSES)
        risen = self.risen()
        rule = None if self.holds is None else {"holds": self.holds}
        confirmed, symptom = latency_degrading.symptom(rule, risen)
        case.confirm(confirmed, symptom, risen)
        held = None
        if self.seen:
            given = [self.series(name) for name in ("memory", "sessions", "quick")]
            stretch = {"warm_up_s": 15.0, "recent_s": 30.0, "limit_mb": 470.0}
            held = service_pods.growth(*given, self.load(), list(self.pods), engine, **stretch)
        case.examine("memory-leak", held=held, horizon_min=60.0)
        medians = self.series("median") if self.seen else None
        release = latency_degrading.rollout(self.history(), self.listed(), medians, workload=WORKLOAD, warm_up_s=15.0)
        case.examine("recent-deployment", release=release, risen=risen, tolerance_s=60.0)
        cpu = service_pods.cpu_use(self.top(), self.listed())
        case.examine("load-growth", risen=risen, cpu=cpu)
        answered = grown_tables.answered(Looks(0.0, self.indexes), self.grown())  # type: ignore[arg-type]
        case.examine("data-growth", risen=risen, grown=self.grown(), answered=answered)
        case.examine("missing-index", risen=risen, lost=self.lost())
        return case.verdict()


def step(before: float, after: float, *, ago: float) -> Any:
    n, since = 90, int(ago / 2)
    return np.r_[np.full(n - since, before), np.full(since, after)] * (
        1.0 + 0.03 * np.random.default_rng(8).standard_normal(n)
    )


def released(case: Case) -> Case:
    case.lines["greeks_us"] = step(50.0, 190.0, ago=40)
    case.lines["quick_us"] = step(15.0, 70.0, ago=40)
    case.rollouts = [
        (4, True, 50.0, "api: env RELEASE '2.4.0' -> '2.4.5'"),
        (3, False, 3600.0, "api: env RELEASE '2.3.1' -> '2.4.0'"),
    ]
    case.gone |= {f"{NAME}-{BEFORE}-{end}": Pod(revision=BEFORE) for end in ("ccccc", "ddddd")}
    for pod in case.pods.values():
        pod.median, pod.quick, pod.memory = noisy(100.0, 0.05)[-24:], noisy(70.0, 0.05)[-24:], pod.memory[-24:]
        pod.sessions = pod.sessions[-24:]
    return case


def climb(low: float, high: float) -> Any:
    """A climb within 20 s, 40 s ago."""
    return np.r_[ramp(low, high, last_s=20, seconds=OLDEST_S - 40), noisy(high, seconds=40)]


def busier(case: Case) -> Case:
    case.cpu_of_limit = 0.98
    case.lines["greeks_us"] = np.maximum(case.lines["greeks_us"], climb(50, 400))
    case.lines["requests_ms"] = climb(30, 300)
    case.lines["rate"] = climb(17, 120)
    case.lines["queue"] = climb(1, 18)
    return case


def leaking(case: Case) -> Case:
    case.lines["greeks_us"] = np.maximum(case.lines["greeks_us"], ramp(50, 170, last_s=100))
    case.lines["quick_us"] = np.maximum(case.lines["quick_us"], ramp(15, 60, last_s=100))
    for pod in case.pods.values():
        n = len(pod.memory)
        pod.memory = ramp(170, 230, last_s=100, share=0.0005)[-n:]
        pod.sessions = ramp(13, 1500, last_s=100)[-n:]
        pod.quick = (ramp(15, 60, last_s=100) + np.mean(pod.quick) - 15.0)[-n:]
    return case


def full_of_data(case: Case) -> Case:
    case.lines["requests_ms"] = np.maximum(case.lines["requests_ms"], ramp(30, 420, last_s=60))
    case.rows["option_trades"] = ramp(100_000, 600_000, last_s=70, share=0.0)
    case.statements[1] = (EXPOSURE, 230.0)
    case.read = ramp(900.0, 5_000.0, last_s=70)
    return case


def without_an_index(case: Case) -> Case:
    """The statement on the large table is slow since its index was dropped."""
    case.lines["requests_ms"] = np.maximum(case.lines["requests_ms"], step(30.0, 420.0, ago=40))
    case.statements[1], case.indexes = (EXPOSURE, 230.0), INDEXES[:1]
    case.read = step(900.0, 300_000.0, ago=40)
    return case


CASES = {
    "memory-leak": leaking,
    "recent-deployment": released,
    "load-growth": busier,
    "data-growth": full_of_data,
    "missing-index": without_an_index,
}


def likely(verdict: Verdict) -> set[str]:
    return {item.key for item in verdict.causes if item.likelihood > 0.5}


@pytest.mark.parametrize("cause", CASES)
def test_the_cause_is_named_alone(cause: str) -> None:
    verdict = CASES[cause](Case()).diagnose()
    assert (verdict.cause, likely(verdict)) == (cause, {cause}), verdict
    assert verdict.confidence > 0.8


PAIRS = [
    ("memory-leak", "recent-deployment"),
    ("recent-deployment", "load-growth"),
    ("memory-leak", "load-growth"),
    ("load-growth", "data-growth"),
    ("recent-deployment", "data-growth"),
    ("memory-leak", "missing-index"),
    ("recent-deployment", "missing-index"),
    ("load-growth", "missing-index"),
]


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_at_once_are_both_likely(pair: tuple[str, str]) -> None:
    case = Case()
    for cause in reversed(pair):
        CASES[cause](case)
    assert likely(case.diagnose()) == set(pair), case.diagnose()


def test_a_healthy_platform_has_no_cause() -> None:
    case = Case()
    case.holds = False
    verdict = case.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


def test_a_healthy_platform_speaks_for_no_cause_though_its_alert_were_true() -> None:
    verdict = Case().diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "none-of-these", set()), verdict
    assert all(item.likelihood < 0.2 for item in verdict.causes), verdict


def test_slow_without_any_of_them_is_none_of_these() -> None:
    case = Case()
    case.lines["greeks_us"] = ramp(50, 200, last_s=60)
    case.lines["quick_us"] = ramp(15, 60, last_s=60)
    assert case.diagnose().cause == "none-of-these", case.diagnose()


def test_requests_that_wait_under_the_usual_load_are_no_growth_of_it() -> None:
    case = busier(Case())
    case.lines["rate"] = noisy(17.0, 0.05, seed=7)
    assert case.diagnose().cause == "none-of-these", case.diagnose()
    case = busier(released(Case()))
    case.lines["rate"] = noisy(17.0, 0.05, seed=7)
    assert likely(case.diagnose()) == {"recent-deployment"}, case.diagnose()


def test_a_restart_is_no_release() -> None:
    case = released(Case())
    case.rollouts[0] = (4, True, 50.0, "restarted at 2026-11-28T11:59:10Z")
    for pod in case.pods.values():
        pod.median = noisy(22.0, 0.05)[-24:]
    assert "recent-deployment" not in likely(case.diagnose())


def test_a_jump_long_after_the_roll_out_is_not_of_it() -> None:
    case = released(Case())
    assert likely(case.diagnose()) == {"recent-deployment"}
    case.lines["greeks_us"] = step(50.0, 190.0, ago=40)
    for pod in case.pods.values():
        pod.median, pod.memory = noisy(22.0, 0.05), noisy(170.0, 0.001)  # it began long before
    assert case.diagnose().cause == "none-of-these", case.diagnose()


def test_a_release_whose_pods_are_as_quick_as_those_before_is_not_blamed_for_its_moment() -> None:
    case = released(Case())
    for pod in case.pods.values():
        pod.median = noisy(23.0, 0.05)[-24:]
    assert case.diagnose().cause == "none-of-these", case.diagnose()


def test_pods_that_had_ended_before_the_roll_out_are_not_what_it_is_held_against() -> None:
    case = released(Case())
    medians = case.series("median")
    for end in ("eeeee", "fffff"):  # slow, and gone long before
        medians[f"{NAME}-{BEFORE}-{end}"] = over_time(np.r_[noisy(250.0)[:60], np.full(30, np.nan)])
    release = latency_degrading.rollout(case.history(), case.listed(), medians, workload=WORKLOAD, warm_up_s=15.0)
    assert release is not None
    assert release["old_us"] < 30.0 < 90.0 < release["new_us"]


def rolled_back(case: Case) -> Case:
    """The revision that runs ran earlier, and came back 50 s ago."""
    case.rollouts[0] = (4, True, 7200.0, "api: env RELEASE '2.4.0' -> '2.3.1'")
    return case


def test_a_roll_back_to_what_is_slower_is_a_release_too() -> None:
    verdict = rolled_back(released(Case())).diagnose()
    assert likely(verdict) == {"recent-deployment"}, verdict
    assert "in pods of revision 4, which ran earlier and came back" in verdict.causes[0].because


def test_what_took_a_slow_release_back_is_not_taken_back() -> None:
    case = rolled_back(released(Case()))
    case.lines["greeks_us"], case.lines["quick_us"] = step(190.0, 50.0, ago=40), step(70.0, 15.0, ago=40)
    for pod in case.gone.values():
        pod.median = noisy(100.0, 0.05)
    for pod in case.pods.values():
        pod.median = noisy(22.0, 0.05)[-24:]
    assert "recent-deployment" not in likely(case.diagnose())


def test_pods_of_a_revision_before_it_came_back_do_not_count_as_it() -> None:
    case = rolled_back(released(Case()))
    medians = case.series("median")
    for end in ("eeeee", "fffff"):  # of the same revision, quick, and gone before the other came
        medians[f"{NAME}-{REVISION}-{end}"] = over_time(np.r_[noisy(20.0)[:50], np.full(40, np.nan)])
    release = latency_degrading.rollout(case.history(), case.listed(), medians, workload=WORKLOAD, warm_up_s=15.0)
    assert release is not None
    assert release["old_us"] < 30.0 < 90.0 < release["new_us"]


def test_a_release_of_yesterday_is_not_blamed() -> None:
    case = leaking(Case())
    case.rollouts[0] = (4, True, 86_400.0, "api: env RELEASE '2.4.0' -> '2.4.5'")
    assert likely(case.diagnose()) == {"memory-leak"}


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


def test_without_prometheus_nothing_is_confirmed_or_guessed() -> None:
    case = leaking(Case())
    case.holds, case.seen = None, False
    verdict = case.diagnose()
    assert (verdict.confirmed, verdict.cause) == (False, None)
    assert verdict.summary.startswith("Not known")
    case.holds = True
    verdict = case.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)


def test_what_the_tests_say_is_told_in_words() -> None:
    risen = leaking(Case()).risen()
    assert risen is not None
    told = latency_degrading.reading(risen)
    assert "Latency of Greeks creeps up (+" in told
    jumped = released(Case()).risen()
    assert jumped is not None
    assert "Latency of Greeks jumps up at 11:59:2" in latency_degrading.reading(jumped)
    assert "Latency of whole requests shows no trend (p = " in latency_degrading.reading(jumped)
    assert abs((jumped.at["greeks_us", "jumped"] - (NOW - pd.Timedelta(seconds=38))).total_seconds()) < 5


def test_an_empty_answer_is_no_level() -> None:
    windows = {"now_s": 15.0, "before_s": 60.0, "before_span_s": 30.0}
    assert latency_degrading.levels(pd.DataFrame(), engine, **windows) is None
    short = pd.DataFrame({"greeks_us": over_time([40.0, 50.0])})
    found = latency_degrading.levels(short, engine, **windows)
    assert found is not None
    assert math.isnan(found.at["greeks_us", "ratio"])


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


def fixes(
    case: Case, *causes: str, index: dict[str, Any] | None = None, lacking: dict[str, Any] | None = None
) -> list[Any]:
    seen = {"workloads": case.workloads(), "autoscalers": case.autoscalers, "grown": case.grown()}
    seen |= {"index": index, "lacking": lacking}
    return latency_degrading.fixes(causes, workload=WORKLOAD, scale_to=10, **seen)


def test_each_cause_has_its_fix_and_no_more() -> None:
    assert fixes(Case(), "memory-leak") == [("kubernetes.restart", {"workload": WORKLOAD})]
    back = [("kubernetes.undo-rollout", {"workload": WORKLOAD})]
    assert fixes(Case(), "recent-deployment") == back
    assert fixes(Case(), "memory-leak", "recent-deployment") == back
    assert fixes(Case(), "load-growth") == [("kubernetes.scale", {"workload": WORKLOAD, "replicas": 10})]
    upkeep = [("postgres.vacuum", {"table": "option_trades", "reason": "option_trades has grown"})]
    assert fixes(full_of_data(Case()), "data-growth") == upkeep
    index = {"table": "option_trades", "columns": ["client", "timestamp", "price"]}
    both = fixes(full_of_data(Case()), "data-growth", index=index)
    assert [name for name, _ in both] == ["postgres.create-index", "postgres.vacuum"]


def test_the_newest_revision_is_that_of_the_newest_pods() -> None:
    assert REVISION != BEFORE
    case = released(Case())
    release = latency_degrading.rollout(
        case.history(), case.listed(), case.series("median"), workload=WORKLOAD, warm_up_s=15.0
    )
    assert release is not None
    assert release["new_us"] == pytest.approx(100.0, rel=0.1)
    assert release["old_us"] == pytest.approx(22.0, rel=0.1)
    assert release["revision"] == 4


def test_a_pod_too_young_to_be_warm_tells_by_its_later_half() -> None:
    index = pd.date_range("2026-11-28T12:00:00Z", periods=40, freq="1s")
    name, nothing = WORKLOAD.partition("/")[2], float("nan")
    young = [nothing] * 24 + [400.0] * 6 + [190.0] * 10
    medians = pd.DataFrame({f"{name}-old-a": [50.0] * 26 + [nothing] * 14, f"{name}-new-b": young}, index=index)
    assert latency_degrading._sides(medians, WORKLOAD, "new", 20.0, index[24]) == (190.0, 50.0)
    new, _ = latency_degrading._sides(medians.iloc[:30], WORKLOAD, "new", 20.0, index[24])
    assert math.isnan(new)
