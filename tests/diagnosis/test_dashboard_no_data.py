"""A23 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import Diagnosis, Verdict, dashboard_no_data, dashboard_picture

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
REDIS, OTHER = "127.0.0.1:6379", "127.0.0.1:6390"
USUAL = 1000


class Facts:
    """What the probes told; a platform whose panels all have data, until something is changed."""

    def __init__(self) -> None:
        self.points = [USUAL, USUAL, 300]
        self.queries = [["hgetall"], ["hgetall"], ["promql"]]
        self.errors = ["", "", ""]
        self.url = f"redis://{REDIS}/0"
        self.held = (22, USUAL, 1.0)
        self.writer: dict[str, Any] | None = {"running": True, "last_write_ms": (NOW.timestamp() - 1) * 1000}
        self.modules: dict[str, Any] | None = {"time_series": False}
        self.census_seen = self.status_seen = True

    def writer_down(self, age_s: float = 60.0, *, said: bool = True) -> Facts:
        self.points[:2] = [0, 0]
        self.held = (22, USUAL, age_s)
        self.writer = {"running": not said, "last_write_ms": (NOW.timestamp() - age_s) * 1000}
        return self

    def redis_empty(self, points: int = 0) -> Facts:
        self.points[:2] = [0, 0]
        self.held = (5 if points else 0, points, 1.0)
        return self

    def module_missing(self) -> Facts:
        self.points[:2] = [0, 0]
        self.queries[:2] = [["ts.range"], ["ts.range"]]
        self.errors[:2] = ["unknown command 'ts.range', with args beginning with: 'var_pct'"] * 2
        return self

    def datasource_wrong(self, url: str = f"redis://{OTHER}/0", error: str = "Connection refused") -> Facts:
        self.points[:2] = [0, 0]
        self.errors[:2] = [error] * 2
        self.url = url
        return self

    @property
    def panels(self) -> pd.DataFrame:
        titles, sources = ("VaR", "edge", "switches"), ("redis", "redis", "prometheus")
        panels = [
            {"dashboard": "edge-risk", "title": title, "points": points, "datasource": uid, "queries": asks, "error": e}
            for title, points, uid, asks, e in zip(titles, self.points, sources, self.queries, self.errors, strict=True)
        ]
        addresses = [{"uid": "redis", "url": self.url}, {"uid": "prometheus", "url": "http://127.0.0.1:9090"}]
        return dashboard_no_data.table({"panels": panels}, addresses)

    def diagnose(self) -> Verdict:
        case = Diagnosis(SimpleNamespace(unseen=[]), dashboard_no_data.CAUSES)
        panels, (keys, points, age_s) = self.panels, self.held
        empty = int((panels["points"] == 0).sum())
        case.confirm(empty > 0, f"{empty} panels show no data", panels)
        census = pd.DataFrame({"keys": [keys], "largest_elements": [float(points)]}) if self.census_seen else None
        series = None
        if points > 0.05 * USUAL:
            times = pd.to_datetime([NOW.timestamp() - age_s - 1, NOW.timestamp() - age_s], unit="s", utc=True)
            series = pd.DataFrame({"A": [1.0, 1.0]}, index=times)
        held = dashboard_no_data.held(census, series, NOW)
        elsewhere = dashboard_no_data.leads_elsewhere(panels, {"primary": REDIS}) if self.status_seen else None
        case.examine("writer-down", held=held, writer=self.writer, now=NOW, stale_s=10.0)
        case.examine("redis-empty", held=held, usual_points=USUAL)
        case.examine("module-missing", panels=panels, modules=self.modules)
        case.examine("datasource-wrong", panels=panels, elsewhere=elsewhere, held=held)
        return case.verdict()


def likelihoods(verdict: Verdict) -> dict[str, float]:
    return {item.key: item.likelihood for item in verdict.causes}


ONE = {
    "writer-down": [
        lambda: Facts().writer_down(),
        lambda: Facts().writer_down(25.0),
        lambda: Facts().writer_down(86_400.0),
        lambda: Facts().writer_down(said=False),  # it hangs, and says that it runs
    ],
    "redis-empty": [lambda: Facts().redis_empty(), lambda: Facts().redis_empty(4)],
    "module-missing": [lambda: Facts().module_missing()],
    "datasource-wrong": [
        lambda: Facts().datasource_wrong(),
        lambda: Facts().datasource_wrong(f"redis://{REDIS}/7", ""),  # it answers, of a database without the series
        lambda: Facts().datasource_wrong(f"redis://{REDIS}/0", "WRONGPASS invalid username-password pair"),
        lambda: Facts().datasource_wrong("redis://redis.old.internal:6379/0", "Timeout connecting to server"),
    ],
}


@pytest.mark.parametrize(("cause", "make"), [(cause, make) for cause, makes in ONE.items() for make in makes])
def test_the_cause_is_named_and_no_other(cause: str, make: Any) -> None:
    verdict = make().diagnose()
    assert verdict.cause == cause
    told = likelihoods(verdict)
    assert told.pop(cause) > 0.5
    assert max(told.values()) < 0.5, told


def test_with_data_in_every_panel_there_is_nothing() -> None:
    verdict = Facts().diagnose()
    assert (verdict.confirmed, verdict.cause) == (False, None)


def test_two_at_once_are_both_named() -> None:
    told = likelihoods(Facts().writer_down().module_missing().diagnose())
    assert told["writer-down"] > 0.5
    assert told["module-missing"] > 0.5
    told = likelihoods(Facts().redis_empty().datasource_wrong().diagnose())
    assert told["redis-empty"] > 0.5
    assert told["datasource-wrong"] > 0.5


def test_panels_that_are_empty_for_another_reason_have_no_cause_of_the_list() -> None:
    facts = Facts()
    facts.points[2], facts.errors[2] = 0, "parse error: unexpected end of input"  # of a Prometheus panel
    verdict = facts.diagnose()
    assert verdict.confirmed
    assert verdict.cause == "none-of-these"


def test_what_could_not_be_seen_lowers_the_confidence_and_is_told() -> None:
    facts = Facts().writer_down()
    sure = facts.diagnose()
    facts.census_seen = facts.status_seen = False
    facts.writer = None
    blind = facts.diagnose()
    assert blind.confidence < sure.confidence
    because = {item.key: item.because for item in blind.causes}
    for cause in ("writer-down", "redis-empty", "datasource-wrong"):
        assert because[cause].startswith("could not be examined: "), because


def plan(cause: str, facts: Facts, **given: Any) -> list[tuple[str, dict[str, Any]]]:
    seen: dict[str, Any] = {
        "versions": None,
        "elsewhere": None,
        "clients": None,
        "commands": None,
        "memory": None,
        **given,
    }
    own = {"dashboard": "edge-risk", "address": REDIS, "platform_clients": ["trading-platform"]}
    return dashboard_no_data.fixes([cause], **own, **seen)


def test_each_fix_is_aimed_and_no_wider_than_its_cause() -> None:
    assert plan("writer-down", Facts()) == [("crypto.set-series-writer", {"running": True})]
    versions = [
        {"version": 4, "queries": ["ts.range"]},
        {"version": 3, "queries": ["ts.range"]},
        {"version": 2, "queries": ["hgetall"]},
        {"version": 1, "queries": ["hgetall"]},
    ]
    restored = plan("module-missing", Facts(), versions=versions)
    assert restored == [("dashboards.restore-version", {"uid": "edge-risk", "version": 2})]
    facts = Facts().datasource_wrong()
    elsewhere = dashboard_no_data.leads_elsewhere(facts.panels, {"primary": REDIS})
    assert plan("datasource-wrong", facts, elsewhere=elsewhere) == [
        ("dashboards.set-datasource", {"uid": "redis", "url": f"redis://{REDIS}/0"})
    ]


def test_only_who_removes_the_series_loses_its_connection() -> None:
    client = {"kind": "normal", "active": 1, "connections": 1}
    clients = pd.DataFrame(
        [
            {**client, "name": "cleanup", "command": "unlink"},
            {**client, "name": "trading-platform", "command": "del"},
            {**client, "name": "web", "command": "hgetall"},
            {**client, "name": "", "command": "del"},
        ]
    )
    found = plan("redis-empty", Facts(), clients=clients, memory={"maxmemory": 0, "used_memory": 5})
    assert [(action, given["name"]) for action, given in found] == [("redis.kill-clients", "cleanup")]
    full = {"maxmemory": 40_000_000, "used_memory": 39_000_000}
    found = plan("redis-empty", Facts(), clients=clients, memory=full)
    assert [(action, given["value"]) for action, given in found] == [("redis.set-configuration", "80000000")]


def test_a_fix_that_cannot_be_aimed_is_not_proposed() -> None:
    assert plan("module-missing", Facts(), versions=[{"version": 1, "queries": ["ts.range"]}]) == []
    assert plan("datasource-wrong", Facts()) == []
    assert plan("redis-empty", Facts()) == []


def test_who_only_looks_for_keys_keeps_its_connection() -> None:
    client = {"kind": "normal", "active": 1, "connections": 1, "command": "scan"}
    clients = pd.DataFrame([{**client, "name": name} for name in ("inventory", "cleanup", "trading-platform")])
    assert plan("redis-empty", Facts(), clients=clients) == []
    sent = [("inventory", "scan"), ("inventory", "type"), ("cleanup", "scan"), ("trading-platform", "del")]
    watched = pd.DataFrame([{"kind": "normal", "name": name, "command": verb, "seen": 9} for name, verb in sent])
    assert plan("redis-empty", Facts(), clients=clients, commands=watched) == []
    watched.loc[len(watched)] = {"kind": "normal", "name": "cleanup", "command": "unlink", "seen": 1}
    found = plan("redis-empty", Facts(), clients=clients, commands=watched)
    assert found == [("redis.kill-clients", {"name": "cleanup", "until": "dashboard-data"})]
    watched.loc[len(watched)] = {"kind": "normal", "name": "locks", "command": "del", "seen": 4}
    assert plan("redis-empty", Facts(), clients=clients, commands=watched) == []
    assert dashboard_no_data.removers(clients, watched, ["trading-platform"]) == ["cleanup", "locks"]


def test_where_the_data_end_is_marked_and_a_panel_without_points_says_so() -> None:
    times = pd.date_range(NOW, periods=10, freq="1min")
    series = pd.DataFrame({"A": range(10), "B": [1.0] * 9 + [float("nan")]}, index=times)
    points = pd.Series({"VaR": 0.0, "edge": 1200.0})
    now = times[-1] + dt.timedelta(minutes=3)
    alert = {"alert": times[-1] + dt.timedelta(minutes=1)}

    def words(axes: Any) -> list[str]:
        return [
            text.get_text() for text in [*axes.texts, *(axes.get_legend().get_texts() if axes.get_legend() else [])]
        ]

    figure = dashboard_picture.panels(series, points, until=now, quantity="VaR [%]", marks=alert)
    assert {"data end", "alert", "A", "B"} <= set(words(figure.axes[0]))
    assert figure.axes[0].get_ylabel() == "VaR [%]"
    assert [text.get_text() for text in figure.axes[1].texts] == ["1,200", "no data"]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["edge", "VaR"]
    nothing = dashboard_picture.panels(None, points, until=now, quantity="VaR [%]", marks=alert)
    assert words(nothing.axes[0]) == ["nothing is stored"]
