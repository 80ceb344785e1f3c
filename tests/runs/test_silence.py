"""Runs of other hosts are lost when they fall silent, and neither by a clock nor by a database that was away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from opslib import store
from opslib.runs import following, reaper
from opslib.runs.silence import Silence
from opslib.settings import Settings
from opslib.sql import queries
from tests.runs.support import queued

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """Stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def looks(*beats: tuple[float, datetime]) -> list[dict[int, float]]:
    """What is silent at each look: (seconds after the one before, the beat in the store)."""
    clock = Clock()
    silence = Silence(clock)
    told = []
    for after, beat in beats:
        clock.now += after
        told.append(silence.look({7: beat}))
    return told


def test_a_beat_that_stays_the_same_is_silence() -> None:
    assert looks(*[(5, NOON)] * 4) == [{}, {}, {}, {7: 15.0}]


def test_a_run_that_beats_is_not_silent_whatever_the_clock_of_the_database_says() -> None:
    for jump in (timedelta(hours=5), timedelta(hours=-5), timedelta(seconds=1)):
        assert looks(*[(5, NOON + number * jump) for number in range(10)]) == [{}] * 10


def test_after_a_database_that_was_away_the_run_has_time_to_beat() -> None:
    assert looks((5, NOON), (60, NOON), (5, NOON + timedelta(seconds=64))) == [{}, {}, {}]


def test_looks_in_quick_succession_prove_nothing() -> None:
    assert looks((5, NOON), (20, NOON), (0.1, NOON), (0.1, NOON), (0.1, NOON))[-1] == {}


def test_a_run_that_ended_is_forgotten() -> None:
    clock = Clock()
    silence = Silence(clock)
    silence.look({7: NOON})
    clock.now += 60
    assert silence.look({}) == {}
    assert silence.look({7: NOON}) == {}


@pytest.mark.parametrize("shift", ["- interval '2 days'", "+ interval '2 days'"])
def test_the_reaper_loses_a_silent_run_of_another_host_and_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, shift: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(reaper, "_silence", Silence(clock))
    _, silent = queued(settings, "var-breach")
    _, beating = queued(settings, "var-breach")
    with store.transaction(settings) as connection:
        for run in (silent, beating):
            connection.execute(queries("runs").claim, {"run": run, "worker": "elsewhere/1/1"})
            connection.execute(f"UPDATE runs SET heartbeat_at = now() {shift} WHERE id = %s", [run])
    lost = []
    for _ in range(5):
        with store.transaction(settings) as connection:
            connection.execute(
                "UPDATE runs SET heartbeat_at = heartbeat_at + interval '1 millisecond' WHERE id = %s", [beating]
            )
        lost += reaper.reap(settings)
        clock.now += 5
    assert lost == [silent]
    row = following.read(settings, silent)
    assert row["state"] == "lost"
    assert "was silent for 15 s" in row["error"]
    assert following.read(settings, beating)["state"] == "running"
