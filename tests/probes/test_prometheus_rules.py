"""Rules evaluated again, targets and the past of a series, against a real Prometheus that scrapes a real page."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from opslib import probes, web
from opslib.errors import ProbeError
from opslib.probes import Target
from opslib.promql import condition

RULES = """
groups:
  - name: test
    interval: 1s
    rules:
      - alert: VarBreach
        expr: max by (symbol) (var_pct) > 1.8
        labels: {severity: critical}
      - alert: Quiet
        expr: model_switch_total > 1000
      - alert: Gone
        expr: absent(no_such_series)
"""


@pytest.fixture(scope="module")
def prometheus(api: Target, free_port_of_module: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A Prometheus that scrapes the platform's page, and one that is down."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs prometheus (.ci/packages installs it)")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_text(RULES, "utf-8")
    page = api.url.removeprefix("http://")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\nscrape_configs:\n"
        f"  - {{job_name: crypto, static_configs: [{{targets: ['{page}']}}]}}\n"
        "  - {job_name: dead, static_configs: [{targets: ['127.0.0.1:1']}]}\n",
        "utf-8",
    )
    listen = f"127.0.0.1:{free_port_of_module}"
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = subprocess.Popen([*command, f"--web.listen-address={listen}"], stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://{listen}")
        yield Target("prometheus", f"http://{listen}")
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str) -> None:
    """Until the rule fires and whole seconds lie behind the first scrape."""
    deadline = time.monotonic() + 90
    scrapes = {"query": "count_over_time(model_switch_total[1m]) >= 3"}
    while True:
        try:
            alerts = web.get(f"{url}/api/v1/alerts", timeout=2).json()["data"]["alerts"]
            several = web.get(f"{url}/api/v1/query", params=scrapes, timeout=2).json()["data"]["result"]
            firing = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
            if several and "VarBreach" in firing:
                return
        except (httpx.HTTPError, ValueError):
            pass  # it starts, and says so in plain text
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def free_port_of_module() -> int:
    """A port on which nobody listens."""
    from opslib.store import embedded

    return embedded.free_port()


def test_a_rule_is_evaluated_again(prometheus: Target) -> None:
    seen = probes.call("prometheus.rule", prometheus, {"alert": "VarBreach"})
    assert (seen["holds"], seen["sign"], seen["limit"], seen["value"]) == (True, ">", 1.8, 2.5)
    assert seen["measure"] == "max by (symbol) (var_pct)"
    assert seen["state"] == "firing"
    assert [row["labels"]["symbol"] for row in seen["series"]] == ["ETH-USD", "BTC-USD"]
    assert seen["active"][0]["labels"]["symbol"] == "ETH-USD"
    one = probes.call("prometheus.rule", prometheus, {"alert": "VarBreach", "labels": {"symbol": "BTC-USD"}})
    assert (one["holds"], one["value"]) == (False, 1.25)


def test_a_rule_that_is_not_true_still_tells_its_value(prometheus: Target) -> None:
    seen = probes.call("prometheus.rule", prometheus, {"alert": "Quiet"})
    assert (seen["holds"], seen["state"], seen["value"], seen["limit"]) == (False, "inactive", 7.0, 1000.0)
    absent = probes.call("prometheus.rule", prometheus, {"alert": "Gone"})
    assert (absent["holds"], absent["limit"]) == (True, None)
    with pytest.raises(ProbeError, match="there is no alert rule 'Nothing'; there are Gone, Quiet, VarBreach"):
        probes.call("prometheus.rule", prometheus, {"alert": "Nothing"})


def test_rules_and_targets_are_tables(prometheus: Target) -> None:
    rules = {row["alert"]: row for row in probes.call("prometheus.rules", prometheus, {}).table.to_pylist()}
    assert (rules["VarBreach"]["firing"], rules["VarBreach"]["severity"]) == (1, "critical")
    assert rules["Quiet"]["firing"] == 0
    targets = {row["job"]: row for row in probes.call("prometheus.targets", prometheus, {}).table.to_pylist()}
    assert targets["crypto"]["health"] == "up"
    assert targets["dead"]["health"] == "down"
    assert "refused" in targets["dead"]["error"]


def test_the_past_that_is_not_held_is_said(prometheus: Target) -> None:
    answer = probes.call("prometheus.compared", prometheus, {"promql": "model_switch_total", "minutes": 1, "step_s": 1})
    assert answer.table.column_names == ["time", "now"]
    assert set(answer.table.column("now").to_pylist()) == {7.0}
    assert answer.note == "Prometheus holds nothing of model_switch_total for: hour before, day before, week before"


@pytest.mark.parametrize(
    ("expression", "measure", "sign", "limit"),
    [
        ("var_pct > 1.8", "var_pct", ">", 1.8),
        ("(rate(x[5m]) * 60) >= 2e1", "(rate(x[5m]) * 60)", ">=", 20.0),
        ("(a / b > 0.5)", "a / b", ">", 0.5),
        ('up{job=~"a>b"} == 0', 'up{job=~"a>b"}', "==", 0.0),
        ("free < -1", "free", "<", -1.0),
        ("a > 2 and b < 1", "a > 2 and b < 1", None, None),
        ("count(x > 1) > 3", "count(x > 1)", ">", 3.0),
        ("absent(up)", "absent(up)", None, None),
        ("a > b", "a > b", None, None),
        ("max(a > 1)", "max(a > 1)", None, None),
        ("a > bool 1", "a > bool 1", None, None),
    ],
)
def test_an_expression_is_taken_apart(expression: str, measure: str, sign: str | None, limit: float | None) -> None:
    found = condition(expression)
    assert (found.measure, found.sign, found.limit) == (measure, sign, limit)
