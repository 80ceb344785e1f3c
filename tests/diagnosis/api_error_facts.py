"""What the probes tell of a service whose requests fail, by cause: healthy, until something is changed."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

import pandas as pd

from opslib.diagnosis import Diagnosis, Verdict, api_error_rate, api_errors, api_release, database
from opslib.errors import ProbeError
from opslib.probes.seen import Seen

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
API, DATABASE = "deployment/derivatives-api", "statefulset/postgres"
LIMIT = 1.0
SERVICE = api_error_rate.Service(API, "api", 10, "GREEKS_BATCH", 2.0, 24.0, "greeks:*", ["derivatives-api"])
STORE = api_error_rate.Store(DATABASE, "postgres", 1, 2.0)


def ago(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(NOW) - pd.Timedelta(seconds=seconds)


class Facts:
    """What the probes told; a healthy platform that was rolled out a day ago, until something is changed."""

    def __init__(self) -> None:
        self.pct: dict[str, float] = {}
        self.since_s = 40.0
        self.said: list[str] = []
        self.prometheus = self.rule = self.logs = True
        self.stats: dict[str, Any] | None = {
            "greeks_engine": {"batch": 0},
            "gpu": {"memory_share_mib": 512.0, "memory_used_by_this_process_mib": 60.0, "memory_free_mib": 14_000.0},
        }
        self.server: dict[str, Any] | None = {"answers": True, "took_ms": 9.0}
        self.ready, self.desired, self.up = 1.0, 1.0, 1.0
        self.replicas, self.own = 2.0, 4  # pods of the service, and connections of them
        self.used, self.refused = 9.0, 0
        self.holders: list[dict[str, Any]] = []
        self.statement_ms = 3.0
        self.entries: dict[str, tuple[float, bool]] = {}
        self.pods_since_s: float | None = None  # of the service; None: since its last revision
        self.revisions: list[tuple[float, str]] = [(86_400.0, "image a -> b"), (900_000.0, "the first kept")]

    def fails(self, label: str, pct: float, *lines: str) -> Facts:
        self.pct[label] = self.pct.get(label, 0.0) + pct
        self.said += [f"2026-11-28 12:00:00 ERROR api: {line}" for line in lines or (label,)] * 12
        return self

    def now(self) -> pd.DataFrame | None:
        rows = [*self.pct.items(), ("all", sum(self.pct.values()))]
        return pd.DataFrame(rows, columns=["error", "value"]) if self.prometheus else None

    def series(self) -> pd.DataFrame | None:
        if not self.prometheus:
            return None
        times = pd.DatetimeIndex([ago(seconds) for seconds in range(900, -1, -5)])
        columns = {
            label: [pct if at >= ago(self.since_s) else 0.0 for at in times]
            for label, pct in {**self.pct, "all": sum(self.pct.values())}.items()
        }
        return pd.DataFrame(columns, index=times)

    def lines(self) -> pd.DataFrame | None:
        return pd.DataFrame({"line": self.said}) if self.logs else None

    def history(self) -> pd.DataFrame:
        count = len(self.revisions)
        rows = [(count - place, place == 0, ago(age), changes) for place, (age, changes) in enumerate(self.revisions)]
        return pd.DataFrame(rows, columns=["revision", "current", "created", "changes"])

    def pods(self) -> pd.DataFrame:
        since = self.revisions[0][0] - 2.0 if self.pods_since_s is None else self.pods_since_s
        rows = [
            ("api-0", API, "10.1.0.3", True, ago(max(since, 0.0) + 400.0), "before"),
            ("api-1", API, "10.1.0.4", True, ago(since), "now"),
            ("api-2", API, "10.1.0.5", True, ago(since - 5.0), "now"),
            ("migration-1", "deployment/schema-migration", "10.1.0.9", True, ago(60.0), "1"),
        ]
        columns = ["pod", "workload", "address", "ready", "created", "revision"]
        return pd.DataFrame(rows, columns=columns).set_index("pod")

    def scaling(self, slots: dict[str, Any] | None) -> dict[str, Any]:
        workloads = pd.DataFrame({"desired": [self.replicas]}, index=[API])
        who = pd.DataFrame({"application": ["derivatives-api", "report"], "connections": [self.own, 5]})
        return api_error_rate.scaling(SERVICE, workloads, slots, who)

    def asked(self) -> Seen | None:
        if self.server is None:
            return None

        def ask() -> Seen:
            assert self.server is not None
            if self.server["answers"]:
                return Seen(self.server)
            raise ProbeError(self.server["why"], evidence="e7")

        return database.asked(ask)

    def facts(self) -> dict[str, Any]:
        lines, server = self.lines(), self.asked()
        errors = api_errors.failing(self.now(), lines, LIMIT)
        state = {"name": DATABASE, "ready": self.ready, "desired": self.desired, "up": self.up}
        gauges = {"used": self.used, "limit": 40.0, "reserved": 3.0} if self.prometheus else {}
        refusals = pd.DataFrame({"count": [self.refused], "example": [""]}) if self.logs else None
        slots = None if server is None else api_errors.slots(None, gauges, refusals, server)
        seen: list[Any] = [None] * 4
        if server is not None and server["answers"]:
            seen = [blockers(self.holders), locks(self.holders), pd.DataFrame(self.holders, columns=SESSION)]
            seen.append(pd.DataFrame({"mean_ms": [self.statement_ms], "query": ["SELECT 1"]}))
        keys = api_errors.stale_keys(lines)
        answers = {key: entry(*self.entries[key]) if key in self.entries else None for key in keys}
        return {
            "errors": errors,
            "card": api_errors.card(self.stats, lines, 24.0),
            "server": server,
            "database": database.Facts(state),
            "slots": slots,
            "waits": api_errors.waits(errors, *seen),
            "entries": None if lines is None else api_errors.entries(answers, NOW),
        }

    def diagnose(self) -> tuple[Verdict, dict[str, Any]]:
        facts = self.facts()
        case = Diagnosis(SimpleNamespace(unseen=[]), api_error_rate.CAUSES)
        value = sum(self.pct.values())
        rule = {"value": value, "holds": value > LIMIT} if self.prometheus and self.rule else None
        case.confirm(*api_errors.symptom(rule, self.now(), self.lines(), LIMIT, 5.0, 60.0))

        def examine(key: str, *names: str, **more: Any) -> None:
            case.examine(key, **{name: facts[name] for name in names}, **more)

        examine("cuda-out-of-memory", "errors", "card")
        examine("database-down", "errors", "server", "database")
        examine("pool-exhausted", "errors", "slots")
        examine("slow-database", "errors", "waits", slow_ms=100.0)
        examine("stale-cache", "errors", "entries", oldest_s=7200.0)
        errors = facts["errors"]
        facts["rollout"] = api_release.rollout(self.history(), self.pods(), API, self.series(), errors, case.findings)
        case.examine("bad-deployment", rollout=facts["rollout"], after_s=90.0)
        if case.confirmed is None:
            case.confirm(*api_errors.explained(case.symptom, case.findings, self.lines(), 60.0))
        return case.verdict(), facts


SESSION = [
    *("pid", "application", "client", "user", "state", "blocks", "transaction_s", "backend_start"),
    *("transaction_start", "query"),
]


def holder(seconds: float = 30.0) -> dict[str, Any]:
    return {
        "pid": 77, "application": "report-migration", "client": "10.1.0.9", "user": "axiom_prod",
        "state": "idle in transaction", "blocks": 0, "transaction_s": seconds, "backend_start": ago(seconds + 1),
        "transaction_start": ago(seconds), "query": "ALTER TABLE option_trades",
    }  # fmt: skip


def locks(holders: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [("option_trades", "AccessExclusiveLock", True, 1, f"{{{one['pid']}}}") for one in holders]
    rows.append(("option_trades", "AccessShareLock", True, 2, "{8,9}"))
    return pd.DataFrame(rows, columns=["relation", "mode", "granted", "sessions", "pids"])


def blockers(holders: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(columns=[*SESSION, "depth", "waiting_behind"]).astype({"depth": int, "pid": int})


def entry(age_s: float, ends: bool) -> Seen:
    at = NOW.timestamp() - age_s
    return Seen(text=json.dumps([at, 1.0, 0.5]), expires_in_s=600 if ends else None)


def out_of_memory(facts: Facts) -> None:
    facts.fails(
        "CUDA out of memory",
        4.0,
        "CUDA out of memory. Tried to allocate 656.00 MiB (GPU 0; 512.00 MiB is the share of this process; 60.00 MiB "
        "already allocated)",
    )


def no_database(facts: Facts) -> None:
    facts.fails("Database connection failed", 20.0)
    facts.server = {"answers": False, "why": "postgres of derivatives: connection refused"}
    facts.ready = facts.desired = facts.up = 0.0


def no_slot(facts: Facts) -> None:
    facts.fails("Database connection failed", 15.0)
    facts.server = {"answers": False, "why": "every connection but the reserved ones is taken (too many clients)"}
    facts.used, facts.refused = 38.0, 200


def lock_held(facts: Facts) -> None:
    facts.fails("Database timeout", 12.0)
    facts.holders = [holder()]


def old_results(facts: Facts) -> None:
    keys = [f"greeks:SPX:call:5200:30:{number}" for number in range(3)]
    facts.fails("Stale cache", 8.0, *(f"stale cache entry {key}: computed 20000 s ago" for key in keys))
    facts.entries = dict.fromkeys(keys, (20_000.0, False))


def bad_release(facts: Facts) -> None:
    facts.fails("Pricing failed", 25.0, "no dividend, model or market for SPX (looked for 'SPX')")
    facts.revisions.insert(0, (facts.since_s + 12.0, "env RELEASE '2.4.0' -> '2.4.3'"))


CASES = {
    "cuda-out-of-memory": out_of_memory,
    "database-down": no_database,
    "pool-exhausted": no_slot,
    "slow-database": lock_held,
    "stale-cache": old_results,
    "bad-deployment": bad_release,
}
