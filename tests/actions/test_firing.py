"""The firing check by the alert's own rule, on a real Prometheus API over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from opslib.actions import firing
from opslib.actions.action import Context
from opslib.errors import ConfigurationError, ProbeError

RULES = [
    {
        "type": "alerting",
        "name": "ApiErrorRate",
        "query": "errors / requests > 0.01",
        "labels": {"severity": "critical", "platform": "derivatives"},
    },
    {"type": "alerting", "name": "HitRate", "query": "hits < 0.5", "labels": {}},
    {"type": "alerting", "name": "Both", "query": "a > 1 and b > 2", "labels": {}},
]
SERIES = {
    "errors / requests": [
        ({"deployment": "api"}, "0.25"), ({"deployment": "other"}, "0.9"), ({"deployment": "api", "pod": "x"}, "NaN"),
    ],
    "hits": [({}, "0.7")],
    "a > 1 and b > 2": [({"pod": "x"}, "3")],
}  # fmt: skip


class Prometheus(BaseHTTPRequestHandler):
    """Answers rules and queries as Prometheus does."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/api/v1/rules":
            data = {"groups": [{"rules": RULES}]}
        else:
            [query] = parse_qs(parts.query)["query"]
            result = [{"metric": labels, "value": [0, value]} for labels, value in SERIES[query]]
            data = {"resultType": "vector", "result": result}
        body = json.dumps({"status": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def context(url: str | None, *alerts: dict[str, str]) -> Context:
    def endpoint(name: str) -> str:
        if url is None:
            raise ConfigurationError(f"there is no {name}")
        return url

    return Context("derivatives", "sandbox", "applier", endpoint, alerts=alerts)


def test_the_series_of_the_alert_alone_decide(prometheus: str) -> None:
    labels = {"alertname": "ApiErrorRate", "severity": "critical", "deployment": "api"}
    with context(prometheus, labels) as known:
        found = firing.check(known)
    assert found is not None
    assert (found.firing, found.value, found.limit, found.by) == (True, 0.25, 0.01, {"value": 0.25})


def test_an_alert_that_no_longer_fires_still_has_its_figure(prometheus: str) -> None:
    with context(prometheus, {"alertname": "HitRate"}) as known:
        found = firing.check(known)
    assert found is not None
    assert (found.firing, found.value, found.limit) == (False, 0.7, 0.5)
    assert str(found) == "HitRate (hits) 0.7 >= 0.5"


def test_an_expression_without_one_limit_fires_where_it_gives_a_series(prometheus: str) -> None:
    with context(prometheus, {"alertname": "Both"}) as known:
        found = firing.check(known)
    assert found is not None
    assert (found.firing, found.value) == (True, 1)


def test_without_alert_prometheus_or_rule_there_is_no_check(prometheus: str) -> None:
    for url, alerts in ((prometheus, []), (None, [{"alertname": "HitRate"}]), (prometheus, [{"alertname": "Other"}])):
        with context(url, *alerts) as known:
            assert firing.check(known) is None


def test_a_prometheus_that_does_not_answer_is_an_error() -> None:
    with (
        context("http://127.0.0.1:9", {"alertname": "HitRate"}) as known,
        pytest.raises(ProbeError, match="prometheus"),
    ):
        firing.check(known)
