"""The service on real servers: Greeks, errors by their names, the card's memory, the slower path without a card."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import psycopg
import pytest
import redis

from engine.pricing import european
from opslib import web
from opslib.actions.action import Context
from opslib.actions.catalogue import make
from sandbox.derivatives import contents
from sandbox.derivatives.market import RATE, UNDERLYINGS, ladder
from sandbox.gpu.card import Card, clients
from tests.sandbox.derivatives.conftest import Plain, wait_for

pytestmark = pytest.mark.slow


def options(count: int, **facts: Any) -> list[dict[str, Any]]:
    strikes = (150.0 + 70.0 * number / count for number in range(count))
    return [{"underlying": "AAPL", "kind": "put", "strike": one, "expiry_days": 90, **facts} for one in strikes]


def ask(plain: Plain, asked: list[dict[str, Any]], **facts: Any) -> httpx.Response:
    body = {"client": "client-01", "session": "s", "options": asked, **facts}
    return web.post(f"{plain.api}/greeks", json=body, timeout=20.0)


def metric(plain: Plain, line: str) -> float:
    text = web.get(f"{plain.api}/metrics").text
    return sum(float(one.split(" ")[-1]) for one in text.splitlines() if one.startswith(line))


def test_greeks_are_those_of_the_engine(plain: Plain) -> None:
    rows = ask(plain, options(8)).json()["greeks"]
    for asked, row in zip(options(8), rows, strict=True):
        aapl = UNDERLYINGS["AAPL"]
        own = european(row["spot"], asked["strike"], 90 / 365, RATE, aapl.dividend, row["volatility"], "put")
        assert row["price"] == pytest.approx(own.price, rel=1e-12)
        assert row["delta"] == pytest.approx(own.delta, rel=1e-12)
        assert row["volatility"] == pytest.approx(aapl.volatility, rel=0.2)
    stats = plain.stats()
    assert stats["greeks_engine"]["device"] == "gpu"
    assert stats["greeks_engine"]["average_time_microseconds"] > 0.0
    assert stats["gpu"]["simulated"]
    assert metric(plain, "derivatives_greeks_latency_seconds_count") >= 1
    assert metric(plain, 'derivatives_api_requests_total{route="/greeks"}') >= 1


def test_ladders_come_from_the_cache(plain: Plain) -> None:
    before = plain.stats()["cache"]
    asked = [
        {"underlying": name, "kind": kind, "strike": strike, "expiry_days": days, "spot": spot}
        for name, kind, strike, days, spot in ladder()[::900]
    ]
    first = ask(plain, asked).json()["greeks"]
    with redis.Redis.from_url(plain.redis_url) as client:
        keys = list(client.scan_iter("greeks:*", count=10_000))
        client.delete(*keys)
    second = ask(plain, asked).json()["greeks"]
    for cached, computed in zip(first, second, strict=True):
        assert cached["price"] == pytest.approx(computed["price"], rel=0.05)
    after = plain.stats()["cache"]
    assert after["hits"] - before["hits"] == len(asked)
    assert after["misses"] - before["misses"] == len(asked)
    wait_for(lambda: ask(plain, asked).json() and plain.stats()["cache"]["hits"] > after["hits"])


def test_a_result_that_is_too_old_is_refused(plain: Plain) -> None:
    name, kind, strike, days, spot = ladder()[5]
    key = f"greeks:{name}:{kind}:{strike:g}:{days}:{spot:g}"
    with redis.Redis.from_url(plain.redis_url) as client:
        client.set(key, json.dumps([time.time() - 90_000.0, *[1.0] * 8]))
        asked = [{"underlying": name, "kind": kind, "strike": strike, "expiry_days": days, "spot": spot}]
        answer = ask(plain, asked)
        client.delete(key)
    assert (answer.status_code, answer.json()["error"]) == (500, "Stale cache")
    assert metric(plain, 'derivatives_api_errors_total{error="Stale cache"}') == 1


def test_a_batch_must_fit_the_card(plain: Plain) -> None:
    answer = ask(plain, options(200))
    assert (answer.status_code, answer.json()["error"]) == (503, "CUDA out of memory")
    assert "Tried to allocate 400.00 MiB" in answer.json()["message"]
    assert ask(plain, options(100)).status_code == 200
    (held,) = clients(plain.folder / "card")
    assert held["used_mib"] == 224.0
    other = Card(plain.folder / "card")
    other.allocate(1_800.0)
    answer = ask(plain, options(114))
    other.close()
    assert answer.json()["error"] == "CUDA out of memory"
    assert "24.00 MiB free" in answer.json()["message"]
    plain.serve(GREEKS_BATCH="64")
    assert ask(plain, options(200)).status_code == 200


def test_without_a_card_the_same_greeks_take_longer(plain: Plain) -> None:
    def fastest() -> float:
        for _ in range(30):
            assert ask(plain, options(32), keep=False).status_code == 200
        return float(plain.stats()["greeks_engine"]["p50_time_microseconds"])

    plain.serve()
    with_card, fast = ask(plain, options(32)).json()["greeks"], fastest()
    described = (plain.folder / "card/card.json").read_bytes()
    (plain.folder / "card/card.json").unlink()
    try:
        plain.serve()
        without, slow = ask(plain, options(32)).json()["greeks"], fastest()
        assert plain.stats()["greeks_engine"]["device"] == "cpu"
        assert "no CUDA device" in plain.log("service")
    finally:
        (plain.folder / "card/card.json").write_bytes(described)
        plain.serve()
    assert slow > 4.0 * fast
    for one, other in zip(with_card, without, strict=True):
        assert one["gamma"] == pytest.approx(other["gamma"], rel=1e-2)


def test_models_that_are_not_in_the_store_are_fitted_when_asked_for(plain: Plain) -> None:
    plain.serve(MODELS=str(plain.folder / "nothing"))
    stats = plain.stats()["greeks_engine"]
    assert (stats["models_resident"], stats["models_total"]) == (0, 12)
    for name in ("SPX", "NDX", "RUT", "SPX"):
        asked = [{"underlying": name, "kind": "call", "strike": 5000.0, "expiry_days": 60}]
        assert ask(plain, asked).status_code == 200
    stats = plain.stats()["greeks_engine"]
    assert (stats["models_resident"], stats["model_loads"]) == (2, 4)
    plain.serve()
    assert plain.stats()["greeks_engine"]["models_resident"] == 12


def test_what_is_not_priced_or_not_understood_says_so(plain: Plain) -> None:
    asked = [{"underlying": "LEHM", "kind": "call", "strike": 1.0, "expiry_days": 60}]
    answer = ask(plain, asked)
    assert (answer.status_code, answer.json()["error"]) == (500, "Pricing failed")
    for body in (b"{", b"{}", b"[]", b'{"client": "a", "options": [{}]}', b'{"client": "a", "options": 5}'):
        answer = web.post(f"{plain.api}/greeks", content=body)
        assert answer.status_code == 400
    assert ask(plain, options(1, kind="both")).status_code == 400
    assert web.get(f"{plain.api}/nothing").status_code == 404


def test_sessions_are_kept_until_they_are_closed(plain: Plain) -> None:
    before = plain.stats()["memory"]["sessions"]
    for number in range(5):
        ask(plain, options(2), session=f"many-{number}")
    assert plain.stats()["memory"]["sessions"] == before + 5
    for number in range(5):
        web.delete(f"{plain.api}/sessions?session=many-{number}")
    assert plain.stats()["memory"]["sessions"] == before


def test_trades_stop_with_auto_trading_and_come_back(plain: Plain) -> None:
    trade = {
        "client": "client-02", "underlying": "AAPL", "kind": "call", "strike": 200.0, "days": 30,
        "quantity": 2, "price": 3.5, "auto": True,
    }  # fmt: skip
    with web.client(base_url=plain.api) as client:
        stopped = client.post("/auto-trading/stop", json={"reason": "loss"}).json()
        assert (stopped["enabled"], stopped["reason"]) == (False, "loss")
        assert client.post("/trades", json=trade).status_code == 409
        assert client.post("/trades", json={**trade, "auto": False}).status_code == 200
        assert client.post("/auto-trading/start", json={"reason": ""}).json()["enabled"]
        assert client.post("/trades", json=trade).status_code == 200
        assert len(client.get("/trades?client=client-02").json()["trades"]) == 20
        assert len(client.get("/positions").json()["positions"]) == 48


def test_hedging_and_new_risk_are_switched_apart(plain: Plain) -> None:
    with Context("derivatives", "sandbox", "applier", lambda _: plain.api) as applying:
        plain.start("hedger")
        with redis.Redis.from_url(plain.redis_url) as client:
            wait_for(lambda: client.hget("book:options", "vega_usd_per_point") and plain.stats()["book"])
            trading = applying.get("api", "/auto-trading").json()
            stop = make("derivatives.stop-hedging", {"reason": "wrong Greeks"})
            before = stop.observe(applying)
            told = stop.describe(applying, before)
            assert "delta" in told.residual_risk
            assert "vega" in told.residual_risk
            assert stop.done(applying, before) is False
            stop.apply(applying, "key-0")
            assert stop.done(applying, before)
            assert client.get("auto_hedger") == b"off"
        switches = {name: applying.get("api", f"/{name}").json() for name in ("auto-trading", "auto-hedger")}
        assert switches["auto-trading"] == trading
        assert trading["enabled"] is True
        assert (switches["auto-hedger"]["enabled"], switches["auto-hedger"]["reason"]) == (False, "wrong Greeks")
        wait_for(lambda: not plain.stats()["auto_hedger"]["enabled"])
        wait_for(lambda: metric(plain, "derivatives_auto_hedger_enabled") == 0.0)
        assert metric(plain, "derivatives_auto_trading_enabled") == 1.0
        make("derivatives.stop-auto-trading", {}).apply(applying, "key-1")
        make("derivatives.start-hedging", {}).apply(applying, "key-2")
        assert applying.get("api", "/auto-hedger").json()["enabled"] is True
        assert applying.get("api", "/auto-trading").json()["enabled"] is False
        stop.apply(applying, "key-3")
        with psycopg.connect(plain.postgres_url) as connection, redis.Redis.from_url(plain.redis_url) as client:
            contents.reset_book(connection, client)
        for name in switches:
            assert applying.get("api", f"/{name}").json() == {"enabled": True, "reason": "", "since": None}
        plain.stop("hedger")


def test_a_hedger_that_is_stopped_trades_nothing(plain: Plain) -> None:
    with Context("derivatives", "sandbox", "applier", lambda _: plain.api) as applying:
        make("derivatives.stop-hedging", {}).apply(applying, "key-4")
        with redis.Redis.from_url(plain.redis_url) as client:
            client.delete("hedges:options", "book:options")
            plain.start("hedger")
            wait_for(lambda: "hedging is switched off" in plain.log("hedger") and client.exists("book:options"))
            assert client.hlen("hedges:options") == 0
            make("derivatives.start-hedging", {}).apply(applying, "key-5")
            wait_for(lambda: client.hlen("hedges:options"))
        plain.stop("hedger")


def test_a_database_that_refuses_or_is_slow_is_told_apart(plain: Plain) -> None:
    with psycopg.connect(plain.postgres_url, autocommit=True) as other:
        with other.transaction():
            other.execute("LOCK TABLE option_trades IN ACCESS EXCLUSIVE MODE")
            answer = web.get(f"{plain.api}/trades?client=client-01", timeout=20.0)
        assert answer.json()["error"] == "Database timeout"
    plain.serve(POSTGRES_URL="postgresql://nobody@127.0.0.1:9/none")
    answer = web.get(f"{plain.api}/trades?client=client-01", timeout=20.0)
    assert (answer.status_code, answer.json()["error"]) == (503, "Database connection failed")
    assert "ERROR api: Database connection failed" in plain.log("service")
    plain.serve()
