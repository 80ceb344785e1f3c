"""Storms: the queue is too long, one incident a platform says so, nothing is dropped."""

from __future__ import annotations

import json
import threading
from typing import Any

from opslib import incidents, intake, store
from opslib.incidents import wording
from opslib.settings import Settings
from tests.intake.bodies import ledger, one, send
from tests.intake.test_limits import finish, pass_time, some


def small(settings: Settings) -> Settings:
    return settings.model_copy(update={"storm_depth": 4, "storm_age_s": 300.0, "cooldown_s": 0.0})


def storms(settings: Settings) -> list[dict[str, Any]]:
    with store.transaction(settings) as connection:
        return connection.execute(
            "SELECT id, platform, state, severity, title FROM incidents WHERE opened_by = 'the intake' ORDER BY id"
        ).fetchall()


def told(settings: Settings, incident: str) -> list[dict[str, Any]]:
    with store.transaction(settings) as connection:
        return [e for e in incidents.show(connection, incident)["timeline"] if e["kind"] == "storm"]


def test_a_queue_within_its_limits_is_no_storm(settings: Settings) -> None:
    few = small(settings)
    send(few, *(some(f"S{number}") for number in range(4)))
    intake.keep_house(few)
    assert storms(few) == []


def test_one_incident_lists_what_waits_is_told_on_and_closes_when_it_is_over(settings: Settings) -> None:
    few = small(settings)
    send(few, *(some(f"S{number}", "P0" if number == 5 else "warning") for number in range(6)))
    for _ in range(3):
        intake.keep_house(few)
    (storm,) = storms(few)
    assert (storm["platform"], storm["state"], storm["severity"]) == ("crypto", "open", "high")
    (entry,) = told(few, storm["id"])
    body = entry["body"]
    assert (body["waiting"], body["lanes"], body["more"]) == (6, {"critical": 1, "warning": 5}, 0)
    assert [run["target"] for run in body["runs"]] == ["S5", "S0", "S1", "S2", "S3", "S4"]
    line = wording.sentence("storm", body)
    assert line.startswith("6 runs wait (1 critical, 5 warning), the oldest for ")
    assert line.endswith("Alerts are accepted on.")
    assert send(few, some("S9")).accepted == 1  # accepted on
    with store.transaction(few) as connection:
        connection.execute("UPDATE incidents SET told_at = told_at - interval '61 seconds'")
    intake.keep_house(few)
    assert [one_["body"]["waiting"] for one_ in told(few, storm["id"])] == [6, 7]
    finish(few)
    intake.keep_house(few)
    assert storms(few)[0]["state"] == "resolved"
    assert ledger(few)["run"] == 7
    assert one(few, "SELECT count(*) FROM runs WHERE state = 'waiting'") == 0


def test_a_run_that_waits_too_long_is_a_storm_too(settings: Settings) -> None:
    few = small(settings)
    send(few, some())
    pass_time(few, 301)
    intake.keep_house(few)
    assert [storm["state"] for storm in storms(few)] == ["open"]


def test_a_storm_that_a_person_resolved_comes_back_after_a_minute_while_it_lasts(settings: Settings) -> None:
    few = small(settings)
    send(few, *(some(f"S{number}") for number in range(6)))
    intake.keep_house(few)
    with store.transaction(few) as connection:
        incidents.resolve(connection, storms(few)[0]["id"], "ann")
    intake.keep_house(few)
    assert [storm["state"] for storm in storms(few)] == ["resolved"]
    with store.transaction(few) as connection:
        connection.execute(
            "UPDATE incidents SET resolved_at = now() - interval '61 seconds', told_at = now() - interval '61 seconds'"
        )
    intake.keep_house(few)
    assert [storm["state"] for storm in storms(few)] == ["resolved", "open"]


def test_several_servers_open_one_storm_a_platform(settings: Settings) -> None:
    few = small(settings)
    elsewhere = ({"labels": {"alertname": f"E{number}", "severity": "info"}} for number in range(6))
    send(few, *(some(f"S{number}") for number in range(6)), *elsewhere)
    threads = [threading.Thread(target=intake.watch, args=[few]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [storm["platform"] for storm in storms(few)] == ["crypto", "unknown"]
    assert json.dumps(ledger(few), default=str)
    assert ledger(few)["accepted"] == 12  # a storm is no alert
