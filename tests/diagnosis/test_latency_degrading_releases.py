"""A05 on roll-outs as the probes tell them: which release is to blame, which is not, and which came back."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from opslib.diagnosis import latency_degrading
from tests.diagnosis.derivatives_facts import BEFORE, NAME, REVISION, WORKLOAD, noisy, over_time
from tests.diagnosis.latency_facts import Case, leaking, released, step
from tests.diagnosis.verdicts import likely


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
