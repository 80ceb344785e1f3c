"""What the probes tell of a database that is down, by cause: healthy, until something is changed."""

from __future__ import annotations

import datetime as dt
import math
from types import SimpleNamespace
from typing import Any

import pandas as pd

from opslib.diagnosis import Diagnosis, Verdict, postgres_down

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
DATABASE = postgres_down.Database(
    *("statefulset/postgres", "postgres", "/data"),
    *("volume", "VOLUME_MIB", 224.0),
    *(2.0, 32.0),
    *("greeks_history", "timestamp", 30.0),
)
NO_ROOM = 'FATAL:  could not write lock file "postmaster.pid": No space left on device'
NO_LIBRARY = 'FATAL:  could not access file "pg_cron": No such file or directory'
NO_MATCH = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity."
DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\nvolume {size} {used} {free} {pct}% /data\n"


def ago(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(NOW) - pd.Timedelta(seconds=seconds)


class Facts:
    """What the probes told; a healthy database, until something is changed."""

    def __init__(self) -> None:
        self.server: dict[str, Any] | None = {"answers": True, "took_ms": 9.0, "full": False}
        self.rule: bool | None = False
        self.pod: dict[str, Any] | None = {
            "status": "Running", "message": None, "ready": True, "restarts": 0, "last_reason": None,
            "last_exit_code": math.nan, "last_finished": pd.NaT, "node": "node-1", "created": ago(7200.0),
            "cpu_request": 0.5, "memory_request": 256.0 * 2**20,
        }  # fmt: skip
        self.container: dict[str, Any] = {
            "state": "running", "reason": None, "exit_code": math.nan, "last_reason": None, "last_exit_code": math.nan,
            "last_finished": pd.NaT, "ready": True, "since": ago(86_400.0),
        }  # fmt: skip
        self.log: list[str] | None = ["LOG:  database system is ready to accept connections"]
        self.told_s = 20.0  # how long ago its log said it
        self.used = 0.3
        self.pods_seen = True

    def down(self) -> Facts:
        self.server = {"answers": False, "full": False, "why": "postgres of derivatives: connection refused"}
        self.rule = True
        return self

    def ends(self, how: str, code: int, line: str, restarts: int = 3) -> Facts:
        ended = {"last_reason": how, "last_exit_code": float(code), "last_finished": ago(20.0)}
        assert self.pod is not None
        self.pod |= {"status": "CrashLoopBackOff", "ready": False, "restarts": restarts, **ended}
        self.container |= {"state": "waiting", "reason": "CrashLoopBackOff", "ready": False, **ended}
        self.log = ["LOG:  starting PostgreSQL 15.8", line]
        return self.down()

    def waits(self, message: str = NO_MATCH) -> Facts:
        assert self.pod is not None
        self.pod |= {"status": "Unschedulable", "message": message, "ready": False, "node": None, "created": ago(40.0)}
        self.container |= {"state": "", "ready": False}
        self.log = None
        return self.down()

    def frames(self) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
        if not self.pods_seen:
            return None, None
        if self.pod is None:
            return pd.DataFrame(columns=["ready"]), pd.DataFrame(columns=["pod"])
        pods = pd.DataFrame([{"pod": "postgres-0", **self.pod}]).set_index("pod")
        done = {**self.container, "state": "terminated", "reason": "Completed", "exit_code": 0.0, "ready": True}
        done |= {"last_reason": None, "last_exit_code": math.nan, "last_finished": pd.NaT}
        if not self.container["state"]:
            done = self.container
        rows = [
            {"pod": "postgres-0", "container": "initdb", "prepares": True, **done},
            {"pod": "postgres-0", "container": "postgres", "prepares": False, **self.container},
        ]
        return pods, pd.DataFrame(rows)

    def df(self) -> dict[str, Any]:
        size = 224 * 1024
        used = round(self.used * size)
        text = DF.format(size=size, used=used, free=size - used, pct=round(100 * self.used))
        return {"output": text, "exit_code": 0}

    def diagnose(self) -> tuple[Verdict, dict[str, Any]]:
        """As the notebook asks, in its order."""
        case = Diagnosis(SimpleNamespace(unseen=[]), postgres_down.CAUSES)
        answers = self.server is not None and bool(self.server["answers"])
        pod = postgres_down.pod_state(*self.frames(), NOW)
        disk = postgres_down.volume(self.df()) if pod is not None and pod["runs"] else None
        rule = None if self.rule is None else {"holds": self.rule}
        words = None
        if pod is not None and pod["started"] and self.log is not None:
            log = pd.DataFrame({"time": [ago(self.told_s)] * len(self.log), "line": self.log})
            since = NOW - dt.timedelta(minutes=5) if answers else None
            words = postgres_down.last_words(None, log, since=since)
        space = postgres_down.space(words, disk, pod, answers=answers, full_pct=85.0)
        case.confirm(*postgres_down.symptom(self.server, rule, space, 32.0, pod))
        case.examine("pod-unschedulable", pod=pod)
        case.examine("disk-full", space=space)
        nothing = postgres_down.last_words(pd.DataFrame({"line": []}))
        never = nothing if pod is not None and not pod["started"] else None
        begun = None if pod is None or pod["begins"] else pod
        case.examine("pod-crash", pod=begun, words=words if words is not None else never)
        return case.verdict(), {"pod": pod, "space": space}
