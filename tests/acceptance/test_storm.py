"""A small storm while workers, server and PostgreSQL die; `python -m bench.storm` has the whole one."""

from __future__ import annotations

import pytest

from bench.storm import Plan, storm
from opslib import intake

pytestmark = pytest.mark.acceptance


def test_every_alert_of_a_storm_is_accounted_for_whatever_is_killed() -> None:
    plan = Plan(distinct=30, repeats=60, group=5, over_s=12.0, workers_killed=2, settle_s=900.0)
    found = storm(plan)
    assert found.totals["accepted"] == plan.distinct
    assert sum(found.totals[name] for name in intake.OUTCOMES) == plan.distinct
    assert found.totals["waiting"] == 0
    assert found.totals["repeats"] >= plan.repeats  # what was taken and not answered came again
    assert (found.mistakes, found.twice, found.altered) == ([], 0, [])
