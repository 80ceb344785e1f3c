"""The whole monitoring path on real servers, and the alert rules under promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import yaml

from opslib import web
from opslib.settings import PROJECT, Settings
from sandbox import crypto, faults
from sandbox.crypto import monitoring

RULES = PROJECT / "deploy" / "prometheus"
needs_servers = pytest.mark.skipif(
    monitoring.available() is None, reason="needs Prometheus and Alertmanager (apt-get install prometheus-alertmanager)"
)
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (apt-get install prometheus)"
)


@pytest.fixture
def receiver() -> Iterator[tuple[str, Queue[tuple[str, dict[str, Any]]]]]:
    """A web hook: its address, and what was posted with which authorization."""
    posted: Queue[tuple[str, dict[str, Any]]] = Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posted.put((self.headers.get("authorization", ""), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1/alerts", posted
    server.shutdown()
    server.server_close()
    thread.join()


@needs_servers
@pytest.mark.slow
def test_a_breach_reaches_the_web_hook_and_resolves(
    home: Settings, receiver: tuple[str, Queue[tuple[str, dict[str, Any]]]]
) -> None:
    address, posted = receiver
    home.make_home()
    (home.state / "intake-token").write_text("sesame", "utf-8")
    found = crypto.up(home, monitored=True, webhook=address)
    assert found.endpoints.prometheus
    assert found.endpoints.alertmanager
    configured = web.get(f"{found.endpoints.prometheus}/api/v1/status/config", timeout=10).json()["data"]["yaml"]
    assert [job["job_name"] for job in yaml.safe_load(configured)["scrape_configs"]] == ["crypto", "runbook"]
    faults.break_(home, "var-breach/single-symbol", seed=5)
    authorization, body = posted.get(timeout=30.0)
    assert authorization == "Bearer sesame"
    assert (body["version"], body["status"]) == ("4", "firing")
    (alert,) = body["alerts"]
    labels = alert["labels"]
    assert (labels["alertname"], labels["platform"], labels["severity"]) == ("VarBreach", "crypto", "critical")
    assert set(labels) == {"alertname", "platform", "severity", "symbol"}
    assert alert["annotations"]["runbook_url"] == "docs/playbooks/var-breach.md"
    faults.heal(home)
    while body["status"] != "resolved":
        _, body = posted.get(timeout=30.0)
    crypto.down(home)


@needs_promtool
@pytest.mark.parametrize("file", sorted((RULES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_rules_do_what_they_say(file: Path) -> None:
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_example_watches_every_platform() -> None:
    example = RULES / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", str(example)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = yaml.safe_load(example.read_text("utf-8"))
    assert sorted(document["rule_files"]) == sorted(path.name for path in RULES.glob("*.rules.y*ml"))
    labelled = [
        labels
        for job in document["scrape_configs"]
        for labels in (
            *(one.get("labels", {}) for one in job.get("static_configs", [])),
            *({one["target_label"]: one.get("replacement")} for one in job.get("relabel_configs", [])),
        )
    ]
    platforms = {path.stem for path in (PROJECT / "params" / "platforms").glob("*.yaml")}
    assert {labels["platform"] for labels in labelled if "platform" in labels} == platforms


def test_sandbox_rules_differ_from_the_seeds_in_windows_only() -> None:
    def without_windows(expression: str) -> str:
        return re.sub(r"(\[|offset )\d+[smhd]", r"\1WINDOW", expression)

    def rules(path: Path) -> list[Any]:
        groups = yaml.safe_load(path.read_text("utf-8"))["groups"]
        return [
            {key: without_windows(str(value)) for key, value in rule.items() if key not in ("for", "keep_firing_for")}
            for group in groups
            for rule in group["rules"]
        ]

    files = sorted(RULES.glob("*.rules.yml"))
    assert files
    for file in files:
        assert rules(file) == rules(RULES / "sandbox" / file.name)


@pytest.mark.parametrize("file", sorted((RULES / "sandbox").glob("*.yml")), ids=lambda path: path.stem)
def test_no_window_of_the_sandbox_is_longer_than_a_minute(file: Path) -> None:
    unit_s = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
    duration = r"((?:\d+(?:ms|[smhdwy]))+)"
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            windows = re.findall(rf"(?:\[|:|offset\s+-?){duration}", rule["expr"])
            for window in (*windows, rule.get("for", "0s"), rule.get("keep_firing_for", "0s"), group["interval"]):
                parts = re.findall(r"(\d+)(ms|[smhdwy])", window)
                assert sum(int(number) * unit_s[unit] for number, unit in parts) <= 60.0, (rule, window)


def test_every_alert_names_its_page_and_has_a_test() -> None:
    tests = "".join(path.read_text("utf-8") for path in (RULES / "tests").glob("*.yml"))
    for file in RULES.glob("*.rules.yml"):
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    continue
                assert rule["annotations"]["runbook_url"].startswith("docs/playbooks/")
                assert f"alertname: {rule['alert']}" in tests
