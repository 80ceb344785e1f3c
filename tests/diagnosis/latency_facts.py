"""What the probes tell of a service whose latency degrades, by cause: healthy, until something is changed."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

import engine
from opslib.diagnosis import Diagnosis, Verdict, grown_tables, latency_degrading, lost_indexes, service_pods
from opslib.probes.calls_postgres import Postgres
from tests.diagnosis.derivatives_facts import BEFORE, NAME, NOW, OLDEST_S, WORKLOAD, Pod, World, noisy, over_time, ramp

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


def fixes(
    case: Case, *causes: str, index: dict[str, Any] | None = None, lacking: dict[str, Any] | None = None
) -> list[Any]:
    seen = {"workloads": case.workloads(), "autoscalers": case.autoscalers, "grown": case.grown()}
    seen |= {"index": index, "lacking": lacking}
    return latency_degrading.fixes(causes, workload=WORKLOAD, scale_to=10, **seen)
