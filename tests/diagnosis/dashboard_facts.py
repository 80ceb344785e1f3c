"""What the probes tell of a dashboard without data, by cause: every panel has data, until something is changed."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pandas as pd

from opslib.diagnosis import Diagnosis, Verdict, dashboard_no_data

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
REDIS, REPLICA, OTHER = "127.0.0.1:6379", "127.0.0.1:6380", "127.0.0.1:6390"
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
        self.prometheus_answers = False
        self.gone: list[str] = []
        self.refused = ""

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
        instances = {"primary": REDIS, "replica": REPLICA}
        elsewhere = dashboard_no_data.leads_elsewhere(panels, instances, "primary") if self.status_seen else None
        case.examine("writer-down", held=held, writer=self.writer, now=NOW, stale_s=10.0, refused=self.refused)
        over = dashboard_no_data.overwritten(panels)
        case.examine("redis-empty", held=held, usual_points=USUAL, gone=self.gone, overwritten=over)
        case.examine("module-missing", panels=panels, modules=self.modules)
        seen = {"panels": panels, "elsewhere": elsewhere, "held": held}
        case.examine("datasource-wrong", **seen, prometheus=self.prometheus_answers, stale_s=10.0)
        return case.verdict()


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
