"""A03 on facts as the probes tell them: each cause, none of them, and what could not be seen."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from opslib.diagnosis import postgres_down
from tests.diagnosis.postgres_facts import DF, NO_LIBRARY, NO_ROOM, Facts, ago
from tests.diagnosis.verdicts import likely


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
