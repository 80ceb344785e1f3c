"""The HTTP and Prometheus probes, against a real HTTP server."""

from __future__ import annotations

import math
import socket

import pytest

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target


def test_json_text_and_health(api: Target) -> None:
    assert probes.call("http.json", api, {"path": "/list"}) == [1, 2, {"three": 3}]
    assert probes.call("http.text", api, {"path": "/page"}) == "<html>hello</html>"
    assert probes.call("http.health", api, {})["status"] == "healthy"
    sick = probes.call("http.health", api, {"path": "/sick"})
    assert (sick["http_status"], sick["why"]) == (503, "redis")


def test_metrics_are_a_table(api: Target) -> None:
    table = probes.call("http.metrics", api, {}).table
    assert table.to_pylist() == [
        {"name": "var_pct", "symbol": "BTC-USD", "value": 1.25},
        {"name": "var_pct", "symbol": "ETH-USD", "value": 2.5},
        {"name": "model_switch_total", "symbol": None, "value": 7.0},
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/nothing", 'GET /nothing answered 404: {"error": "no such path"}'),
        ("/page", "did not answer JSON but: <html>hello</html>"),
        ("/huge", "more than 8,388,608 bytes"),
        ("/elsewhere", r"another host \(localhost\); not followed"),
        ("http://other/", "is no path"),
        ("//other/", "is no path"),
    ],
)
def test_what_cannot_be_seen_is_said(api: Target, path: str, text: str) -> None:
    with pytest.raises(ProbeError, match=text):
        probes.call("http.json", api, {"path": path})


def test_redirect_on_the_same_host_is_followed(api: Target) -> None:
    assert probes.call("http.json", api, {"path": "/moved"}) == {"status": "healthy"}


def test_dead_and_silent_servers(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeError, match=rf"api at 127.0.0.1:{free_port}: connection refused"):
        probes.call("http.json", Target("api", f"http://127.0.0.1:{free_port}"), {"path": "/"})
    monkeypatch.setattr("opslib.probes.http.READ_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target("api", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ProbeError, match=r"no answer to / within 0\.2 s"):
            probes.call("http.json", target, {"path": "/"})


def test_prometheus_answers_become_tables(api: Target) -> None:
    table = probes.call("prometheus.query", api, {"promql": "var_pct"}).table
    assert table.column("symbol").to_pylist() == ["A"]
    assert table.column("value").to_pylist() == [1.9]
    frame = probes.call("prometheus.range", api, {"promql": "var_pct", "minutes": 5, "step_s": 1})
    assert frame.index == "time"
    assert frame.table.column("A").to_pylist() == [1.0, 2.0]
    assert frame.table.column("B")[0].as_py() is None
    assert math.isnan(frame.table.column("B")[1].as_py())
    firing = probes.call("prometheus.alerts", api, {}).table.to_pylist()[0]
    assert (firing["alertname"], firing["state"], firing["value"]) == ("VarBreach", "firing", 2.1)


def test_prometheus_says_what_is_wrong_with_a_query(api: Target) -> None:
    with pytest.raises(ProbeError, match="answered 400: parse error: unclosed"):
        probes.call("prometheus.query", api, {"promql": "bad("})
    with pytest.raises(ProbeError, match="at most 11,000 points"):
        probes.call("prometheus.range", api, {"promql": "x", "minutes": 10000, "step_s": 1})
