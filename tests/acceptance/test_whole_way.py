"""The main job on real servers, through the doors that a user has."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from typing import Any

import pytest

from opslib import web
from tests.acceptance.conftest import Installation, firing

pytestmark = pytest.mark.acceptance
CAUSES = ("single-symbol", "all-symbols", "after-model-switch", "stale-volatility")


def test_by_hand_nothing_is_wrong_on_a_healthy_platform_and_each_fault_is_named(installation: Installation) -> None:
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    healthy = installation.json("run", "var-breach", "--platform", "crypto")
    assert healthy["state"] == "succeeded"
    assert healthy["verdict"]["confirmed"] is False
    assert healthy["verdict"]["cause"] is None
    assert healthy["verdict"]["plan"] is None
    for number, cause in enumerate(CAUSES):
        installation.runbook(
            "sandbox", "break", f"var-breach/{cause}", "--seed", str(number), "--decoys", str(number % 3)
        )
        told = installation.json("run", "var-breach", "--platform", "crypto")
        assert set(told) == {"incident", "runbook", "platform", "state", "record", "took_s", "verdict"}
        assert told["verdict"]["confirmed"] is True
        assert told["verdict"]["cause"] == cause, told["verdict"]
        assert told["verdict"]["plan"]["state"] == "proposed"
        assert re.fullmatch(r"[0-9a-f]{64}", told["verdict"]["plan"]["hash"])
        installation.runbook("sandbox", "heal")
    installation.runbook("verify")


def test_prometheus_fires_alertmanager_posts_and_the_run_is_sealed(installation: Installation) -> None:
    if not shutil.which("prometheus") or not (shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")):
        pytest.skip("Prometheus and Alertmanager are not installed: apt-get install prometheus prometheus-alertmanager")
    installation.serve()
    webhook = f"{installation.url}/api/v1/alerts"
    installation.runbook("sandbox", "up", "crypto", "--monitoring", "--webhook", webhook)
    status = installation.json("sandbox", "status")
    assert web.get(f"{status['prometheus']}/-/healthy", timeout=5).status_code == 200

    def breaches() -> list[dict[str, Any]]:
        """The incidents of this alert; on a machine that starves Redis, its own alert is true as well."""
        return [one for one in installation.incidents() if one["runbook"] == "var-breach"]

    assert breaches() == []
    installation.runbook("sandbox", "break", "var-breach/stale-volatility", "--seed", "5")
    incident = installation.wait("an incident", breaches)[0]["id"]
    run = installation.ended_run(incident)
    assert run["state"] == "succeeded"
    assert run["verdict"]["cause"] == "stale-volatility"
    assert "prometheus" not in " ".join(run["verdict"]["unseen"])
    installation.wait("the seal", lambda: installation.verified(incident))
    ledger = installation.json("alerts")
    assert ledger["accepted"] == ledger["run"] + ledger["waiting"] + ledger["suppressed"] + ledger["lost"]
    assert ledger["accepted"] >= 1


def test_alert_plan_approval_fix_and_seal(serving: Installation) -> None:
    serving.runbook("sandbox", "break", "var-breach/single-symbol", "--seed", "2")
    alert = firing("ADA-USD")
    receipts = [serving.deliver(alert) for _ in range(3)]
    assert [receipt.status_code // 100 for receipt in receipts] == [2, 2, 2]
    (incident,) = serving.incidents()
    run = serving.ended_run(incident["id"])
    assert run["verdict"]["cause"] == "single-symbol"
    ledger = serving.json("alerts")
    assert (ledger["accepted"], ledger["run"], ledger["repeats"]) == (1, 1, 2)
    assert len(serving.show(incident["id"])["runs"]) == 1
    plan = serving.show(incident["id"])["plans"][0]["hash"]

    serving.runbook("people", "add", "vera", "--role", "viewer")
    refused = serving.runbook("approve", incident["id"], "--plan", plan, expect=1)
    assert "RUNBOOK_TOKEN" in refused.stderr
    viewer = serving.runbook("people", "add", "vito", "--role", "viewer").stdout.strip()
    serving.runbook("approve", incident["id"], "--plan", plan, expect=1, RUNBOOK_TOKEN=viewer)
    for token in (viewer, serving.intake_token, "nobody"):
        headers = {"authorization": f"Bearer {token}"}
        answer = web.post(f"{serving.url}/api/v1/plans/{plan}/approve", json={}, headers=headers, timeout=10)
        assert answer.status_code in (401, 403)
    assert serving.show(incident["id"])["plans"][0]["state"] == "proposed"

    serving.runbook("approve", incident["id"], "--plan", plan, "--as", "demo-l1", "--apply")
    shown = serving.show(incident["id"])
    assert shown["plans"][0]["state"] == "verified"
    api = serving.json("sandbox", "status")["platforms"]["crypto"]["api"]
    status = web.get(f"{api}/api/status", timeout=5).json()
    assert status["kelly_fraction"] <= 0.1
    assert max(symbol["var_pct"] for symbol in status["symbols"].values()) < 1.8
    assert any(run["mode"] == "apply" and run["state"] == "succeeded" for run in shown["runs"])
    serving.wait("the seal", lambda: serving.verified(incident["id"]))
    folder = serving.home / shown["runs"][0]["record"]
    applied = json.loads(next(folder.parent.glob("*-apply.ipynb")).read_text("utf-8"))
    assert any("firing check" in "".join(cell["source"]).lower() for cell in applied["cells"])


def test_redis_away_the_run_says_what_it_could_not_see(serving: Installation) -> None:
    serving.runbook("sandbox", "break", "var-breach/single-symbol", "--seed", "1")
    state = json.loads((serving.settings.state / "sandbox" / "crypto.json").read_text("utf-8"))
    os.kill(state["pids"]["redis"], signal.SIGKILL)
    told = serving.json("run", "var-breach", "--platform", "crypto")
    assert told["state"] == "succeeded"
    assert told["verdict"]["confirmed"] is True
    assert told["verdict"]["cause"] is None
    assert told["verdict"]["confidence"] == 0
    assert any(
        re.search(r"VaR per symbol \(redis at .*: connection refused\)", item) for item in told["verdict"]["unseen"]
    )
    assert told["verdict"]["plan"]["actions"][0]["action"] == "crypto.emergency-reduce"
