"""The history that a Prometheus of the sandbox starts with: real blocks, under the real rules, by the real probes."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from opslib import probes, web
from opslib.diagnosis import api_errors, postgres_down, service_pods
from opslib.errors import ProbeError
from opslib.probes import Target
from opslib.promql import condition
from opslib.settings import PROJECT, Settings
from sandbox import crypto, history, processes
from sandbox.crypto import history as of_crypto
from sandbox.crypto import monitoring
from sandbox.crypto.parameters import SYMBOLS
from sandbox.derivatives import history as of_derivatives
from sandbox.derivatives.market import ladder
from sandbox.errors import StartFailed

RULES = PROJECT / "deploy" / "prometheus"
REPLICA_SET = "derivatives-api-6b9c7d5f48"
PLATFORMS = ("crypto", "derivatives")
needs_servers = pytest.mark.skipif(
    monitoring.available() is None or history.promtool() is None,
    reason="needs Prometheus, promtool and Alertmanager (apt-get install prometheus prometheus-alertmanager)",
)


def job(platform: str, name: str, **labels: str) -> dict[str, Any]:
    """A job with one target, as Prometheus is told of it."""
    labels = {"platform": platform, **labels}
    return {"job_name": name, "static_configs": [{"targets": ["127.0.0.1:1"], "labels": labels}]}


def healthy(platform: str, now: float) -> history.History:
    """The history that a platform's Prometheus gets."""
    if platform == "crypto":
        return of_crypto.healthy(now, job("crypto", "crypto"))
    jobs = {name: job("derivatives", name, statefulset=name) for name in ("postgres", "redis")}
    return of_derivatives.healthy(now, jobs, REPLICA_SET, "2.3.1", "node-2")


def series(text: str) -> dict[str, dict[int, float]]:
    """Values by time, by name and labels."""
    found: dict[str, dict[int, float]] = {}
    for line in text.splitlines()[:-1]:
        name, value, at = line.rsplit(" ", 2)
        assert int(at) not in found.setdefault(name, {})
        found[name][int(at)] = float(value)
    return found


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_healthy_day_ends_half_an_hour_ago(platform: str) -> None:
    now = 1_800_000_030.0
    text = healthy(platform, now).text()
    assert text.endswith("\n# EOF\n")
    found = series(text)
    assert len(found) > 40
    for name, points in found.items():
        assert list(points) == list(range(min(points), max(points) + 1, 60))
        assert history.GAP_S <= now - max(points) < history.GAP_S + 60
        assert max(points) - min(points) == history.SPAN_S
        if re.match(r"\w+_(total|count|sum)\b", name) and not name.startswith("pg_"):
            assert sorted(points.values()) == list(points.values())
    assert text == healthy(platform, now).text()


def test_yesterdays_pods_are_of_the_replica_set_before() -> None:
    found = series(healthy("derivatives", 1_800_000_000.0).text())
    pods = {pod[1] for name in found if (pod := re.search('pod="([^"]+)"', name))}
    assert len(pods) == 2
    assert all(re.fullmatch(rf"{REPLICA_SET}-[a-z0-9]{{5}}", pod) for pod in pods)
    asked = [points for name, points in found.items() if name.startswith("derivatives_api_requests_total")]
    rate = sum(max(points.values()) for points in asked) / history.SPAN_S
    assert 20.0 < rate < 25.0


def test_where_promtool_is_missing_there_is_no_history(tmp_path: Path) -> None:
    history.backfill(healthy("crypto", time.time()), tmp_path / "prometheus", None)
    assert not list(tmp_path.iterdir())


