"""No accepted alert is ever unaccounted for, whatever comes in whatever order."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from opslib import intake, store
from opslib.api.counts import Counts
from opslib.commands import doctor
from opslib.record import journal
from opslib.settings import Settings
from tests.intake.bodies import NOON, alert, ledger, one, send, send_v2, stamp

_case = itertools.count()

times = st.integers(min_value=0, max_value=20)
steps = st.one_of(
    st.tuples(st.just("fire"), st.integers(0, 2), times),
    st.tuples(st.just("resolve"), st.integers(0, 2), times),
    st.tuples(st.just("prometheus"), st.integers(0, 2), times),
    st.tuples(st.just("sweep"), st.just(0), st.just(0)),
    st.tuples(st.just("run"), st.sampled_from([0, 1, 2]), st.just(0)),
    st.tuples(st.just("resolve-incident"), st.just(0), st.just(0)),
)
ENDS = ["succeeded", "lost", "kernel-died"]


@pytest.mark.slow
@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(steps, st.integers(0, 4)), min_size=1, max_size=14))
def test_every_delivery_is_an_episode_a_repeat_or_an_end(settings: Settings, sequence: list[Any]) -> None:
    case = f"case-{next(_case)}"
    now, delivered, came = NOON, 0, {"accepted": 0, "repeats": 0, "resolved": 0}
    before = ledger(settings)
    for (what, which, minute), passed in sequence:
        now += dt.timedelta(minutes=passed)
        at = NOON + dt.timedelta(minutes=minute)
        of = {"labels": {"alertname": "VarBreach", "platform": "crypto", "symbol": f"{case}-{which}"}}
        receipt = None
        if what == "fire":
            receipt = send(settings, alert(starts=min(at, now)) | of, now=now)
        elif what == "resolve":
            receipt = send(settings, alert(starts=min(at, now), ends=now) | of, now=now)
        elif what == "prometheus":
            body = of | {"startsAt": stamp(min(at, now)), "endsAt": stamp(at)}
            receipt = send_v2(settings, body, now=now)
        elif what == "sweep":
            intake.sweep(settings, now)
        elif what == "run":
            _end_runs(settings, ENDS[which])
        else:
            with store.transaction(settings) as connection:
                connection.execute("UPDATE incidents SET state = 'resolved' WHERE state = 'mitigated'")
        if receipt is not None:
            delivered += 1
            for name in came:
                came[name] += getattr(receipt, name)
        book = ledger(settings)
        assert book["accepted"] - before["accepted"] == came["accepted"]
        assert book["repeats"] - before["repeats"] == came["repeats"]
    assert sum(came.values()) == delivered
    unanswered = "SELECT count(*) FROM alerts WHERE run IS NULL AND suppressed IS NULL AND lost IS NULL"
    assert one(settings, unanswered) == 0
    twice = (
        "SELECT count(*) FROM (SELECT FROM incidents WHERE state <> 'resolved' AND opened_by = 'alert' "
        "GROUP BY platform, runbook, target HAVING count(*) > 1) AS doubled"
    )
    assert one(settings, twice) == 0
    calm = (
        "SELECT count(*) FROM incidents WHERE state = 'mitigated' AND EXISTS "
        "(SELECT FROM alerts WHERE alerts.incident = incidents.id AND alerts.state = 'firing')"
    )
    assert one(settings, calm) == 0
    assert json.dumps(ledger(settings), default=str)


def _end_runs(settings: Settings, state: str) -> None:
    with store.transaction(settings) as connection:
        connection.execute(
            "UPDATE runs SET state = %(state)s, started_at = now(), ended_at = now() WHERE state = 'waiting'",
            {"state": state},
        )


BREAK: dict[str, str | list[tuple[str, dict[str, str]]]] = {
    "alerts that nothing answers": "UPDATE alerts SET run = NULL",
    "alerts that are both suppressed and answered": "UPDATE alerts SET suppressed = 'x'",
    "alerts that a run of another incident answers": "UPDATE alerts SET run = (SELECT max(id) FROM runs) WHERE id = 1",
    "places where two runs that alerts started go on at once": (
        "UPDATE runs SET state = 'running'; UPDATE incidents SET state = 'resolved', target = 'same'"
    ),
    "waiting runs that no job will ever start": (
        "DELETE FROM procrastinate_jobs; UPDATE runs SET queued_at = now() - interval '2 minutes'"
    ),
    "runs that ended with the journal saying otherwise": "UPDATE runs SET state = 'succeeded', started_at = now()",
    "runs that began after the journal says they ended": [("run-ended", {"state": "cancelled"}), ("run-started", {})],
}


@pytest.mark.parametrize("what", BREAK)
def test_what_may_never_be_is_noticed(settings: Settings, what: str) -> None:
    send(settings, alert(), alert("ETH-USD"))
    with store.transaction(settings, role="reader") as connection:
        assert intake.mistakes(connection) == []
    with store.transaction(settings) as connection:
        done = BREAK[what]
        if isinstance(done, str):
            for statement in done.split(";"):
                connection.execute(statement.encode())
        else:
            row = connection.execute("SELECT id, incident FROM runs ORDER BY id LIMIT 1").fetchone() or {}
            for kind, body in done:
                journal.append(connection, row["incident"], kind, {"run": row["id"], **body}, actor="test")
        found = intake.mistakes(connection)
    assert any(what in mistake for mistake in found), found


def test_an_alert_that_nothing_answers_is_a_gap_and_the_doctor_says_so(settings: Settings) -> None:
    send(settings, alert(), alert("ETH-USD"))
    assert doctor._ledger(settings) == doctor.Check(
        "ledger",
        "ok",
        "0 run + 2 waiting + 0 suppressed + 0 lost = 2 accepted alerts; every run ended once",
    )
    with store.transaction(settings) as connection:
        connection.execute("UPDATE alerts SET run = NULL WHERE id = 1")
    told = doctor._ledger(settings)
    assert told.state == "broken"
    assert told.detail.startswith("0 run + 1 waiting + 0 suppressed + 0 lost = 1, but 2 alerts were accepted")
    assert "runbook_ledger_gap 1.0" in Counts(settings).text().decode()
