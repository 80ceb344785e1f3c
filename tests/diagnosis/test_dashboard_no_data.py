"""A23 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import Diagnosis, Verdict, dashboard_no_data, dashboard_picture

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
        lambda: Facts().datasource_wrong("http://127.0.0.1:6379/", "Connection refused"),
        lambda: Facts().datasource_wrong(f"redis://{REPLICA}/0", ""),  # it answers, and follows no more
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
    found_both = dashboard_no_data.removers(clients, watched, ["trading-platform"])
    assert found_both == [{"name": "cleanup"}, {"name": "locks"}]
    assert dashboard_no_data.told(found_both) == "cleanup, locks"


def sending(*sent: tuple[str, str]) -> pd.DataFrame:
    client = {"kind": "normal", "host": "10.0.0.7", "user": "etl", "seen": 9}
    return pd.DataFrame([{**client, "name": name, "command": verb} for name, verb in sent])


@pytest.mark.parametrize("verb", ["del", "flushall", "rename", "expire", "pexpireat", "hdel", "getex"])
def test_whoever_takes_keys_away_in_whatever_way_is_stopped(verb: str) -> None:
    watched = sending(("tidy", "scan"), ("tidy", verb), ("trading-platform", "hdel"), ("web", "hgetall"))
    closed = [("redis.kill-clients", {"name": "tidy", "until": "dashboard-data"})]
    assert plan("redis-empty", Facts(), commands=watched) == closed


@pytest.mark.parametrize("verb", ["eval", "evalsha", "fcall", "exec"])
def test_who_hides_what_it_runs_is_stopped_only_while_keys_are_removed(verb: str) -> None:
    watched = sending(("tidy", verb), ("trading-platform", "hset"), ("web", "hgetall"))
    closed = [("redis.kill-clients", {"name": "tidy", "until": "dashboard-data"})]
    assert plan("redis-empty", Facts(), commands=watched, ran=["DEL", "HSET", "KEYS"]) == closed
    assert plan("redis-empty", Facts(), commands=watched, ran=["HSET", "HGETALL"]) == []
    plain = pd.concat([watched, sending(("retention", "unlink"))])
    assert plan("redis-empty", Facts(), commands=plain, ran=["UNLINK"])[0][1]["name"] == "retention"
    two = pd.concat([watched, sending(("locks", verb))])
    assert plan("redis-empty", Facts(), commands=two, ran=["DEL"]) == []
    assert dashboard_no_data.ran({"server": {"mean_ms": {"HSET": 0.1, "DEL": 0.2}}}) == ["DEL", "HSET"]
    assert dashboard_no_data.ran(None) == dashboard_no_data.ran({"server": None}) == []


def test_a_remover_without_a_name_is_told_by_its_place() -> None:
    watched = sending(("", "del"), ("trading-platform", "hset"))
    place = {"name": "", "host": "10.0.0.7", "user": "etl"}
    assert plan("redis-empty", Facts(), commands=watched) == [
        ("redis.kill-clients", {**place, "until": "dashboard-data"})
    ]
    assert dashboard_no_data.told([place]) == "a program without a name at 10.0.0.7 (user etl)"
    assert dashboard_no_data.told([]) == "nobody"


def test_something_else_in_the_place_of_the_series_is_an_empty_redis() -> None:
    facts = Facts()
    facts.points[:2], facts.errors[:2] = [0, 0], ["WRONGTYPE Operation against a key"] * 2
    assert dashboard_no_data.overwritten(facts.panels)
    assert not dashboard_no_data.overwritten(Facts().redis_empty().panels)
    assert facts.diagnose().cause == "redis-empty"
    watched = sending(("importer", "set"), ("web", "hgetall"))
    assert plan("redis-empty", facts, commands=watched) == []
    closed = [("redis.kill-clients", {"name": "importer", "until": "dashboard-data"})]
    assert plan("redis-empty", facts, commands=watched, overwritten=True) == closed


@pytest.mark.parametrize("error", ["Timeout reading from socket", "Error 104 connecting to 127.0.0.1:6379."])
def test_a_redis_that_is_late_at_its_right_address_is_no_wrong_datasource(error: str) -> None:
    facts = Facts().datasource_wrong(f"redis://{REDIS}/0", error)
    verdict = facts.diagnose()
    assert verdict.cause == "none-of-these", verdict
    elsewhere = dashboard_no_data.leads_elsewhere(facts.panels, {"primary": REDIS}, "primary")
    told = dashboard_no_data.late(facts.panels, elsewhere)
    assert told.startswith("Redis is asked at its right address and is late for 2 of 2 panels without data")
    astray = Facts().datasource_wrong(error=error)
    elsewhere = dashboard_no_data.leads_elsewhere(astray.panels, {"primary": REDIS}, "primary")
    assert dashboard_no_data.late(astray.panels, elsewhere) == dashboard_no_data.late(None, None) == ""


def test_a_datasource_that_serves_another_panel_leads_where_it_should() -> None:
    facts = Facts()
    facts.points[0], facts.errors[0] = 0, "WRONGPASS invalid username-password pair"
    assert facts.diagnose().cause == "none-of-these"


@pytest.mark.parametrize("host", ["localhost:6379", "reader:secret@127.0.0.1:6379", "127.0.0.1"])
def test_another_way_to_write_the_right_address_is_right(host: str) -> None:
    facts = Facts().redis_empty()
    facts.url = f"redis://{host}/0"
    assert dashboard_no_data.leads_elsewhere(facts.panels, {"primary": REDIS}, "primary").empty


@pytest.mark.parametrize(
    "error", ["Client error '404 Not Found' for url 'http://10.0.0.2:9093'", "Expecting value: line 1"]
)
def test_another_server_in_the_place_of_prometheus_is_a_wrong_datasource(error: str) -> None:
    facts = of_prometheus(True)
    facts.errors[2] = error
    verdict = facts.diagnose()
    assert verdict.cause == "datasource-wrong"
    assert "prometheus leads to http://127.0.0.1:9090, where no Prometheus answers" in verdict.causes[0].because


def test_a_writer_whose_redis_takes_no_writes_is_not_down() -> None:
    facts = Facts().writer_down(said=False)
    refused = dashboard_no_data.refused(facts.writer, {"connected": False})
    assert refused == "the writer runs, and the platform says that Redis does not take what it writes"
    facts.refused = refused
    assert facts.diagnose().cause == "none-of-these"
    assert dashboard_no_data.refused(facts.writer, {"connected": True}) == ""
    assert dashboard_no_data.refused(Facts().writer_down().writer, {"connected": False}) == ""
    assert dashboard_no_data.refused(None, None) == ""


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


def of_prometheus(answers: bool) -> Facts:
    """The panel of Prometheus alone has no data."""
    facts = Facts()
    facts.points[2], facts.errors[2], facts.prometheus_answers = 0, "[Errno 111] Connection refused", answers
    return facts


def test_a_prometheus_that_is_down_is_no_wrong_datasource() -> None:
    assert dashboard_no_data.cut_off_from_prometheus(of_prometheus(False).panels)
    assert not dashboard_no_data.cut_off_from_prometheus(Facts().datasource_wrong().panels)
    assert of_prometheus(False).diagnose().cause == "none-of-these"
    verdict = of_prometheus(True).diagnose()
    assert verdict.cause == "datasource-wrong"
    assert "while Prometheus answers us" in verdict.causes[0].because


def test_the_datasource_of_another_scheme_is_set_right() -> None:
    facts = Facts().datasource_wrong("http://127.0.0.1:6379/")
    elsewhere = dashboard_no_data.leads_elsewhere(facts.panels, {"primary": REDIS})
    assert plan("datasource-wrong", facts, elsewhere=elsewhere) == [
        ("dashboards.set-datasource", {"uid": "redis", "url": f"redis://{REDIS}/0"})
    ]


def test_the_instance_that_stands_by_is_not_blamed_for_what_nobody_writes() -> None:
    facts = Facts().writer_down()
    facts.url = f"redis://{REPLICA}/0"
    told = likelihoods(facts.diagnose())
    assert told["writer-down"] > 0.5
    assert told["datasource-wrong"] < 0.5


def test_series_of_one_panel_that_are_gone_are_an_empty_redis() -> None:
    facts = Facts()
    facts.points[0] = 0
    assert dashboard_no_data.unexplained(facts.panels)
    definition = {
        "dashboard": {
            "panels": [
                {"title": "VaR", "targets": [{"command": "hgetall", "keyName": "metrics:var_pct:BTC-USD"}]},
                {"title": "edge", "targets": [{"command": "hgetall", "keyName": "metrics:edge:BTC-USD"}]},
                {"title": "switches", "targets": [{"expr": "up"}]},
            ]
        }
    }
    census = pd.DataFrame({"pattern": ["metrics:price:*"], "keys": [5], "largest_elements": [1000.0]})
    facts.gone = dashboard_no_data.gone(definition, facts.panels, census)
    assert facts.gone == ["metrics:var_pct:*"]
    assert dashboard_no_data.gone(definition, facts.panels, census.assign(pattern="metrics:var_pct:*")) == []
    assert facts.diagnose().cause == "redis-empty"
    assert not dashboard_no_data.unexplained(Facts().module_missing().panels)


def test_what_the_panels_are_told_is_in_the_symptom_and_no_panel_is_no_health() -> None:
    facts = Facts()
    facts.points[0], facts.errors[0] = 0, "WRONGTYPE Operation against a key"
    told = (True, "1 of 3 panels of edge-risk show no data, told: WRONGTYPE Operation against a key")
    assert dashboard_no_data.symptom(facts.panels, "edge-risk") == told
    facts.errors[0] = "unknown command `ts.range`, with args beginning with: `edge_blended_bps:BTC-USD`, `-`, `+`, "
    short = "1 of 3 panels of edge-risk show no data, told: unknown command `ts.range`"
    assert dashboard_no_data.symptom(facts.panels, "edge-risk")[1] == short
    facts.errors[0] = "Connection to the server of the datasource was refused at 127.0.0.1:6380 just now"
    cut = dashboard_no_data.symptom(facts.panels, "edge-risk")[1]
    assert cut.endswith("told: Connection to the server of the datasource was refused at ...")
    assert dashboard_no_data.symptom(Facts().panels, "edge-risk")[0] is False
    none = dashboard_no_data.table({"panels": []}, [])
    assert dashboard_no_data.symptom(none, "edge-risk") == (None, "no panel of edge-risk was found")
