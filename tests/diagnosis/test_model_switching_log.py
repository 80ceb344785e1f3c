"""A10 on the log of switches: what others wrote, what is missing or cut short, its clock, and the rate it gives."""

from __future__ import annotations

import datetime as dt
import random

import pandas as pd
import pytest

from opslib.diagnosis import model_switching
from opslib.diagnosis import model_switching_seen as seen
from sandbox.crypto.parameters import SYMBOLS
from tests.diagnosis import simulation
from tests.diagnosis.switching_scenes import edited, healthy

MODELS = ("momentum", "mean-reversion", "alpha-vertex")


def test_an_empty_log_is_no_error() -> None:
    scene = simulation.scene(79)
    scene.platform.switches.clear()
    verdict = simulation.diagnose_switching(scene)
    assert not verdict.confirmed


def written(scene: simulation.Scene, count: int, *, kind: str = "any", after_s: float = 0.0) -> pd.DataFrame:
    """The log with entries that somebody else wrote into it: of any symbol to any model, or one to and fro."""
    rng, start = random.Random(kind), simulation.clock(scene) + dt.timedelta(seconds=after_s - 28.0)
    rows = []
    for place in range(count):
        pair = rng.sample(MODELS, 2) if kind == "any" else [MODELS[place % 2], MODELS[(place + 1) % 2]]
        symbol = rng.choice(SYMBOLS) if kind == "any" else SYMBOLS[0]
        rows.append((start + dt.timedelta(seconds=28.0 * place / count), symbol, *pair, "0.6100", "0.4"))
    log = simulation.stream(scene)
    more = pd.DataFrame(rows, columns=["time", "symbol", "from", "to", "confidence", "took_ms"])
    more["time"] = pd.to_datetime(more["time"])
    return pd.concat([log, more], ignore_index=True) if len(log) else more


def test_switches_of_any_symbol_at_the_usual_volume_are_no_still_market() -> None:
    scene = healthy()
    verdict = simulation.diagnose_switching(scene, entries=written(scene, 40))
    assert (verdict.confirmed, verdict.cause) == (True, "none-of-these")
    assert "holds 80 a minute, the platform itself counts 0: look who else writes" in verdict.summary


def test_one_symbol_to_and_fro_under_right_rules_is_none_of_these() -> None:
    scene = healthy()
    verdict = simulation.diagnose_switching(scene, entries=written(scene, 40, kind="one"))
    assert (verdict.confirmed, verdict.cause) == (True, "none-of-these")


@pytest.mark.parametrize("kept", [0, 4])
def test_a_log_that_was_cut_short_tells_no_rate_and_no_pattern(kept: int) -> None:
    scene = edited(threshold=0.25, band=0.0)
    verdict = simulation.diagnose_switching(scene, entries=simulation.stream(scene).tail(kept))
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)
    assert "the log lacks entries" in verdict.summary


@pytest.mark.parametrize("ahead_s", [-90.0, 90.0])
def test_the_log_is_read_by_the_platforms_clock(ahead_s: float) -> None:
    scene = edited(threshold=0.25, band=0.0)
    ours = simulation.clock(scene) + dt.timedelta(seconds=ahead_s)
    there, here = simulation.diagnose_switching(scene, ours=ours), simulation.diagnose_switching(scene)
    assert (there.cause, there.summary) == ("two-model-flip", here.summary)


def test_entries_of_a_time_to_come_are_no_switches() -> None:
    scene = healthy()
    verdict = simulation.diagnose_switching(scene, entries=written(scene, 30, after_s=3600.0))
    assert not verdict.confirmed
    assert "30 entries of the log of switches are left out" in verdict.summary


@pytest.mark.parametrize(
    ("field", "value"),
    [("symbol", None), ("from", ""), ("to", None), ("confidence", "abc"), ("took_ms", ""), ("took_ms", None)],
)
@pytest.mark.parametrize("every", [True, False])
def test_a_field_that_is_missing_or_no_number_stops_nothing(field: str, value: str | None, every: bool) -> None:
    scene = healthy()
    entries = written(scene, 40)
    entries.loc[entries.index[0 if every else -3] :, field] = value
    verdict = simulation.diagnose_switching(scene, entries=entries)
    named = field in seen.TEXTS
    assert ("left out" in verdict.summary) is named
    assert verdict.confirmed is not (named and every)
    assert "nan" not in " ".join([verdict.summary, *(item.because for item in verdict.causes)])


def test_a_log_without_any_of_the_fields_is_no_error() -> None:
    scene = healthy()
    entries = pd.DataFrame({"time": [pd.Timestamp(simulation.clock(scene))], "x": ["y"]})
    assert not simulation.diagnose_switching(scene, entries=entries).confirmed


def test_a_full_log_is_counted_over_the_time_that_it_covers() -> None:
    now = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)
    times = pd.date_range(end=now, periods=seen.MOST, freq="100ms")
    stream = pd.DataFrame({"time": times, "symbol": "BTC-USD", "from": "a", "to": "b"})
    switches = seen.log(stream, now)
    assert seen.rate(switches, None, now, 300.0) == pytest.approx(600.0, rel=0.01)
    assert seen.rate(seen.log(stream.tail(600), now), None, now, 300.0) == pytest.approx(120.0)
    assert seen.pattern(switches, now, 300.0, 100.0)["per_minute"].sum() == pytest.approx(600.0, rel=0.01)


def test_shares_are_told_as_they_are_and_weighed_by_how_few_they_are() -> None:
    scene = edited(threshold=0.25, band=0.0)
    now, status = simulation.clock(scene), simulation.document(scene)
    switches = seen.log(simulation.stream(scene), now)
    few = switches[switches["symbol"] == "ADA-USD"].tail(6)
    few.attrs = switches.attrs
    pattern = seen.pattern(few, now, 30.0, 100.0)
    told = {
        item.text: item.weight
        for item in model_switching.two_model_flip(pattern, seen.routing(status, simulation.WANTED))
    }
    assert 0.0 < told["100 % of the switches go back to the model before"] < 3.0


def test_volume_that_stands_still_in_the_series_is_taken_from_the_platform() -> None:
    scene = healthy()
    status, volume = simulation.document(scene), simulation.history(scene, "volume_usd")
    for facts in status["symbols"].values():
        facts["volume_usd"] = 0.002 * facts["volume_usual_usd"]
    now = simulation.clock(scene)
    assert (seen.liquidity(volume, status, now)["share"] > 0.5).all()
    stale = volume[volume.index < now - dt.timedelta(seconds=2 * seen.STALE_S)]
    assert (seen.liquidity(stale, status, now)["share"] < 0.01).all()
    assert seen.liquidity(stale, None, now)["share"].isna().all()
