"""A03 on facts as the probes tell them: each cause, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

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
        }  # fmt: skip
        self.container: dict[str, Any] = {
            "state": "running", "reason": None, "exit_code": math.nan, "last_reason": None, "last_exit_code": math.nan,
            "last_finished": pd.NaT, "ready": True, "since": ago(86_400.0),
        }  # fmt: skip
        self.log: list[str] | None = ["LOG:  database system is ready to accept connections"]
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

    def waits(self) -> Facts:
        message = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity."
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
        case = Diagnosis(SimpleNamespace(unseen=[]), postgres_down.CAUSES)
        pod = postgres_down.pod_state(*self.frames(), NOW)
        disk = postgres_down.volume(self.df()) if pod is not None and pod["runs"] else None
        rule = None if self.rule is None else {"holds": self.rule}
        case.confirm(*postgres_down.symptom(self.server, rule, disk, 32.0, pod))
        words = None
        if pod is not None and pod["started"] and self.log is not None:
            words = postgres_down.last_words(None, pd.DataFrame({"line": self.log}))
        space = postgres_down.space(words, disk, pod)
        case.examine("pod-unschedulable", pod=pod)
        case.examine("disk-full", space=space)
        nothing = postgres_down.last_words(pd.DataFrame({"line": []}))
        never = nothing if pod is not None and not pod["started"] else None
        case.examine("pod-crash", pod=pod, words=words if words is not None else never)
        return case.verdict(), {"pod": pod, "space": space}


def likely(verdict: Verdict) -> set[str]:
    return {item.key for item in verdict.causes if item.likelihood > 0.5}


@pytest.mark.parametrize(
    ("cause", "facts"),
    [
        ("pod-crash", Facts().ends("Error", 1, NO_LIBRARY)),
        ("pod-crash", Facts().ends("OOMKilled", 137, "LOG:  starting PostgreSQL 15.8")),
        ("pod-crash", Facts().ends("Error", 1, NO_LIBRARY, restarts=1)),
        ("disk-full", Facts().ends("Error", 1, NO_ROOM)),
        ("disk-full", Facts().ends("Error", 1, "PANIC:  could not write to file: No space left on device")),
        ("pod-unschedulable", Facts().waits()),
    ],
)
def test_the_cause_is_named_alone(cause: str, facts: Facts) -> None:
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, cause, {cause}), verdict
    assert verdict.confidence > 0.8


def test_a_container_between_two_ends_is_crashing() -> None:
    facts = Facts().ends("OOMKilled", 137, "LOG:  starting")
    facts.container |= {"state": "running", "reason": None}
    assert facts.pod is not None
    facts.pod["status"] = "NotReady"
    verdict, _ = facts.diagnose()
    assert verdict.cause == "pod-crash", verdict


def test_a_first_end_without_a_restart_yet_is_a_crash() -> None:
    facts = Facts().ends("Error", 1, NO_LIBRARY, restarts=0)
    ended = {"state": "terminated", "reason": "Error", "exit_code": 1.0, "last_reason": None}
    facts.container |= {**ended, "last_exit_code": math.nan, "last_finished": pd.NaT}
    assert facts.pod is not None
    facts.pod |= {"last_reason": None, "last_exit_code": math.nan, "last_finished": pd.NaT, "status": "Error"}
    verdict, _ = facts.diagnose()
    assert verdict.cause == "pod-crash", verdict


def test_killed_for_memory_on_a_full_volume_is_both() -> None:
    verdict, _ = Facts().ends("OOMKilled", 137, NO_ROOM).diagnose()
    assert likely(verdict) == {"pod-crash", "disk-full"}


def test_a_full_volume_while_it_still_answers() -> None:
    facts = Facts()
    facts.used, facts.log = 0.999, ['ERROR:  could not extend file "base/1/2": No space left on device']
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "disk-full", {"disk-full"}), verdict
    assert "writes fail" in verdict.summary


def test_a_healthy_database_has_no_cause() -> None:
    for rule in (False, True, None):
        facts = Facts()
        facts.rule = rule
        verdict, _ = facts.diagnose()
        assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])
    facts.server = {"answers": False, "full": True, "why": "too many clients"}
    verdict, _ = facts.diagnose()
    assert verdict.confirmed is False
    assert "see api-error-rate" in verdict.summary


def test_what_is_no_known_cause_gets_no_name() -> None:
    gone = Facts().down()
    gone.pod = None
    assert gone.diagnose()[0].cause == "none-of-these"
    unreachable = Facts().down()
    assert unreachable.diagnose()[0].cause == "none-of-these"
    image = Facts().waits()
    assert image.pod is not None
    image.pod |= {"status": "ImagePullBackOff", "message": "Back-off pulling image", "node": "node-1"}
    image.container |= {"state": "waiting", "reason": "ImagePullBackOff"}
    assert image.diagnose()[0].cause == "none-of-these"


@pytest.mark.parametrize("facts", [Facts().ends("Error", 1, NO_LIBRARY), Facts().ends("Error", 1, NO_ROOM)])
def test_without_a_log_crash_and_full_volume_are_not_told_apart(facts: Facts) -> None:
    facts.log = None
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause) == (True, None), verdict
    assert "not everything that could tell it was seen" in verdict.summary


def test_without_kubernetes_the_cause_is_not_known() -> None:
    facts = Facts().down()
    facts.pods_seen = False
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)
    facts.server = facts.rule = None
    verdict, _ = facts.diagnose()
    assert verdict.summary.startswith("Not known")
    facts.rule = True
    assert facts.diagnose()[0].confirmed is True


def test_a_file_system_is_read_or_not_seen() -> None:
    found = postgres_down.volume({"output": DF.format(size=1024, used=512, free=512, pct=50), "exit_code": 0})
    assert found is not None
    assert (found["size_mib"], found["free_mib"], found["used"], found["path"]) == (1.0, 0.5, 0.5, "/data")
    assert postgres_down.volume({"output": "df: /data: No such file or directory", "exit_code": 1}) is None
    assert postgres_down.volume({"output": "", "exit_code": 0}) is None
    assert postgres_down.volume(None) is None


def plan(facts: Facts, *causes: str, **other: Any) -> list[Any]:
    _, found = facts.diagnose()
    nodes = pd.DataFrame({"node": ["node-1", "node-2"], "cordoned": [False, True]}).set_index("node")
    given = {"changed": "", "nodes": nodes, "memory_mib": 384.0, "answers": False, **found}
    return postgres_down.fixes(causes, database=DATABASE, **{**given, **other})


def test_each_cause_has_the_seeds_fix_and_no_more() -> None:
    workload = {"workload": "statefulset/postgres"}
    back = [("kubernetes.undo-rollout", workload)]
    crashed, killed, full = (
        Facts().ends("Error", 1, NO_LIBRARY),
        Facts().ends("OOMKilled", 137, ""),
        Facts().ends("Error", 1, NO_ROOM),
    )
    assert plan(crashed, "pod-crash", changed="postgres: args changed") == back
    assert plan(crashed, "pod-crash") == [("kubernetes.delete-pod", {"pod": "postgres-0"})]
    assert plan(killed, "pod-crash") == [
        ("kubernetes.set-resources", {**workload, "container": "postgres", "limits": {"memory": "768Mi"}})
    ]
    assert plan(Facts().waits(), "pod-unschedulable", changed="nodeSelector changed") == back
    assert plan(Facts().waits(), "pod-unschedulable") == [("kubernetes.uncordon", {"node": "node-2"})]
    assert plan(Facts().waits(), "pod-unschedulable", nodes=None) == []
    grown = {**workload, "container": "volume", "variable": "VOLUME_MIB", "value": "448"}
    assert plan(full, "disk-full") == [("kubernetes.set-env", grown)]
    assert plan(crashed, "pod-crash", "pod-unschedulable", changed="x") == back


def test_rows_are_deleted_only_where_there_is_room_for_the_wal() -> None:
    facts = Facts()
    facts.used = 0.8
    assert plan(facts, "disk-full", answers=True) == [
        (
            "postgres.delete-old-rows",
            {"table": "greeks_history", "column": "timestamp", "older_than_days": 30.0, "reason": "its volume is full"},
        )
    ]
    facts.used = 0.99
    assert [action for action, _ in plan(facts, "disk-full", answers=True)] == ["kubernetes.set-env"]


def test_a_change_counts_where_it_was_made_lately_and_can_be_taken_back() -> None:
    history = pd.DataFrame(
        {
            "revision": [3, 2],
            "current": [True, False],
            "created": [ago(60.0), ago(9000.0)],
            "changes": ["args changed", "nothing"],
        }
    )
    made = {"kind": "statefulset", "name": "postgres", "time": ago(60.0), "what": "revision 3: args changed"}
    other = {"kind": "deployment", "name": "market-data", "time": ago(30.0), "what": "revision 9: annotation changed"}
    changes = pd.DataFrame([other, made])
    assert postgres_down.changed_lately(changes, history, "postgres") == "args changed"
    assert postgres_down.changed_lately(changes[:1], history, "postgres") == ""
    assert postgres_down.changed_lately(changes, history[:1], "postgres") == ""
    assert postgres_down.changed_lately(None, history, "postgres") == ""
    back = history.assign(created=[ago(9000.0), ago(60.0)])
    assert postgres_down.changed_lately(changes, back, "postgres") == ""
    first = pd.DataFrame([{**made, "what": "revision 1: first revision that is kept"}])
    assert postgres_down.changed_lately(first, history, "postgres") == ""
    assert postgres_down.changes_of(changes, "postgres", NOW - dt.timedelta(seconds=90)) == {
        "revision 3: args changed": ago(60.0).to_pydatetime()
    }


def test_a_server_that_started_a_moment_ago_may_be_coming_up() -> None:
    facts = Facts().down()
    assert "coming up" not in facts.diagnose()[0].summary
    facts.container |= {"since": ago(2.0), "ready": False}
    assert facts.pod is not None
    facts.pod["ready"] = False
    told = facts.diagnose()[0].summary
    assert "its container runs since 2 s, and may be coming up: look again before all else. None of the known" in told


def test_the_last_words_come_without_the_time_stamp_of_the_log() -> None:
    line = '2026-11-28 20:43:38.134 UTC [1] FATAL:  could not write lock file "postmaster.pid": No space left on device'
    words = postgres_down.last_words(pd.DataFrame({"line": [line]}))
    assert words is not None
    assert words["line"] == 'FATAL: could not write lock file "postmaster.pid": No space left on device'
