"""A02 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest

from opslib.diagnosis import api_error_rate, api_errors, api_release, database
from opslib.errors import ProbeError
from opslib.probes.seen import Seen
from tests.diagnosis.api_error_facts import API, CASES, DATABASE, SERVICE, STORE, Facts, ago, bad_release
from tests.diagnosis.verdicts import likely

if TYPE_CHECKING:
    from opslib import Ops

NOT_AT_ONCE = {("database-down", other) for other in ("pool-exhausted", "slow-database")} | {
    ("pool-exhausted", "slow-database")
}


def broken(*causes: str, facts: Facts | None = None) -> Facts:
    facts = facts or Facts()
    for cause in causes:
        CASES[cause](facts)
    return facts


@pytest.mark.parametrize("cause", CASES)
def test_the_cause_is_named_alone(cause: str) -> None:
    verdict, _ = broken(cause).diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, cause, {cause}), verdict
    assert verdict.confidence > 0.8


@pytest.mark.parametrize("cause", [one for one in CASES if one != "bad-deployment"])
def test_a_roll_out_just_before_does_not_hide_the_cause(cause: str) -> None:
    facts = broken(cause)
    facts.revisions.insert(0, (60.0, "env LOG_LEVEL 'info' -> 'debug'"))
    verdict, _ = facts.diagnose()
    assert (verdict.cause, likely(verdict)) == (cause, {cause}), verdict


@pytest.mark.parametrize(
    "pair", [(a, b) for a in CASES for b in CASES if a < b and not {(a, b), (b, a)} & NOT_AT_ONCE], ids="+".join
)
def test_two_at_once_are_both_likely(pair: tuple[str, str]) -> None:
    verdict, _ = broken(*pair).diagnose()
    assert likely(verdict) == set(pair), verdict


def test_a_healthy_platform_has_no_cause() -> None:
    verdict, _ = Facts().diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])
    assert "0 % of requests fail (alert above 1 %" in verdict.summary


@pytest.mark.parametrize(
    ("label", "line"),
    [
        ("Cache unavailable", "Error 111 connecting to redis:6379. Connection refused."),
        ("Pricing failed", "no dividend, model or market for SPX (looked for 'SPX')"),
        ("Database connection failed", "Database connection failed: could not extend file: No space left on device"),
    ],
)
def test_what_is_no_known_cause_gets_no_name(label: str, line: str) -> None:
    verdict, _ = Facts().fails(label, 9.0, line).diagnose()
    assert verdict.cause == "none-of-these", verdict


def test_errors_that_began_before_the_release_are_not_of_it() -> None:
    facts = broken("bad-deployment")
    facts.revisions[0] = (facts.since_s - 20.0, "env RELEASE '2.4.0' -> '2.4.3'")
    assert facts.diagnose()[0].cause == "none-of-these"
    facts.revisions = [(50.0, "the first kept")]
    assert facts.diagnose()[0].cause == "none-of-these"
    restarted = broken("bad-deployment")
    restarted.revisions[0] = (52.0, "restarted at 2026-11-28T11:59:08Z")
    assert blamed(restarted) < 0.1


def blamed(facts: Facts) -> float:
    """How likely the last release is behind it."""
    return next(item.likelihood for item in facts.diagnose()[0].causes if item.key == "bad-deployment")


@pytest.mark.parametrize("changes", ["restarted at 2026-11-28T11:59:08Z", "annotation team changed", "nothing"])
def test_a_roll_out_that_changes_no_program_is_not_to_blame(changes: str) -> None:
    facts = broken("bad-deployment")
    facts.revisions[0] = (52.0, changes)
    verdict = facts.diagnose()[0]
    assert (verdict.cause, blamed(facts) < 0.1) == ("none-of-these", True), verdict


@pytest.mark.parametrize("restarted_s", [52.0, 10.0])
def test_a_restart_upon_a_bad_release_does_not_hide_it(restarted_s: float) -> None:
    facts = broken("bad-deployment")
    facts.revisions[0] = (70.0, "env RELEASE '2.4.0' -> '2.4.3'; annotation team changed")
    facts.revisions.insert(0, (restarted_s, "restarted at 2026-11-28T11:59:08Z"))
    verdict = facts.diagnose()[0]
    assert (verdict.cause, likely(verdict)) == ("bad-deployment", {"bad-deployment"}), verdict
    assert plan("bad-deployment", facts=facts) == [("kubernetes.undo-rollout", {"workload": API, "revision": 2})]


@pytest.mark.parametrize("before_s", [120.0, 200.0, 400.0, 3600.0])
def test_errors_that_began_long_after_a_release_are_not_of_it(before_s: float) -> None:
    facts = Facts().fails("Pricing failed", 25.0, "an error that nobody knows")
    facts.revisions.insert(0, (facts.since_s + before_s, "env RELEASE '2.4.0' -> '2.4.3'"))
    verdict = facts.diagnose()[0]
    assert verdict.cause == "none-of-these", verdict
    assert blamed(facts) < 0.5


def test_a_release_is_not_blamed_where_it_is_not_seen_when_the_errors_began() -> None:
    facts = broken("bad-deployment")
    facts.since_s, facts.revisions[0] = 2_000.0, (2_012.0, "env RELEASE '2.4.0' -> '2.4.3'")
    verdict = facts.diagnose()[0]
    assert (verdict.confirmed, verdict.cause) == (True, None), verdict


def rolled_back(pods_since_s: float) -> Facts:
    """A roll-back: its revision was made before the one that it took the place of, and its pods only now."""
    facts = broken("bad-deployment")
    facts.revisions[0] = (facts.revisions[1][0] + 60.0, "env RELEASE '2.4.3' -> '2.4.0'")
    facts.pods_since_s = pods_since_s
    return facts


@pytest.mark.parametrize("pods_since_s", [20.0, 600.0, 90_000.0])
def test_a_roll_back_after_the_errors_or_long_before_them_is_not_blamed(pods_since_s: float) -> None:
    verdict = rolled_back(pods_since_s).diagnose()[0]
    assert verdict.cause == "none-of-these", verdict


def test_a_roll_back_that_the_errors_followed_is_a_bad_release() -> None:
    facts = rolled_back(52.0)
    verdict = facts.diagnose()[0]
    assert (verdict.cause, likely(verdict)) == ("bad-deployment", {"bad-deployment"}), verdict
    assert "began 12 s after revision 3 was rolled back to" in verdict.causes[0].because
    assert plan("bad-deployment", facts=facts) == [("kubernetes.undo-rollout", {"workload": API, "revision": 2})]


def test_a_release_that_cannot_reach_the_database_is_a_bad_one() -> None:
    facts = Facts().fails("Database connection failed", 50.0, "Database connection failed: password authentication")
    facts.revisions.insert(0, (52.0, "env POSTGRES_URL changed"))
    assert facts.diagnose()[0].cause == "bad-deployment"


def test_a_slow_database_without_a_lock_is_slow_too() -> None:
    facts = Facts().fails("Database timeout", 12.0)
    facts.statement_ms = 380.0
    assert facts.diagnose()[0].cause == "slow-database"


def test_a_crashed_database_is_down_and_a_full_one_is_not() -> None:
    facts = broken("database-down")
    facts.desired = 1.0
    assert facts.diagnose()[0].cause == "database-down"
    few = Facts().fails("Database connection failed", 5.0)
    few.used, few.refused = 30.0, 0
    assert few.diagnose()[0].cause == "none-of-these"


def test_a_card_that_others_fill_is_told_by_what_is_free() -> None:
    facts = Facts().fails(
        "CUDA out of memory", 4.0, "CUDA out of memory. Tried to allocate 300.00 MiB (GPU 0; 16.00 GiB total capacity)"
    )
    assert facts.stats is not None
    facts.stats["gpu"]["memory_free_mib"] = 10.0
    verdict, found = facts.diagnose()
    assert verdict.cause == "cuda-out-of-memory"
    assert found["card"]["room"] == pytest.approx(46.0)


@pytest.mark.parametrize("cause", CASES)
def test_without_prometheus_the_log_tells(cause: str) -> None:
    facts = broken(cause)
    facts.prometheus, facts.up = False, math.nan
    verdict, _ = facts.diagnose()
    assert "errors a minute" in verdict.summary
    if cause == "bad-deployment":  # nothing but the share tells it from the errors that there always are
        assert (verdict.confirmed, verdict.summary.startswith("Not known")) == (False, True)
    else:
        assert (verdict.confirmed, verdict.cause) == (True, cause), verdict


def test_errors_in_the_log_whose_share_is_not_seen_confirm_nothing() -> None:
    facts = Facts().fails("Pricing failed", 0.05)
    facts.said *= 8  # of very many requests
    facts.prometheus = False
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (False, None, 0.0)
    assert verdict.summary.startswith("Not known: the service logs 96.0 errors a minute")


@pytest.mark.parametrize(("pct", "confirmed"), [(0.05, False), (25.0, True)])
def test_without_the_rule_the_share_itself_tells(pct: float, confirmed: bool) -> None:
    facts = Facts()
    bad_release(facts)
    facts.pct, facts.rule = {"Pricing failed": pct}, False
    verdict, _ = facts.diagnose()
    assert verdict.confirmed is confirmed
    assert f"{pct:.2g} % of requests fail" in verdict.summary


def test_a_look_at_the_database_that_fails_while_others_find_it_there_is_unseen() -> None:
    def told(there: bool, **answer: Any) -> list[str]:
        ops = SimpleNamespace(unseen=[])
        database.doubted(cast("Ops", ops), Seen({"full": False, "why": "not allowed", **answer}), there=there)
        return ops.unseen

    assert told(True, answers=False) == ["the database itself (not allowed)"]
    assert told(False, answers=False) == told(True, answers=True) == told(True, answers=False, full=True) == []


@pytest.mark.parametrize("missing", ["stats", "logs", "server"])
@pytest.mark.parametrize("cause", CASES)
def test_what_is_missing_never_gives_a_wrong_name(cause: str, missing: str) -> None:
    facts = broken(cause)
    setattr(facts, missing, False if missing == "logs" else None)
    verdict, _ = facts.diagnose()
    assert verdict.confirmed
    assert likely(verdict) <= {cause}, verdict


def test_nothing_seen_is_not_known() -> None:
    facts = broken("stale-cache")
    facts.prometheus = facts.logs = False
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause) == (False, None)
    assert verdict.summary.startswith("Not known")


def plan(*causes: str, facts: Facts | None = None) -> list[Any]:
    facts = facts or broken(*causes)
    _, found = facts.diagnose()
    return api_error_rate.fixes(
        causes,
        service=SERVICE,
        store=STORE,
        pods=facts.pods(),
        scaling=facts.scaling(found["slots"]),
        **{name: found[name] for name in ("database", "card", "slots", "waits", "rollout", "entries")},
    )


def test_each_cause_has_the_seeds_fix_and_no_more() -> None:
    [(action, arguments)] = plan("cuda-out-of-memory")
    assert (action, arguments["variable"], arguments["value"]) == ("kubernetes.set-env", "GREEKS_BATCH", "219")
    assert plan("database-down") == [("kubernetes.scale", {"workload": DATABASE, "replicas": 1})]
    [(action, arguments)] = plan("pool-exhausted")
    assert (action, arguments["name"], arguments["value"]) == ("kubernetes.set-argument", "max_connections", "80")
    assert plan("bad-deployment") == [("kubernetes.undo-rollout", {"workload": API, "revision": 2})]
    assert plan("stale-cache") == [("redis.flush-pattern", {"pattern": "greeks:*", "endless": True, "until": "alert"})]
    (end, ended), stop = plan("slow-database")
    assert (end, [one["pid"] for one in ended["sessions"]]) == ("postgres.terminate-sessions", [77])
    assert stop == ("kubernetes.stop", {"workload": "deployment/schema-migration"})


def test_a_fix_that_cannot_be_aimed_is_not_proposed() -> None:
    small = broken("cuda-out-of-memory")
    assert small.stats is not None
    small.stats["greeks_engine"]["batch"] = 100
    assert plan("cuda-out-of-memory", facts=small) == [("kubernetes.restart", {"workload": API})]
    crashed = broken("database-down")
    crashed.desired = 1.0
    assert plan("database-down", facts=crashed) == []
    blind = broken("pool-exhausted")
    blind.prometheus = False
    assert plan("pool-exhausted", facts=blind) == []
    own = broken("slow-database")
    own.holders[0]["application"] = "derivatives-api"
    assert [action for action, _ in plan("slow-database", facts=own)] == ["postgres.terminate-sessions"]
    free = Facts().fails("Database timeout", 12.0)
    assert plan("slow-database", facts=free) == [("kubernetes.scale", {"workload": API, "replicas": 10})]


def test_a_slow_database_gets_more_pods_only_where_it_has_connections_for_them() -> None:
    facts = Facts().fails("Database timeout", 12.0)
    facts.own, facts.used = 5, 9.0  # 8 pods more take 20: 29 of 37, where 29.6 may be in use
    assert plan("slow-database", facts=facts) == [("kubernetes.scale", {"workload": API, "replicas": 10})]
    assert "8 more pods take about 20 connections; 9 of 37 are in use" in facts.scaling(facts.facts()["slots"])["says"]
    facts.used = 10.0
    assert plan("slow-database", facts=facts) == []
    assert "the database would run out" in facts.scaling(facts.facts()["slots"])["says"]
    facts.used, facts.own = 9.0, 0  # nobody says who it is: all may be of the service
    assert plan("slow-database", facts=facts) == []
    facts.own, facts.replicas = 5, 12.0
    assert plan("slow-database", facts=facts) == []
    facts.replicas, facts.prometheus = 2.0, False
    assert plan("slow-database", facts=facts) == []
    assert "was not seen" in facts.scaling(facts.facts()["slots"])["says"]


def test_when_the_errors_began() -> None:
    facts = broken("bad-deployment")
    series = facts.series()
    assert series is not None
    assert api_release.onset(series, api_errors.OWN) == (ago(40.0), True)
    assert api_release.onset(series, "stale cache") == (None, False)
    assert api_release.onset(series[series.index >= ago(30.0)], api_errors.OWN) == (ago(30.0), False)
    series.loc[ago(20.0), "Pricing failed"] = 0.0
    assert api_release.onset(series, api_errors.OWN) == (ago(40.0), True)
    series.loc[ago(20.0) : ago(10.0), "Pricing failed"] = 0.0
    assert api_release.onset(series, api_errors.OWN) == (ago(5.0), True)


def test_a_release_is_named_whose_errors_are_the_first_of_all() -> None:
    facts = broken("bad-deployment")
    whole = facts.series

    def born_with_its_first_error() -> pd.DataFrame | None:
        series = whole()
        return None if series is None else series[series["Pricing failed"] > 0]

    facts.series = born_with_its_first_error  # type: ignore[method-assign]
    verdict = facts.diagnose()[0]
    assert verdict.cause == "bad-deployment", verdict


def test_the_pods_of_the_database_alone_are_counted() -> None:
    pods = pd.DataFrame({"workload": [API, API, DATABASE], "ready": [True, True, False]})
    workloads = pd.DataFrame({"desired": [2, 1], "ready": [2, 0]}, index=[API, DATABASE])
    pods.attrs["evidence"] = "E1"
    found = database.workload(workloads, pods, DATABASE, 0.0)
    assert (found["desired"], found["ready"], found["up"], found.evidence) == (1.0, 0.0, 0.0, ("E1",))
    assert database.workload(workloads, None, DATABASE)["ready"] == 0.0
    assert math.isnan(database.workload(None, None, DATABASE)["ready"])


def test_a_refusal_for_want_of_slots_is_told_from_silence() -> None:
    def refuse(why: str) -> Seen:
        def ask() -> Seen:
            raise ProbeError(why, evidence="E7")

        return database.asked(ask)

    full = refuse("postgres: every connection but the reserved ones is taken (too many clients)")
    assert (full["answers"], full["full"], full.evidence) == (False, True, "E7")
    away = refuse("postgres at 127.0.0.1:5: connection failed: connection to server failed: connection refused")
    assert (away["full"], away["why"]) == (False, "connection refused")
    assert database.asked(lambda: Seen(answers=True))["full"] is False


def test_the_largest_batch_fits() -> None:
    assert api_error_rate.largest_batch(488.0, 2.0) == 219
    assert api_error_rate.largest_batch(1.0, 2.0) == 1
