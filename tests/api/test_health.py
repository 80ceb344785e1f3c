"""Whether the server lives and is ready, and its figures."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Server
from tests.intake.bodies import alert, webhook


def figures(serving: Server) -> dict[str, float]:
    """Every figure by name and outcome."""
    families = text_string_to_metric_families(serving.get("/metrics").text)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_health_readiness_and_description(serving: Server) -> None:
    assert serving.get("/healthz").json() == {"status": "alive"}
    ready = serving.get("/readyz").json()
    assert ready["status"] == "ready"
    assert set(ready["alive"]) == {"worker", "recorder", "applier", "signer"}
    paths = serving.get("/openapi.json").json()["paths"]
    assert {"/api/v1/alerts", "/api/v2/alerts", "/api/v1/incidents/{incident}/events", "/readyz"} <= set(paths)


def test_figures(serving: Server) -> None:
    serving.post("/api/v1/alerts", "intake", content=webhook(alert(), alert("ETH-USD")))
    serving.post("/api/v1/alerts", "intake", content=webhook(alert()))
    serving.post("/api/v1/alerts", "looker", content=webhook(alert()))
    found = figures(serving)
    assert found["runbook_store_up"] == 1
    assert found["runbook_alerts_accepted"] == 2
    assert found["runbook_alerts waiting"] == 2
    assert found["runbook_alerts_repeats"] == 1
    assert found["runbook_runs_waiting"] == 2
    assert found["runbook_deliveries_total taken"] == 2
    assert found["runbook_deliveries_total refused"] == 1
    assert found["runbook_queue_age_seconds"] >= 0
