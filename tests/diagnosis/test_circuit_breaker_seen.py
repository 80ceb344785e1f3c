"""A20 where the platform does not answer: a real Prometheus is asked, and an old sample is not one of now."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pandas as pd
import pytest

from opslib import probes, web
from opslib.diagnosis import Diagnosis, Verdict, circuit_breaker
from opslib.diagnosis import circuit_breaker_seen as seen
from opslib.probes import Target
from tests.diagnosis import simulation
from tests.probes.servers import free_port

SYMBOLS = ["BTC-USD", "ETH-USD"]
OPENED_S = 300  # before now
Value = Callable[[int], float]


def stepped(before: float, after: float) -> Value:
    """A value until the breaker opened, and one since."""
    return lambda ago_s: after if ago_s <= OPENED_S else before


@contextmanager
def prometheus(folder: Path, newest_s: int = 2, **series: Value) -> Iterator[Target]:
    """A real Prometheus that holds twenty minutes of each series, up to `newest_s` ago, and scrapes nothing."""
    program, tool, now = shutil.which("prometheus"), shutil.which("promtool"), int(time.time())
    if program is None or tool is None:
        pytest.skip("needs prometheus (.ci/packages installs it)")
    lines = []
    for name, value in series.items():
        metric = name.partition("__")[0]
        label = f'{{symbol="{SYMBOLS[int(name[-1])]}"}}' if "__" in name else ""
        lines += [f"# TYPE {metric} gauge"] if f"# TYPE {metric} gauge" not in lines else []
        lines += [f"{metric}{label} {value(ago)} {now - ago}" for ago in range(1200, newest_s - 1, -2)]
    (folder / "past.txt").write_text("\n".join([*lines, "# EOF\n"]), "utf-8")
    command = [tool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "past.txt"), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("scrape_configs: []\n", "utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command.append(f"--web.listen-address={url.removeprefix('http://')}")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                if web.get(f"{url}/-/ready", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield Target("prometheus", url)
    finally:
        process.terminate()
        process.wait(30)


def now_of(target: Target, promql: str) -> pd.DataFrame:
    """What an instant query answers, as a notebook gets it."""
    table: pd.DataFrame = probes.call("prometheus.query", target, {"promql": promql}).table.to_pandas()
    table.attrs["evidence"] = promql
    return table


def past_of(target: Target, promql: str) -> pd.DataFrame:
    """What a range query answers, as a notebook gets it."""
    arguments = {"promql": promql, "minutes": seen.MINUTES, "step_s": seen.STEP_S}
    table: pd.DataFrame = probes.call("prometheus.range", target, arguments).table.to_pandas().set_index("time")
    table.attrs["evidence"] = promql
    return table


def diagnose(target: Target) -> tuple[Verdict, pd.DataFrame]:
    """What A20 concludes when the API is away and Redis holds no series; and the triggers."""
    watched = seen.watched(now_of(target, seen.NOW), past_of(target, seen.STATE), SYMBOLS, 2.5)
    opened = circuit_breaker.since(None, None, watched)
    var = seen.either(None, past_of(target, seen.VAR), SYMBOLS)
    latency = seen.either(None, past_of(target, seen.LATENCY))
    triggers = circuit_breaker.triggers(
        var, latency, None, opened, simulation.LIMITS, watched=watched, now=dt.datetime.now(dt.UTC), judged=True
    )
    case = Diagnosis(SimpleNamespace(unseen=["the platform's status"]), circuit_breaker.CAUSES)  # type: ignore[arg-type]
    case.confirm(*seen.symptom(watched, opened), watched)
    case.examine("var", triggers=triggers)
    case.examine("latency", triggers=triggers)
    return case.verdict(), triggers


def calm(_ago_s: int) -> float:
    return 0.8


def quick(_ago_s: int) -> float:
    return 4.0


@pytest.mark.parametrize("cause", ["var", "latency"])
def test_prometheus_tells_that_it_is_open_and_by_what(tmp_path: Path, cause: str) -> None:
    values = {"var_pct__0": calm, "var_pct__1": calm, "step_latency_ms": quick}
    values |= {"var_pct__1": stepped(0.8, 3.1)} if cause == "var" else {"step_latency_ms": stepped(4.0, 140.0)}
    with prometheus(tmp_path, circuit_breaker_state=stepped(0, 2), **values) as target:
        verdict, triggers = diagnose(target)
    assert (verdict.confirmed, verdict.cause, simulation.likely(verdict)) == (True, cause, [cause])
    assert 0.5 < verdict.confidence < 0.85
    assert "as Prometheus sees it (why is not known, since the platform itself does not answer)" in verdict.summary
    opened = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=OPENED_S)
    assert "has been OPEN since" in verdict.summary
    assert any(f"since {opened + dt.timedelta(seconds=s):%H:%M:%S}" in verdict.summary for s in range(-30, 31))
    assert circuit_breaker.remedy([cause], triggers, None, 0.1, 2000) == []


def test_a_latency_that_is_over_when_it_was_first_seen_open_is_still_found(tmp_path: Path) -> None:
    spike = {"step_latency_ms": lambda ago_s: 150.0 if OPENED_S < ago_s < OPENED_S + 30 else 4.0}
    values = {"var_pct__0": calm, "var_pct__1": calm, "circuit_breaker_state": stepped(0, 2)}
    with prometheus(tmp_path, **values, **spike) as target:
        verdict, triggers = diagnose(target)
    assert verdict.cause == "latency"
    assert triggers.at["latency", "now"] == 4.0


@pytest.mark.parametrize(("state", "told"), [(0, "is CLOSED, as Prometheus sees it"), (1, "is HALF_OPEN")])
def test_a_breaker_that_is_not_open_is_less_surely_so(tmp_path: Path, state: int, told: str) -> None:
    values = {"var_pct__0": calm, "var_pct__1": calm, "step_latency_ms": quick}
    with prometheus(tmp_path, circuit_breaker_state=lambda _: state, **values) as target:
        verdict, _ = diagnose(target)
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (False, None, 0.8)
    assert told in verdict.summary


def test_what_it_saw_two_minutes_ago_is_not_now(tmp_path: Path) -> None:
    values = {"var_pct__0": calm, "var_pct__1": stepped(0.8, 3.1), "step_latency_ms": quick}
    with prometheus(tmp_path, newest_s=120, circuit_breaker_state=stepped(0, 2), **values) as target:
        plain = now_of(target, "max(circuit_breaker_state)")
        verdict, triggers = diagnose(target)
    assert plain["value"].tolist() == [2.0]  # it would still answer
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (False, None, 0.0)
    assert "could not be seen; the latest that Prometheus has of it is OPEN at" in verdict.summary
    assert triggers["now"].isna().all()


def test_a_symbol_without_var_is_not_taken_for_calm(tmp_path: Path) -> None:
    values = {"var_pct__0": calm, "step_latency_ms": quick}
    with prometheus(tmp_path, circuit_breaker_state=stepped(0, 2), **values) as target:
        verdict, triggers = diagnose(target)
    assert triggers["now"].isna().tolist() == [True, False]
    assert not circuit_breaker.gone(triggers)
    assert verdict.cause != "var"


def test_without_any_series_nothing_is_known(tmp_path: Path) -> None:
    with prometheus(tmp_path, other=quick) as target:
        verdict, triggers = diagnose(target)
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (False, None, 0.0)
    assert verdict.summary == "Not known: the state of the circuit breaker could not be seen."
    assert triggers["now"].isna().all()


def test_where_it_was_open_all_the_time_it_is_not_said_since_when(tmp_path: Path) -> None:
    values = {"var_pct__0": calm, "var_pct__1": calm, "step_latency_ms": quick}
    with prometheus(tmp_path, circuit_breaker_state=lambda _: 2, **values) as target:
        verdict, _ = diagnose(target)
    assert "the circuit breaker is OPEN, as Prometheus sees it".casefold() in verdict.summary.casefold()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)


def test_a_series_of_redis_that_stands_still_tells_nothing_of_now() -> None:
    now = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)
    times = pd.date_range(end=now - dt.timedelta(minutes=10), periods=100, freq="s")
    var = pd.DataFrame(dict.fromkeys(SYMBOLS, 1.0), index=times)
    assert seen.old(var, now)
    assert seen.old(None, now)
    assert not seen.old(var, now - dt.timedelta(minutes=10))
    triggers = circuit_breaker.triggers(var, None, None, now, simulation.LIMITS, now=now)
    assert triggers.loc["var", ["at worst", "now"]].isna().all()


def test_prometheus_that_was_not_asked_or_says_nothing_changes_nothing() -> None:
    assert seen.watched(None, None, SYMBOLS, 2.5) is None
    assert seen.symptom(None, None) == (None, "the state of the circuit breaker could not be seen")
    empty = pd.DataFrame()
    assert seen.watched(empty, empty, SYMBOLS, 2.5) == seen.Watched()
    assert seen.either(None, empty) is None
