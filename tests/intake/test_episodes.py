"""Episodes: what a delivery means, given what came before."""

from __future__ import annotations

import datetime as dt

from opslib import incidents, intake, store
from opslib.intake.acceptance import Receipt
from opslib.settings import Settings
from tests.intake.bodies import NOON, alert, counts, labels, ledger, one, send, send_v2, stamp


def after(minutes: float) -> dt.datetime:
    return NOON + dt.timedelta(minutes=minutes)


def test_the_same_body_three_times_is_one_incident_one_run_two_repeats(settings: Settings) -> None:
    receipts = [send(settings, alert()) for _ in range(3)]
    assert [(receipt.accepted, receipt.repeats) for receipt in receipts] == [(1, 0), (0, 1), (0, 1)]
    assert one(settings, "SELECT count(*) FROM incidents") == 1
    assert one(settings, "SELECT count(*) FROM runs") == 1
    assert one(settings, "SELECT count(*) FROM procrastinate_jobs") == 1
    assert counts(settings) == (1, 2)
    assert ledger(settings)["alerts"][0]["outcome"] == "waiting"


def test_pair_with_another_start_is_a_repeat(settings: Settings) -> None:
    send(settings, alert(starts=NOON))
    assert send(settings, alert(starts=after(0.2)), now=after(1)).repeats == 1


def test_new_firing_after_a_resolve_is_a_new_episode_of_the_incident(settings: Settings) -> None:
    send(settings, alert())
    assert send(settings, alert(ends=after(2)), now=after(2)).resolved == 1
    assert one(settings, "SELECT state FROM incidents") == "mitigated"
    receipt = send(settings, alert(starts=after(3)), now=after(3))
    assert (receipt.accepted, receipt.repeats) == (1, 0)
    assert one(settings, "SELECT state FROM incidents") == "open"
    assert one(settings, "SELECT count(*) FROM incidents") == 1


def test_group_delivered_late_is_a_repeat_but_a_true_new_firing_is_never_lost(settings: Settings) -> None:
    send(settings, alert())
    send(settings, alert(ends=after(2)), now=after(2))
    assert send(settings, alert(), now=after(3)).repeats == 1
    assert send(settings, alert(), now=after(8)).accepted == 1  # it has been firing for six minutes since


def test_resolve_before_the_episode_is_out_of_order(settings: Settings) -> None:
    send(settings, alert(starts=after(10)), now=after(10))
    receipt = send(settings, alert(starts=NOON, ends=after(5)), now=after(11))
    assert (receipt.resolved, receipt.repeats) == (0, 1)
    assert one(settings, "SELECT state FROM alerts") == "firing"


def test_resolve_never_seen_firing_is_suppressed_with_its_reason(settings: Settings) -> None:
    receipt = send(settings, alert(ends=after(2)), now=after(2))
    assert (receipt.accepted, receipt.suppressed, receipt.incidents) == (1, 1, [])
    book = ledger(settings)
    assert (book["suppressed"], book["alerts"][0]["reason"]) == (1, "resolved before it was seen firing")
    assert send(settings, alert(ends=after(2)), now=after(3)).repeats == 1
    assert send(settings, alert(), now=after(4)).repeats == 1  # its firing, delivered after its end
    assert one(settings, "SELECT count(*) FROM runs") == 0


def test_resolve_again_is_a_repeat(settings: Settings) -> None:
    send(settings, alert())
    send(settings, alert(ends=after(2)), now=after(2))
    assert send(settings, alert(ends=after(2)), now=after(4)).repeats == 1


def test_episode_that_came_and_went_between_deliveries_is_on_the_ledger(settings: Settings) -> None:
    send(settings, alert())
    send(settings, alert(ends=after(2)), now=after(2))
    receipt = send(settings, alert(starts=after(10), ends=after(11)), now=after(11))
    assert (receipt.accepted, receipt.suppressed) == (1, 1)


def test_fire_resolve_fire_within_one_body(settings: Settings) -> None:
    receipt = send(settings, alert(), alert(ends=after(2)), alert(starts=after(3)), now=after(4))
    assert (receipt.accepted, receipt.resolved, receipt.repeats) == (2, 1, 0)
    assert one(settings, "SELECT count(*) FROM alerts WHERE state = 'firing'") == 1


def test_end_that_passes_expires_the_episode(settings: Settings) -> None:
    body = {"labels": labels(), "startsAt": stamp(NOON), "endsAt": stamp(after(4))}
    send_v2(settings, body)
    assert intake.sweep(settings, after(3)) == 0
    assert send_v2(settings, body | {"endsAt": stamp(after(6))}, now=after(2)).repeats == 1
    assert intake.sweep(settings, after(5)) == 0
    assert intake.sweep(settings, after(6)) == 1
    assert one(settings, "SELECT state FROM alerts") == "expired"
    assert one(settings, "SELECT state FROM incidents") == "mitigated"
    assert send_v2(settings, body | {"endsAt": stamp(after(20))}, now=after(7)).accepted == 1


def test_end_that_passed_is_noticed_without_a_sweep(settings: Settings) -> None:
    send_v2(settings, {"labels": labels(), "startsAt": stamp(NOON), "endsAt": stamp(after(4))})
    again = {"labels": labels(), "startsAt": stamp(after(9)), "endsAt": stamp(after(14))}
    assert send_v2(settings, again, now=after(10)).accepted == 1


