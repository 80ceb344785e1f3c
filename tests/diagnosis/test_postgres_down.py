"""A03 on facts as the probes tell them: each cause, none of them, and what could not be seen."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import Diagnosis, Verdict, postgres_down
from opslib.diagnosis import postgres_down_fixes as mending

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
ALL_SHUT = "0/2 nodes are available: 2 node(s) were unschedulable. preemption: 0/2 nodes are available."
ONE_SHUT = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."
OWN_TAINT = "node.kubernetes.io/unschedulable:NoSchedule"
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
    for rule in (False, None):
        facts = Facts()
        facts.rule = rule
        verdict, _ = facts.diagnose()
        assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])
    facts.server = {"answers": False, "full": True, "why": "too many clients"}
    verdict, _ = facts.diagnose()
    assert verdict.confirmed is False
    assert "see api-error-rate" in verdict.summary


@pytest.mark.parametrize("full", [False, True])
def test_something_is_wrong_while_the_alerts_condition_holds(full: bool) -> None:
    facts = Facts()
    facts.rule = True
    if full:
        facts.server = {"answers": False, "full": True, "why": "too many clients"}
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "none-of-these", set()), verdict
    said = "takes no more connections" if full else "answers us within 9 ms, but the alert's condition holds"
    assert said in verdict.summary


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


@pytest.mark.parametrize(("rule", "pods_seen"), [(False, True), (None, True), (False, False)])
def test_a_look_of_ours_that_fails_is_no_database_that_is_down(rule: bool | None, pods_seen: bool) -> None:
    facts = Facts()
    facts.server = {"answers": False, "full": False, "why": "no right to connect"}
    facts.rule, facts.pods_seen = rule, pods_seen
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (False, None, 0.0), verdict
    assert verdict.summary.startswith("Not known: PostgreSQL could not be asked (no right to connect)")


@pytest.mark.parametrize("rule", [True, False, None])
def test_a_database_that_is_down_is_so_with_and_without_its_alert(rule: bool | None) -> None:
    facts = Facts().ends("Error", 1, NO_LIBRARY)
    facts.rule = rule
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause) == (True, "pod-crash"), verdict


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


NODES = pd.DataFrame(
    {
        "node": ["node-1", "node-2"], "cordoned": [False, True], "ready": [True, True], "taints": [None, OWN_TAINT],
        "cpu": [4.0, 4.0], "cpu_requested": [3.9, 1.0], "memory": [8e9, 8e9], "memory_requested": [1e9, 1e9],
    }
).set_index("node")  # fmt: skip


def plan(facts: Facts, *causes: str, **other: Any) -> list[Any]:
    database = other.pop("database", DATABASE)
    _, found = facts.diagnose()
    given = {"changed": "", "nodes": NODES, "memory_mib": 384.0, **found}
    return mending.fixes(causes, database=database, **{**given, **other})


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
    grown = {**workload, "container": "volume", "variable": "VOLUME_MIB", "value": "448"}
    assert plan(full, "disk-full") == [("kubernetes.set-env", grown)]
    assert plan(crashed, "pod-crash", "pod-unschedulable", changed="x") == back


@pytest.mark.parametrize("message", [ALL_SHUT, ONE_SHUT])
def test_a_node_is_opened_only_with_the_word_of_who_cordoned_it(message: str) -> None:
    facts = Facts().waits(message)
    opened = plan(facts, "pod-unschedulable")
    assert opened == [("kubernetes.uncordon", {"node": "node-2"})]
    told = mending.to_know(["pod-unschedulable"], opened, database=DATABASE, pod=facts.diagnose()[1]["pod"])
    assert told.startswith("node-2 was cordoned by somebody, maybe for maintenance: ask them before")
    assert plan(facts, "pod-unschedulable", changed="postgres: env TZ none -> 'UTC'") == opened
    back = [("kubernetes.undo-rollout", {"workload": "statefulset/postgres"})]
    by_change = [] if message == ONE_SHUT else opened
    assert plan(facts, "pod-unschedulable", changed="postgres: requests.cpu 1 -> 64") == (by_change or back)


@pytest.mark.parametrize(
    ("message", "nodes"),
    [
        (NO_MATCH, NODES),
        ("0/2 nodes are available: 2 Insufficient cpu.", NODES),
        ("", NODES),
        (ALL_SHUT, None),
        (ALL_SHUT, NODES.assign(ready=[True, False])),
        (ALL_SHUT, NODES.assign(taints=[None, f"maintenance:NoExecute, {OWN_TAINT}"])),
        (ONE_SHUT, NODES.assign(cpu_requested=[3.9, 3.9])),
    ],
)
def test_no_node_is_opened_where_that_would_not_place_the_pod(message: str, nodes: pd.DataFrame | None) -> None:
    facts = Facts().waits(message)
    assert plan(facts, "pod-unschedulable", nodes=nodes) == []
    told = mending.to_know(["pod-unschedulable"], [], database=DATABASE, pod=facts.diagnose()[1]["pod"])
    assert told.startswith("Nothing here finds the pod a node; escalate")
    assert (message.rstrip(".") or "no word of why") in told


DELETE = (
    "postgres.delete-old-rows",
    {"table": "greeks_history", "column": "timestamp", "older_than_days": 30.0, "reason": "its volume is full"},
)


@pytest.mark.parametrize("used", [0.8501, 0.856])
def test_a_volume_that_is_too_full_while_it_answers_is_emptied_of_old_history(used: float) -> None:
    facts = Facts()
    facts.used = used
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "disk-full", {"disk-full"}), verdict
    steps = plan(facts, *likely(verdict))
    assert steps == [DELETE]
    assert "room to greeks_history, not to the disk" in mending.to_know(
        ["disk-full"], steps, database=DATABASE, pod=None
    )
    facts.used = 0.84
    assert facts.diagnose()[0].confirmed is False


def test_a_lack_of_space_counts_that_its_log_told_of_a_moment_ago() -> None:
    facts = Facts()
    facts.log = ["LOG:  ready", 'ERROR:  could not extend file "base/1/2": No space left on device']
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "disk-full", {"disk-full"}), verdict
    assert plan(facts, *likely(verdict)) == [DELETE]
    facts.told_s = 900.0
    assert facts.diagnose()[0].confirmed is False
    facts.told_s = 20.0
    facts.log = ['ERROR:  could not resize shared memory segment "/PostgreSQL.1": No space left on device']
    assert facts.diagnose()[0].confirmed is False  # another file system, in the memory


def test_rows_are_deleted_only_where_there_is_room_for_the_wal() -> None:
    facts = Facts()
    facts.used = 0.99
    verdict, _ = facts.diagnose()
    assert [action for action, _ in plan(facts, *likely(verdict))] == ["kubernetes.set-env"]


@pytest.mark.parametrize("answers", [True, False])
def test_a_full_volume_that_nothing_here_grows_is_escalated(answers: bool) -> None:
    claim = dataclasses.replace(DATABASE, volume_container="", volume_variable="")
    facts = Facts() if answers else Facts().ends("Error", 1, NO_ROOM)
    facts.used = 0.99
    verdict, found = facts.diagnose()
    assert verdict.cause == "disk-full"
    assert plan(facts, "disk-full", database=claim) == []
    told = mending.to_know(["disk-full"], [], database=claim, pod=found["pod"])
    assert "escalate: have it grown" in told
    assert "until 32 MiB are free for the WAL" in told


HISTORY = pd.DataFrame(
    {
        "revision": [3, 2],
        "current": [True, False],
        "created": [ago(60.0), ago(9000.0)],
        "changes": ["postgres: args changed", "nothing"],
    }
)
MADE = {"kind": "statefulset", "name": "postgres", "time": ago(60.0), "what": "revision 3: args changed"}
OTHER = {"kind": "deployment", "name": "market-data", "time": ago(30.0), "what": "revision 9: annotation changed"}
CHANGES = pd.DataFrame([OTHER, MADE])


TIMES = pd.DatetimeIndex([ago(seconds) for seconds in range(3600, -1, -15)])
ALWAYS_UP = pd.DataFrame({"up": 1.0}, index=TIMES)


def lately(changes: pd.DataFrame | None = CHANGES, history: pd.DataFrame | None = HISTORY, **more: Any) -> str:
    given = {"up": None, "pod": None, "now": NOW, "settled_s": 300.0, **more}
    return mending.changed_lately(changes, history, "postgres", **given)


def test_a_change_counts_where_it_was_made_lately_and_can_be_taken_back() -> None:
    assert lately() == "postgres: args changed"
    assert lately(CHANGES[:1]) == ""
    assert lately(CHANGES, HISTORY[:1]) == ""
    assert lately(None) == ""
    assert lately(CHANGES, HISTORY.assign(created=[ago(9000.0), ago(60.0)])) == ""
    assert lately(pd.DataFrame([{**MADE, "what": "revision 1: first revision that is kept"}])) == ""
    assert lately(pd.DataFrame([{**MADE, "what": "edited (replicas)"}])) == ""
    assert mending.changes_of(CHANGES, "postgres", NOW - dt.timedelta(seconds=90)) == {
        "revision 3": ago(60.0).to_pydatetime()
    }


def test_a_change_that_was_made_once_before_and_comes_again_counts() -> None:
    history = HISTORY.assign(created=[ago(9000.0), ago(90_000.0)])  # Kubernetes keeps the time of an equal revision
    long_ago = {**MADE, "time": ago(9000.0)}
    assert lately(pd.DataFrame([long_ago]), history, up=ALWAYS_UP) == ""
    edited = {**MADE, "what": "edited (replicas, template)", "time": ago(60.0)}
    assert lately(pd.DataFrame([edited, long_ago]), history, up=ALWAYS_UP) == "postgres: args changed"


@pytest.mark.parametrize("what", ["annotation team changed", "restarted at 2026-11-28T11:59:00Z", "nothing"])
def test_a_change_of_annotations_alone_is_not_taken_back(what: str) -> None:
    assert lately(history=HISTORY.assign(changes=[what, "nothing"])) == ""
    assert lately(history=HISTORY.assign(changes=[f"postgres: image a -> b; {what}", "nothing"])) != ""


def test_a_change_with_which_it_was_there_for_a_good_while_is_not_taken_back() -> None:
    at = ago(6000.0)
    history = HISTORY.assign(created=[at, ago(90_000.0)])
    changes = pd.DataFrame([{**MADE, "time": at}])
    times = pd.DatetimeIndex([ago(seconds) for seconds in range(3600, -1, -15)])
    up = pd.DataFrame({"up": [float(time < ago(60.0)) for time in times]}, index=times)
    assert lately(changes, history, up=up) == ""
    down = up.assign(up=[float(place % 12 == 0) for place in range(len(times))])  # it comes and goes
    assert lately(changes, history, up=down) == "postgres: args changed"
    young = pd.DataFrame([{**MADE, "time": ago(90.0)}])
    assert lately(young, HISTORY, up=up.assign(up=1.0)) == "postgres: args changed"


def test_without_its_exporter_the_first_run_of_its_pod_tells_whether_a_change_works() -> None:
    history = HISTORY.assign(created=[ago(6000.0), ago(90_000.0)])
    changes = pd.DataFrame([{**MADE, "time": ago(6000.0)}])
    for restarts, ended_s, created_s, said in (
        (1, 40.0, 5990.0, ""),
        (1, 5980.0, 5990.0, "postgres: args changed"),
        (5, 40.0, 5990.0, "postgres: args changed"),
        (1, 40.0, 86_400.0, "postgres: args changed"),
    ):
        facts = Facts().ends("OOMKilled", 137, "", restarts=restarts)
        assert facts.pod is not None
        for one in (facts.pod, facts.container):
            one["last_finished"] = ago(ended_s)
        facts.pod["created"] = ago(created_s)
        assert lately(changes, history, pod=facts.diagnose()[1]["pod"]) == said, (restarts, ended_s, created_s)


def test_a_server_that_started_a_moment_ago_may_be_coming_up() -> None:
    facts = Facts().down()
    assert "coming up" not in facts.diagnose()[0].summary
    facts.container |= {"since": ago(2.0), "ready": False}
    assert facts.pod is not None
    facts.pod["ready"] = False
    told = facts.diagnose()[0].summary
    assert "its container runs since 2 s, and may be coming up: look again before all else. None of the known" in told


@pytest.mark.parametrize(("age_s", "begins"), [(5.0, True), (600.0, False)])
def test_of_a_pod_that_is_just_being_made_nothing_is_concluded(age_s: float, begins: bool) -> None:
    facts = Facts().down()
    assert facts.pod is not None
    facts.pod |= {"ready": False, "created": ago(age_s), "status": "PodInitializing", "restarts": 0}
    facts.pod |= {"last_reason": None, "last_exit_code": math.nan, "last_finished": None}
    facts.container = {
        **dict.fromkeys(facts.container),
        "state": "waiting",
        "reason": "PodInitializing",
        "ready": False,
    }
    facts.log = None
    verdict, seen = facts.diagnose()
    assert seen["pod"]["begins"] == begins
    assert verdict.cause == (None if begins else "none-of-these")
    assert postgres_down.look_again(seen["pod"], wait_s=0.0) == begins


def test_a_pod_that_is_taken_away_is_no_crash() -> None:
    facts = Facts().ends("Error", 137, "", restarts=0)
    assert likely(facts.diagnose()[0]) == {"pod-crash"}
    assert facts.pod is not None
    facts.pod["status"] = "Terminating"
    verdict, seen = facts.diagnose()
    assert (verdict.cause, seen["pod"]["begins"]) == (None, True)


def test_an_exporter_that_missed_one_look_is_no_alarm() -> None:
    case = Facts()
    answers = {"answers": True, "took_ms": 4.0, "full": False}
    for state, confirmed in (("pending", False), ("firing", True)):
        rule = {"holds": True, "state": state}
        assert postgres_down.symptom(answers, rule, None, 32.0, case.diagnose()[1]["pod"])[0] == confirmed


def test_the_last_words_come_without_the_time_stamp_of_the_log() -> None:
    line = '2026-11-28 20:43:38.134 UTC [1] FATAL:  could not write lock file "postmaster.pid": No space left on device'
    words = postgres_down.last_words(pd.DataFrame({"line": [line]}))
    assert words is not None
    assert words["line"] == 'FATAL: could not write lock file "postmaster.pid": No space left on device'
