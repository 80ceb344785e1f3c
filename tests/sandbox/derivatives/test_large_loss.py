"""What A04 looks at, on the platform's real servers and programs: a desk at rest, then a release with wrong Greeks."""

from __future__ import annotations

import datetime as dt
import random
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import redis

from engine import pricing, risk
from opslib import probes, web
from opslib.diagnosis import Diagnosis, Verdict, large_loss
from opslib.probes import Target
from sandbox.derivatives.market import UNDERLYINGS
from sandbox.derivatives.service.release import Release, write
from tests.sandbox.derivatives.conftest import Plain, wait_for

pytestmark = pytest.mark.slow

LIMITS = {"limit_usd": -100_000.0, "band_usd": 60_000.0, "stale_s": 5.0, "hedger_stale_s": 15.0}


def table(target: Target, name: str, **arguments: Any) -> pd.DataFrame:
    found: pd.DataFrame = probes.call(name, target, arguments).table.to_pandas()
    return found


def ask(plain: Plain) -> None:
    """What clients ask for, so that there are served Greeks."""
    rng = random.Random(3)
    for one in UNDERLYINGS.values():
        option = {"underlying": one.name, "kind": rng.choice(("call", "put")), "strike": one.spot, "expiry_days": 60}
        web.post(f"{plain.api}/greeks", json={"client": "client-01", "options": [option]})


def diagnose(plain: Plain) -> tuple[Verdict, large_loss.Valuation, pd.DataFrame]:
    """As the notebook does it, but for the cluster."""
    cache, database = Target("redis", plain.redis_url), Target("postgres", plain.postgres_url)
    now = dt.datetime.now(dt.UTC)
    told = large_loss.figures(table(cache, "redis.hash", key="book:options"), None)
    hashes: dict[str, pd.DataFrame | None] = {}
    hashes |= {name: table(cache, "redis.hash", key=f"market:{name}") for name in UNDERLYINGS}
    market = large_loss.market(hashes, now)

    def named(query: str, **parameters: Any) -> pd.DataFrame:
        return table(database, "postgres.named", query=query, parameters=parameters)

    hedges = named("desk_hedges", window_s=60.0)
    assert told is not None
    assert market is not None
    quotes = table(cache, "redis.hash", key="quotes")
    held = large_loss.holdings(named("desk_positions", book="options"), quotes, market, pricing)
    served = large_loss.served(named("served_greeks", within_s=5.0), held, market, now, pricing, checked=3)
    value = large_loss.revalued(held, hedges, market, large_loss.ratios(served), pricing, risk, stale_s=5.0)
    case = Diagnosis(SimpleNamespace(unseen=[]), large_loss.CAUSES)
    case.confirm(told["pnl_usd"] < LIMITS["limit_usd"], f"the book stands at {told['pnl_usd']:.0f} USD")
    hedger = large_loss.hedger(told, (True, None), None, hedges, dt.datetime.now(dt.UTC))
    release = large_loss.Release(2, 1, 10.0, "")
    on_paper = large_loss.paper(told, value, now, 15.0)
    facts = {"served": served, "valuation": value, "paper": on_paper, "market": market, "release": release}
    case.examine("wrong-greeks", **facts, limit_usd=-1e5, window_s=60.0, stale_s=5.0)
    case.examine("stale-market-data", market=market, stale_s=5.0)
    for cause in ("market-move-hedged", "market-move-hedge-missed"):
        case.examine(cause, valuation=value, market=market, hedger=hedger, **LIMITS)
    return case.verdict(), value, served


@pytest.fixture(scope="module")
def desk(plain: Plain) -> Plain:
    """The platform with its hedger at work."""
    plain.start("hedger")
    with redis.Redis.from_url(plain.redis_url) as client:
        wait_for(lambda: client.hget("book:options", "pnl_usd"))
    return plain


def test_a_desk_at_rest_is_valued_as_its_hedger_does(desk: Plain) -> None:
    ask(desk)
    verdict, value, served = wait_for(lambda: _with_served(desk))
    assert verdict.confirmed is False
    assert value.pnl_usd == pytest.approx(0.0, abs=3_000.0)
    assert served["ratio"].median() == pytest.approx(1.0, abs=0.05)
    assert served["spot_x"].median() == pytest.approx(1.0, abs=1e-3)
    assert set(served["verdict"]) <= {"agrees", "not-checked"}


def test_a_release_with_wrong_volatilities_is_named(desk: Plain) -> None:
    write(desk.folder / "releases", Release("2.5.1", volatility_scale=1.6))
    desk.serve(RELEASE="2.5.1")
    with redis.Redis.from_url(desk.redis_url) as client:
        wait_for(lambda: float(client.hget("book:options", "pnl_usd") or 0) < LIMITS["limit_usd"])
    ask(desk)
    verdict, value, served = wait_for(lambda: _with_served(desk))
    assert [item.key for item in verdict.causes if item.likelihood > 0.5] == ["wrong-greeks"], verdict
    assert large_loss.in_force(served)["ratio"].median() == pytest.approx(1.6, rel=0.05)
    assert value.pnl_usd == pytest.approx(0.0, abs=3_000.0)
    assert value.model_usd < -100_000.0


def _with_served(desk: Plain) -> tuple[Verdict, large_loss.Valuation, pd.DataFrame] | None:
    found = diagnose(desk)
    return found if len(found[2]) > 5 else None