def test_an_incident_is_mitigated_only_when_its_last_alert_is_over(settings: Settings) -> None:
    other = alert() | {"labels": labels(pod="b")}
    send(settings, alert(), other)
    assert one(settings, "SELECT count(*) FROM incidents") == 1
    send(settings, alert(ends=after(2)), now=after(2))
    assert one(settings, "SELECT state FROM incidents") == "open"
    send(settings, other | {"status": "resolved", "endsAt": stamp(after(3))}, now=after(3))
    assert one(settings, "SELECT state FROM incidents") == "mitigated"


def test_an_alert_while_the_run_is_under_way_is_answered_by_it_and_afterwards_by_a_new_one(settings: Settings) -> None:
    send(settings, alert())
    send(settings, alert() | {"labels": labels(pod="b")})
    assert one(settings, "SELECT count(DISTINCT run) FROM alerts") == 1
    with store.transaction(settings) as connection:
        connection.execute("UPDATE runs SET state = 'succeeded', started_at = now(), ended_at = now()")
    receipt = send(settings, alert() | {"labels": labels(pod="c", severity="P0")})
    assert one(settings, "SELECT count(DISTINCT run) FROM alerts") == 2
    assert one(settings, "SELECT count(*) FROM incidents") == 1
    assert receipt.incidents == [one(settings, "SELECT id FROM incidents")]
    assert {row["outcome"] for row in ledger(settings)["alerts"]} == {"run", "waiting"}


def test_a_resolved_incident_is_not_opened_again(settings: Settings) -> None:
    send(settings, alert())
    with store.transaction(settings) as connection:
        connection.execute("UPDATE incidents SET state = 'resolved', resolved_at = now()")
    send(settings, alert(ends=after(2)), now=after(2))
    send(settings, alert(starts=after(3)), now=after(3))
    assert one(settings, "SELECT count(*) FROM incidents") == 2


def test_plans_are_void_when_the_alert_is_over(settings: Settings) -> None:
    send(settings, alert())
    with store.transaction(settings) as connection:
        connection.execute(
            "INSERT INTO plans (hash, incident, run, platform, document, state, expires_at, undo_of) "
            "SELECT names.hash, runs.incident, runs.id, 'crypto', '{}', names.state, now() + interval '1 hour', "
            "names.undo FROM runs, (VALUES ('a', 'proposed', NULL), ('b', 'approved', NULL), ('c', 'applying', NULL), "
            "('d', 'proposed', 'c')) AS names (hash, state, undo)"
        )
    send(settings, alert(ends=after(2)), now=after(2))
    with store.transaction(settings) as connection:
        states = {row["hash"]: row["state"] for row in connection.execute("SELECT hash, state FROM plans")}
    assert states == {"a": "void", "b": "void", "c": "applying", "d": "proposed"}
    told = "SELECT count(*) FROM journal WHERE position('the alert is resolved' IN line) > 0"
    assert one(settings, told) == 2


def test_a_lost_run_counts_as_lost_until_another_answers(settings: Settings) -> None:
    send(settings, alert())
    with store.transaction(settings) as connection:
        connection.execute("UPDATE runs SET state = 'lost', error = 'the worker was killed'")
    book = ledger(settings)
    assert (book["lost"], book["alerts"][0]["reason"]) == (1, "the worker was killed")
    with store.transaction(settings) as connection:
        connection.execute(
            "INSERT INTO runs (incident, number, runbook, platform, mode, requested_by, attempt, retry_of) "
            "SELECT incident, 2, runbook, platform, mode, requested_by, 2, id FROM runs"
        )
    assert ledger(settings)["waiting"] == 1


def test_alert_that_fires_on_after_a_person_resolved_it_is_looked_at_again(settings: Settings) -> None:
    first = send(settings, alert()).incidents[0]
    with store.transaction(settings) as connection:
        incidents.resolve(connection, first, "ann", "the desk says so")
    resolved = one(settings, "SELECT resolved_at FROM incidents")

    def again(minutes: float) -> Receipt:
        return send(settings, alert(), now=resolved + dt.timedelta(minutes=minutes))

    assert (again(1).repeats, again(4.9).repeats) == (1, 1)
    receipt = again(5.1)
    assert (receipt.accepted, receipt.repeats) == (1, 0)
    (second,) = receipt.incidents
    assert second != first
    assert again(6).repeats == 1
    assert counts(settings) == (2, 3)
    assert one(settings, "SELECT count(*) FROM runs WHERE incident = %(name)s", name=second) == 1
    assert [row["incident"] for row in ledger(settings)["alerts"]] == [first, second]
    assert one(settings, "SELECT state FROM alerts WHERE incident = %(name)s", name=first) == "resolved"
    with store.transaction(settings) as connection:
        told = {name: incidents.show(connection, name)["timeline"] for name in (first, second)}
    assert told[first][-1]["body"]["text"] == (
        f"An alert fires on although the incident was resolved: {second} has it now."
    )
    (accepted,) = (entry["body"] for entry in told[second] if entry["kind"] == "alert-accepted")
    assert accepted["again"][0]["incident"] == first
    assert (
        send(settings, alert(ends=resolved + dt.timedelta(minutes=7)), now=resolved + dt.timedelta(minutes=7)).resolved
        == 1
    )
    assert one(settings, "SELECT state FROM incidents WHERE id = %(name)s", name=second) == "mitigated"


def test_alert_that_ends_after_a_person_resolved_it_starts_nothing(settings: Settings) -> None:
    first = send(settings, alert()).incidents[0]
    with store.transaction(settings) as connection:
        incidents.resolve(connection, first, "ann")
    end = one(settings, "SELECT resolved_at FROM incidents") + dt.timedelta(hours=1)
    assert send(settings, alert(ends=end), now=end).resolved == 1
    assert one(settings, "SELECT count(*) FROM incidents") == 1
    assert counts(settings) == (1, 0)
