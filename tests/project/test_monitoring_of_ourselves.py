"""Rules and dashboard of the service itself: valid, and made only of what `/metrics` has."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from opslib import intake
from opslib.api import figures
from opslib.api.counts import OUTCOMES, Counts
from opslib.incidents.opening import BY_INTAKE, NewIncident, open_all
from opslib.runs import ending, leases, queue
from opslib.settings import PROJECT, Settings
from opslib.store import processes, transaction
from tests.intake.bodies import alert, send

RULES = PROJECT / "deploy" / "prometheus" / "runbooks.rules.yaml"
DASHBOARD = PROJECT / "deploy" / "grafana" / "runbooks.json"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (apt-get install prometheus)"
)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.fixture
def samples(settings: Settings) -> dict[str, list[dict[str, str]]]:
    """Every sample of `/metrics` of a store in which everything has happened once: names, and labels of each."""
    send(settings, alert(), alert("ETH-USD"))
    with transaction(settings) as connection:
        open_all(connection, [NewIncident("crypto", "triage", "queue", "high", "Storm", BY_INTAKE)])
        connection.execute(
            "UPDATE runs SET state = 'running', started_at = now(), queued_at = now() - interval '1 second' "
            "WHERE id = 1"
        )
    ending.end(settings, 1, "succeeded", "", actor="test")
    with transaction(settings) as connection:
        connection.execute("UPDATE runs SET first_cell_at = queued_at + interval '150 milliseconds' WHERE id = 1")
    counted = {"nursery": 7, "ready": 2, "in_use": 1, "taken": 5, "died": 0, "died_in_use": 3}
    for _ in range(2):  # two workers of one home
        processes.Process(settings, "worker").beat(counted)
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(Counts(settings).text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels | {"value": str(sample.value)})
    return found


def test_every_metric_of_rules_and_dashboard_is_one_of_ours(samples: dict[str, list[dict[str, str]]]) -> None:
    named = {name for text in expressions() for name in re.findall(r"\brunbook_\w+", text)}
    assert len(named) >= 12
    assert named <= set(samples)


def test_every_label_and_value_of_them_is_one_of_ours(samples: dict[str, list[dict[str, str]]]) -> None:
    seen = 0
    for text in expressions():
        for name, matchers in re.findall(r"\b(runbook_\w+)\{([^}]*)\}", text):
            for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers):
                there = {sample[label] for sample in samples[name]}
                wanted = set(value.split("|")) if "~" in operator else {value}
                assert wanted <= there, f"{name}: {label} is one of {there}, not {wanted - there}"
                seen += 1
    assert seen >= 8


def test_what_the_page_says_is_so(samples: dict[str, list[dict[str, str]]]) -> None:
    def value(name: str, **labels: str) -> float:
        (sample,) = [one for one in samples[name] if labels.items() <= one.items()]
        return float(sample["value"])

    assert value("runbook_queue_depth", lane="critical") == 1
    assert {sample["lane"] for sample in samples["runbook_queue_depth"]} == set(queue.PRIORITIES)
    assert {sample["state"] for sample in samples["runbook_runs"]} == set(figures.STATES)
    assert {sample["outcome"] for sample in samples["runbook_alerts"]} == set(intake.OUTCOMES)
    assert {sample["outcome"] for sample in samples["runbook_deliveries_total"]} == set(OUTCOMES)
    assert value("runbook_runs", state="succeeded") == 1
    assert value("runbook_ledger_gap") == 0
    assert value("runbook_storm", platform="crypto") == 1
    assert value("runbook_kernels", state="ready") == 2
    assert value("runbook_kernels", state="in-use") == 1
    assert value("runbook_kernels_taken_total", host=socket.gethostname()) == 5
    assert value("runbook_kernels_died_total", when="waiting") == 0
    assert value("runbook_kernels_died_total", when="in-use") == 3
    assert value("runbook_first_cell_seconds_bucket", lane="critical", le="0.1") == 0
    assert value("runbook_first_cell_seconds_bucket", lane="critical", le="0.2") == 1
    assert value("runbook_first_cell_seconds_sum", lane="critical") == pytest.approx(0.15)
    assert value("runbook_queue_wait_seconds_bucket", lane="critical", le="0.5") == 0
    assert value("runbook_queue_wait_seconds_bucket", lane="critical", le="+Inf") == 1
    assert value("runbook_run_seconds_count", runbook="var-breach") == 1


def told_of_kernels(settings: Settings) -> set[str]:
    return set(re.findall(r"^(runbook_kernels.*) \d", Counts(settings).text().decode(), re.MULTILINE))


def test_kernels_are_told_of_by_host_while_a_worker_there_lives(settings: Settings) -> None:
    here = socket.gethostname()
    worker = processes.Process(settings, "worker")
    worker.beat()
    assert told_of_kernels(settings) == set()
    for text in (None, "", "[]", "{", '{"ready": "x"}'):  # no nursery answers, whatever it left
        if text is not None:
            (settings.runtime / leases.STATUS).write_text(text)
        worker.beat(leases.counted(settings))
        assert told_of_kernels(settings) == {f'runbook_kernels{{host="{here}",state="ready"}}'}
    with transaction(settings) as connection:
        connection.execute("UPDATE processes SET heartbeat_at = now() - interval '1 minute'")
    assert told_of_kernels(settings) == set()


def test_two_nurseries_of_one_host_are_added(settings: Settings) -> None:
    for number, ready in ((7, 2), (8, 3)):
        processes.Process(settings, "worker").beat({"nursery": number, "ready": ready})
    assert f'runbook_kernels{{host="{socket.gethostname()}",state="ready"}} 5.0' in Counts(settings).text().decode()


def test_the_watchdog_always_fires() -> None:
    (watchdog,) = [rule for rule in rules() if rule["alert"] == "Watchdog"]
    assert watchdog["expr"] == "vector(1)"
    assert "for" not in watchdog


def test_every_rule_says_what_to_do_and_has_a_test() -> None:
    guide = (PROJECT / "docs" / "operations.md").read_text("utf-8")
    tested = (RULES.parent / "tests" / "runbooks.yml").read_text("utf-8")
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert f"\n#### {rule['alert']}\n" in guide, rule["alert"]
        assert f'alertname="{rule["alert"]}"' in tested


def test_every_panel_has_its_place_and_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


@needs_promtool
def test_promtool_takes_the_rules_and_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    made = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(drawn)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    for file in (RULES, tmp_path / "panels.yaml"):
        done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
