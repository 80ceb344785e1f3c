"""A23 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import Verdict, dashboard_no_data, dashboard_picture
from tests.diagnosis.dashboard_facts import NOW, REDIS, REPLICA, USUAL, Facts


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


def test_series_that_are_removed_as_soon_as_written_are_told_though_each_panel_has_a_few_points() -> None:
    facts = Facts()
    held = dashboard_no_data.Held(keys=9, points=3, age_s=float("nan"))
    facts.points[:2] = [3, 5]
    removing = [{"name": "cleaner", "host": "10.0.0.9", "user": "default"}]
    told = dashboard_no_data.thin(facts.panels, held, USUAL, removing)
    assert told == (
        "Yet Redis holds 9 series of at most 3 points (usual: 1,000), so panels show next to nothing and may be empty "
        "the next moment; seen to remove keys: cleaner"
    )
    facts.points[0] = 0  # then the alert is true, and the cause says it
    assert dashboard_no_data.thin(facts.panels, held, USUAL, removing) == ""
    assert dashboard_no_data.thin(None, held, USUAL, removing) == ""
