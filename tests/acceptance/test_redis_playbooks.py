"""A12 and A23 the whole way: each fault is named by the playbook, with the seed's fix; healthy there is nothing."""

from __future__ import annotations

import pytest

from opslib import web
from tests.acceptance.conftest import Installation

pytestmark = pytest.mark.acceptance

LATENCY = {
    "memory-swapping": "redis.set-configuration",
    "network": "redis.fail-over",
    "slow-commands": "redis.trim-series",
    "too-many-clients": "redis.kill-clients",
}
DASHBOARD = {
    "datasource-wrong": "dashboards.set-datasource",
    "module-missing": "dashboards.restore-version",
    "redis-empty": "redis.kill-clients",
    "writer-down": "crypto.set-series-writer",
}


def p99_us(installation: Installation) -> float:
    """What the platform says of its Redis; a machine that is busy with other things makes it slow as well."""
    api = installation.json("sandbox", "status")["platforms"]["crypto"]["api"]
    store = web.get(f"{api}/api/status", timeout=20).json()["store"]
    return float(store["p99_us"] or 1e9)


@pytest.mark.alone
def test_each_reason_for_a_slow_redis_is_named(installation: Installation) -> None:
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    installation.runbook("sandbox", "heal")
    before = p99_us(installation)
    healthy = installation.json("run", "redis-latency", "--platform", "crypto")["verdict"]
    assert healthy["cause"] in (None, "none-of-these")
    assert healthy["plan"] is None
    if max(before, p99_us(installation)) < 4000:
        assert healthy["confirmed"] is False
    for number, (cause, action) in enumerate(LATENCY.items()):
        installation.runbook("sandbox", "break", f"redis-latency/{cause}", "--seed", str(number), "--decoys", "1")
        verdict = installation.json("run", "redis-latency", "--platform", "crypto")["verdict"]
        assert verdict["cause"] == cause, verdict
        assert verdict["plan"]["actions"][0]["action"] == action
        installation.runbook("sandbox", "heal")


def test_each_reason_for_an_empty_dashboard_is_named(installation: Installation) -> None:
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    installation.runbook("sandbox", "heal")
    healthy = installation.json("run", "dashboard-no-data", "--platform", "crypto")["verdict"]
    assert (healthy["confirmed"], healthy["cause"], healthy["plan"]) == (False, None, None)
    for number, (cause, action) in enumerate(DASHBOARD.items()):
        installation.runbook("sandbox", "break", f"dashboard-no-data/{cause}", "--seed", str(number), "--decoys", "1")
        verdict = installation.json("run", "dashboard-no-data", "--platform", "crypto")["verdict"]
        assert verdict["cause"] == cause, verdict
        assert [one["action"] for one in verdict["plan"]["actions"]] == [action]
        installation.runbook("sandbox", "heal")