def test_what_promtool_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="promtool made no history"):
        history.backfill(healthy("crypto", time.time()), tmp_path / "prometheus", "/bin/false")
    assert [path.name for path in tmp_path.iterdir()] == ["prometheus"]


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Target]]:
    """A Prometheus that knows the history of a platform and scrapes nothing."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    started: dict[str, Target] = {}

    def start(platform: str) -> Target:
        if platform not in started:
            folder = tmp_path_factory.mktemp(platform)
            history.backfill(healthy(platform, time.time()), folder / "prometheus", history.promtool())
            configuration = monitoring.write(folder, "prometheus.yml", {"scrape_configs": []})
            options = [f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'prometheus'}"]
            program = processes.which("prometheus") or ""
            address = monitoring.launch(
                "prometheus",
                folder,
                folder,
                lambda port: [program, *options, f"--web.listen-address=127.0.0.1:{port}"],
                running,
            )
            started[platform] = Target("prometheus", address)
            running[platform] = running.pop("prometheus")
        return started[platform]

    yield start
    for child in running.values():
        child.terminate()
        child.wait(30)


def ask(target: Target, promql: str, step_s: int = 60) -> list[float]:
    """Every value of an expression over the whole history but its first five minutes."""
    end = time.time() - history.GAP_S
    limits = {"start": end - history.SPAN_S + 300, "end": end - 60, "step": step_s}
    answer = web.get(f"{target.url}/api/v1/query_range", params={"query": promql, **limits}, timeout=30)
    return [float(value) for row in answer.raise_for_status().json()["data"]["result"] for _, value in row["values"]]


@needs_servers
@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "sandbox"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_rule_would_have_fired(remembering: Callable[[str], Target], platform: str, place: str) -> None:
    target = remembering(platform)
    document = yaml.safe_load((RULES / place / f"{platform}.rules.yml").read_text("utf-8"))
    rules = {rule["alert"]: rule["expr"] for group in document["groups"] for rule in group["rules"] if "alert" in rule}
    measured = set()
    for alert, expression in rules.items():
        assert ask(target, expression) == [], alert
        wanted = condition(expression)
        values = [] if wanted.limit is None else ask(target, wanted.measure)
        measured |= {alert} if values else set()
        if values and wanted.sign == ">":
            assert max(values) < 0.8 * wanted.limit, alert
    expected = {
        "crypto": {"VarBreach", "RedisLatency", "CircuitBreaker"} | ({"ModelSwitching"} if not place else set()),
        "derivatives": {"GreeksLatency", "ApiErrorRate", "LargeLoss", "CacheMissRate"},
    }
    assert measured == expected[platform]


@needs_servers
@pytest.mark.slow
def test_no_query_of_a_playbook_reaches_the_history(remembering: Callable[[str], Target]) -> None:
    text = (PROJECT / "params/platforms/derivatives.yaml").read_text("utf-8")
    notebooks = "".join(path.read_text("utf-8") for path in (PROJECT / "notebooks/alerts").glob("*.ipynb"))
    minutes = max(runbook.get("history_min", 0.0) for runbook in yaml.safe_load(text)["runbooks"].values())
    minutes = max([minutes, *(float(found) for found in re.findall(r"\\\", (\d+\.\d), \d+\.\d\)", notebooks))])
    assert minutes >= 15.0
    queries = {
        "derivatives": [
            *(
                service_pods.promql(one, "derivatives", 20.0)
                for one in (service_pods.LATENCY | service_pods.OVER_TIME | service_pods.MEDIAN).values()
            ),
            api_errors.shares("derivatives_api_errors_total", "derivatives_api_requests_total", "20s"),
            postgres_down.UP,
            "max(derivatives_pnl_usd)",
            "derivatives_cache_hit_pct",
        ],
        "crypto": ["redis_latency_p99 / 1000"],
    }
    for platform, asked in queries.items():
        for promql in asked:
            answer = probes.call(
                "prometheus.range", remembering(platform), {"promql": promql, "minutes": minutes, "step_s": 5.0}
            )
            assert answer.table.num_rows == 0, promql


@needs_servers
@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_rule_of_the_sandbox_looks_back_into_it(remembering: Callable[[str], Target], platform: str) -> None:
    document = yaml.safe_load((RULES / "sandbox" / f"{platform}.rules.yml").read_text("utf-8"))
    for rule in (rule for group in document["groups"] for rule in group["rules"]):
        selectors = re.findall(r"avg_over_time\([^)]*\)", rule["expr"]) or [condition(rule["expr"]).measure]
        for promql in selectors:
            answer = probes.call("prometheus.query", remembering(platform), {"promql": promql})
            assert answer.table.num_rows == (1 if "absent(" in promql else 0), promql


@needs_servers
@pytest.mark.slow
def test_what_is_usual_of_the_cache_is_what_the_platform_has(remembering: Callable[[str], Target]) -> None:
    def value(promql: str) -> float:
        answer = probes.call("prometheus.query", remembering("derivatives"), {"promql": promql})
        (found,) = answer.table.column("value").to_pylist()
        return float(found)

    assert value("quantile_over_time(0.75, sum(redis_db_keys)[1h:15s])") == len(ladder())
    assert value("max_over_time(redis_memory_max_bytes[1h])") == 32 * 2**20
    assert value("sum(rate(derivatives_api_requests_total[5m] offset 1d))") == pytest.approx(22.0, abs=6.0)


@needs_servers
@pytest.mark.slow
def test_a_series_is_laid_beside_yesterday(remembering: Callable[[str], Target]) -> None:
    answer = probes.call(
        "prometheus.compared", remembering("derivatives"), {"promql": "derivatives_greeks_latency_p95"}
    )
    for past in ("hour before", "day before"):
        values = answer.table.column(past).to_pylist()
        assert len(values) == 61
        assert all(50.0 < value < 72.0 for value in values)
    assert "week before" in (answer.note or "")


@needs_servers
@pytest.mark.slow
def test_the_live_platform_goes_on_where_yesterday_ended(home: Settings) -> None:
    found = crypto.up(home, monitored=True)
    target = Target("prometheus", found.endpoints.prometheus or "")
    names = {f"{when}, {symbol}" for when in ("now", "hour before", "day before") for symbol in SYMBOLS}
    deadline = time.monotonic() + 30.0
    wanted = {"promql": "var_pct", "minutes": 1, "step_s": 1}
    while time.monotonic() < deadline:
        try:
            answer = probes.call("prometheus.compared", target, wanted)
        except ProbeError:
            continue  # not scraped yet
        if names <= set(answer.table.column_names):
            break
        time.sleep(0.5)
    assert set(answer.table.column_names) == {"time", *names}
    before = answer.table.column(f"day before, {SYMBOLS[0]}").to_pylist()
    now = [value for value in answer.table.column(f"now, {SYMBOLS[0]}").to_pylist() if value is not None]
    assert len(before) == 61
    assert sum(before) / 61 == pytest.approx(sum(now) / len(now), rel=0.5)
    crypto.down(home)
