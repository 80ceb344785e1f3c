"""Each fault where it should be seen: the service, its stores and its market themselves are asked, no playbook.

Service, market, hedger, clients and jobs are processes here, so that no cluster is needed. What only a cluster can
break (pods, nodes, volumes, connections of a server of its own) is looked at by `test_on_cluster`.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from opslib import web
from sandbox.cluster.kube import Kube
from sandbox.derivatives import contents, healing
from sandbox.derivatives.access import Access
from sandbox.derivatives.market import UNDERLYINGS, ladder
from sandbox.derivatives.service.release import Release
from sandbox.derivatives.setup import RELEASE
from sandbox.derivatives.sql import queries
from sandbox.faults import FAULTS, api_error_rate, greeks_latency, large_loss, latency_degrading
from sandbox.faults import cache_miss_rate as cache
from sandbox.progress import quiet
from tests.sandbox.derivatives.conftest import Here, Plain, wait_for

pytestmark = pytest.mark.slow

CLUSTER_ALONE = {
    "api-error-rate/database-down",
    "api-error-rate/pool-exhausted",
    "cache-miss-rate/cold-after-restart",
    "greeks-latency/gpu-unavailable",
    "postgres-down/disk-full",
    "postgres-down/pod-crash",
    "postgres-down/pod-unschedulable",
}
ELSEWHERE = {"latency-degrading/missing-index"}  # test_database


class Machine:
    """Stands for the cluster of the platform: its service and its jobs are processes of this machine."""

    def __init__(self, plain: Plain) -> None:
        self._plain = plain

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Do what kubectl would do: roll a release out, restart the service, start a job."""
        match words[3:]:
            case "patch", "deployment", "derivatives-api", *_, change:
                (container,) = json.loads(change)["spec"]["template"]["spec"]["containers"]
                self._plain.serve(**{one["name"]: one["value"] for one in container["env"]})
            case "rollout", "restart", "deployment/derivatives-api":
                self._plain.serve()
            case "rollout", "status", *_:
                pass
            case "apply", "-f", path:
                for one in json.loads(Path(path).read_text("utf-8"))["items"]:
                    command = one["spec"]["template"]["spec"]["containers"][0]["command"]
                    self._plain.start("report", *command[command.index("sandbox.derivatives.report") + 1 :])
            case _:
                raise AssertionError(words)
        return subprocess.CompletedProcess(words, 0, "", "")


@pytest.fixture
def access(plain: Plain, tmp_path: Path) -> Iterator[Access]:
    """The plain platform, as faults and `heal` reach it; healed afterwards, whatever a test left."""
    parts = (urlsplit(address) for address in (plain.postgres_url, plain.redis_url))
    database, store = ((part.hostname or "", part.port or 0) for part in parts)
    kube = Kube(Machine(plain), tmp_path, "derivatives")  # type: ignore[arg-type]
    found = Access(kube, Here(plain.folder, "sandbox-test", {}, "", plain), plain.api, database, store)
    healing._outside(found)
    healing._cache(found, [])
    yield found
    for name in {"hedger", "load", "report"} & set(plain.children):
        plain.stop(name)
    healing._outside(found)
    if plain.stats()["release"] != RELEASE or healing._worn(plain.stats()):
        plain.serve()


def inject(fault: Callable[..., None], access: Access, seed: int = 3) -> None:
    """Make a fault, whose name nothing tells that a probe can read."""
    fault(access, random.Random(seed), quiet)
    assert isinstance(access.setup, Here)
    assert access.setup.plain is not None
    told = readable(access, access.setup.plain)
    for word in (fault.__name__, fault.__name__.replace("_", "-")):
        assert word not in told, told[max(0, told.find(word) - 100) : told.find(word) + 100]


def readable(access: Access, plain: Plain) -> str:
    """What the service, its logs and its stores show."""
    found = [web.get(f"{plain.api}/{path}", timeout=20.0).text for path in ("metrics", "stats/engines", "health")]
    found += [plain.log(name) for name in plain.children]
    with access.cache() as client, access.database() as connection:
        found.append(f"{client.client_list()} {client.slowlog_get(100)} {client.info()}")
        found += client.scan_iter(count=5000)
        found += (f"{row}" for row in connection.execute("SELECT application_name, query FROM pg_stat_activity"))
        found += (f"{row}" for row in connection.execute("SELECT relname FROM pg_class"))
    return "\n".join(found).lower()


def served(plain: Plain, name: str) -> dict[str, Any]:
    """What the service answers to one option at the market."""
    option = {"underlying": name, "kind": "call", "strike": UNDERLYINGS[name].spot, "expiry_days": 60}
    found: dict[str, Any] = web.post(
        f"{plain.api}/greeks", json={"client": "client-01", "options": [option], "keep": False}, timeout=20.0
    ).json()
    return found


def failing(plain: Plain) -> dict[str, str]:
    """The underlyings that are not priced, and why."""
    answers = {name: served(plain, name) for name in UNDERLYINGS}
    return {name: answer["error"] for name, answer in answers.items() if "error" in answer}


def volatility(plain: Plain) -> float:
    """The served volatility at the money, of what the market says; the median underlying."""
    ratios = [served(plain, name)["greeks"][0]["volatility"] / one.volatility for name, one in UNDERLYINGS.items()]
    return sorted(ratios)[len(ratios) // 2]


def market(access: Access) -> dict[str, dict[str, float]]:
    names = ("spot", "future", "time", "future_time")
    with access.cache() as client:
        hashes = {one: client.hgetall(f"market:{one}") for one in UNDERLYINGS}
    return {one: {name: float(fields[name]) for name in names} for one, fields in hashes.items()}


def errors(plain: Plain, label: str) -> float:
    """How many requests failed for it since the service began."""
    lines = web.get(f"{plain.api}/metrics").text.splitlines()
    start = f'derivatives_api_errors_total{{error="{label}"}}'
    return sum(float(line.split(" ")[-1]) for line in lines if line.startswith(start))


def clients(plain: Plain) -> int:
    """Connections that somebody keeps to the service."""
    port = int(plain.api.rpartition(":")[2])
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    established = [line.split() for line in lines if line.split()[3] == "01"]
    return sum(int(words[2].partition(":")[2], 16) == port for words in established)


def lives(access: Access) -> list[int]:
    """How long each cached result has still to live [s]; -1 for ever."""
    with access.cache() as client:
        keys = list(client.scan_iter("greeks:*", count=5000))
        with client.pipeline(transaction=False) as pipe:
            for key in keys[:: max(1, len(keys) // 400)]:
                pipe.ttl(key)
            return list(pipe.execute())


def found_again(plain: Plain) -> int:
    """How many results of a ladder are in the cache a second after they were asked for."""
    asked = [
        {"underlying": name, "kind": kind, "strike": strike, "expiry_days": days, "spot": spot}
        for name, kind, strike, days, spot in ladder()[7::1500]
    ]
    body = {"client": "client-01", "options": asked, "keep": False}
    assert web.post(f"{plain.api}/greeks", json=body, timeout=20.0).status_code == 200
    time.sleep(1.2)
    before = plain.stats()["cache"]["hits"]
    assert web.post(f"{plain.api}/greeks", json=body, timeout=20.0).status_code == 200
    return int(plain.stats()["cache"]["hits"] - before)


def test_every_fault_of_the_platform_has_a_witness() -> None:
    here = {f"{runbook}/{cause}" for runbook, causes in WITNESSED.items() for cause in causes.split()}
    assert here | CLUSTER_ALONE | ELSEWHERE == {name for name, one in FAULTS.items() if one.platform == "derivatives"}


WITNESSED = {
    "api-error-rate": "bad-deployment cuda-out-of-memory slow-database stale-cache",
    "cache-miss-rate": "key-pattern-changed keys-expiring memory-full",
    "greeks-latency": "high-load memory-leak model-not-cached",
    "large-loss": "market-move-hedge-missed market-move-hedged stale-market-data wrong-greeks",
    "latency-degrading": "data-growth load-growth memory-leak recent-deployment",
}


def test_a_release_without_some_dividends_fails_for_these(access: Access, plain: Plain) -> None:
    assert failing(plain) == {}
    inject(api_error_rate.bad_deployment, access)
    broken = failing(plain)
    assert 3 <= len(broken) <= 5
    assert set(broken.values()) == {"Pricing failed"}
    plain.serve()
    assert failing(plain) == {}


def test_whole_books_do_not_fit_the_card(access: Access, plain: Plain) -> None:
    plain.start("load")
    wait_for(lambda: clients(plain))
    assert errors(plain, "CUDA out of memory") == 0
    inject(api_error_rate.cuda_out_of_memory, access)
    wait_for(lambda: errors(plain, "CUDA out of memory") >= 3)
    healing._outside(access)
    assert not access.setup.demand.exists()


def test_a_migration_holds_the_table_of_trades(access: Access, plain: Plain) -> None:
    holds = (
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.granted "
        "AND l.mode = 'AccessExclusiveLock' AND l.relation = 'option_trades'::regclass"
    )
    trades = f"{plain.api}/trades?client=client-03"
    with psycopg.connect(plain.postgres_url, autocommit=True) as connection:
        assert connection.execute(holds).fetchall() == []
        assert web.get(trades, timeout=20.0).status_code == 200
        inject(api_error_rate.slow_database, access)
        wait_for(lambda: connection.execute(holds).fetchall() == [("report-migration",)])
        assert web.get(trades, timeout=20.0).json()["error"] == "Database timeout"
        plain.stop("report")
        wait_for(lambda: connection.execute(holds).fetchall() == [])
    assert web.get(trades, timeout=20.0).status_code == 200


def test_old_results_stay_in_the_cache_for_ever(access: Access, plain: Plain) -> None:
    assert -1 not in lives(access)
    inject(api_error_rate.stale_cache, access)
    assert lives(access).count(-1) > 50
    with access.cache() as client:
        keys = [Release(RELEASE).cache_key.format(underlying=u, kind=k, strike=s, days=d, spot=p, now=0, release="")
                for u, k, s, d, p in ladder()[:40]]  # fmt: skip
        old = [place for place, key in enumerate(keys) if client.ttl(key) == -1]
        assert all(contents.age_s(client.get(keys[place])) > 7_200.0 for place in old)
    name, kind, strike, days, spot = ladder()[old[0]]
    asked = {"underlying": name, "kind": kind, "strike": strike, "expiry_days": days, "spot": spot}
    answer = web.post(f"{plain.api}/greeks", json={"client": "client-01", "options": [asked]}, timeout=20.0)
    assert (answer.status_code, answer.json()["error"]) == (500, "Stale cache")
    restored: list[str] = []
    healing._cache(access, restored)
    assert restored == ["the cache is warm"]
    assert -1 not in lives(access)


def test_redis_throws_out_what_it_has_no_room_for(access: Access, plain: Plain) -> None:
    with access.cache() as client:
        before = client.dbsize()
        assert client.info("stats")["evicted_keys"] == 0
        inject(cache.memory_full, access)
        wait_for(lambda: found_again(plain) or True)  # something is written
        wait_for(lambda: client.info("stats")["evicted_keys"] > 1000)
        assert client.dbsize() < 0.7 * before
        healing._cache(access, [])
        assert client.dbsize() > 0.9 * before
        assert client.info("stats")["evicted_keys"] == 0
        assert client.config_get("maxmemory")["maxmemory"] == str(32 * 2**20)


def test_a_release_lets_results_live_for_seconds(access: Access) -> None:
    assert max(lives(access)) > 60
    inject(cache.keys_expiring, access)
    assert max(lives(access), default=0) <= 5
    wait_for(lambda: len(lives(access)) == 0)
    healing._cache(access, [])
    assert max(lives(access)) > 60


def test_a_release_does_not_find_what_it_kept(access: Access, plain: Plain) -> None:
    asked = len(ladder()[7::1500])
    assert found_again(plain) == asked
    inject(cache.key_pattern_changed, access)
    assert found_again(plain) == 0
    plain.serve()
    assert found_again(plain) == asked


@pytest.mark.parametrize(
    ("fault", "most"),
    [(greeks_latency.high_load, 42), (latency_degrading.load_growth, 60)],
    ids=["at once", "by steps"],
)
def test_many_more_clients_come(access: Access, plain: Plain, fault: Callable[..., None], most: int) -> None:
    plain.start("load")
    wait_for(lambda: clients(plain) >= 8)
    assert clients(plain) <= 16  # 12, and what is just being closed
    inject(fault, access)
    wait_for(lambda: clients(plain) >= 0.9 * most)
    healing._outside(access)
    wait_for(lambda: clients(plain) <= 16)


def test_sessions_that_nobody_ends_are_kept(access: Access, plain: Plain) -> None:
    plain.serve()
    plain.start("load")
    wait_for(lambda: plain.stats()["memory"]["sessions"] >= 6)
    assert plain.stats()["memory"]["sessions"] <= 13
    for share in (0.25, 1.0):  # of greeks-latency, of latency-degrading
        before = plain.stats()["memory"]["sessions"]
        greeks_latency.new_sessions(access, random.Random(3), quiet, share=share)
        wait_for(lambda least=before + 15: plain.stats()["memory"]["sessions"] > least)
    assert healing._worn({**plain.stats(), "memory": {"sessions": 41}})
    healing._outside(access)
    plain.serve()
    wait_for(lambda: 0 < plain.stats()["memory"]["sessions"] <= 13)


def test_pods_that_start_on_an_empty_store_have_no_models(access: Access, plain: Plain) -> None:
    inject(greeks_latency.model_not_cached, access)
    stats = plain.stats()["greeks_engine"]
    assert stats["models_resident"] < stats["models_total"] == len(list(access.setup.models.glob("*.json")))
    assert healing._worn(plain.stats())
    plain.serve()
    assert plain.stats()["greeks_engine"]["models_resident"] == 12


def test_a_release_serves_volatilities_that_are_too_high(access: Access, plain: Plain) -> None:
    assert 0.8 < volatility(plain) < 1.2
    inject(large_loss.wrong_greeks, access)
    assert volatility(plain) > 1.3
    plain.serve()
    assert 0.8 < volatility(plain) < 1.2


def test_most_spots_stand_still_while_futures_fall(access: Access) -> None:
    assert all(abs(one["future"] / one["spot"] - 1.0) < 0.02 for one in market(access).values())
    inject(large_loss.stale_market_data, access)
    wait_for(lambda: sum(one["future"] / one["spot"] < 0.95 for one in market(access).values()) >= 10)
    first = market(access)
    wait_for(lambda: all(market(access)[name]["future_time"] > one["future_time"] for name, one in first.items()))
    then = market(access)
    stand = [name for name in UNDERLYINGS if then[name]["time"] == first[name]["time"]]
    assert 10 <= len(stand) <= 12
    healing._outside(access)
    wait_for(lambda: all(market(access)[name]["time"] > one["time"] for name, one in then.items()))
    wait_for(lambda: all(abs(one["future"] / one["spot"] - 1.0) < 0.02 for one in market(access).values()))


@pytest.mark.parametrize("hedged", [True, False], ids=["hedged", "hedge missed"])
def test_the_market_falls_and_the_book_loses(access: Access, plain: Plain, hedged: bool) -> None:
    def book() -> float:
        with access.cache() as client:
            return float(client.hget("book:options", "pnl_usd") or 0.0)

    def hedges() -> int:
        with access.database() as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM hedges").fetchall()
        return int(count)

    with access.database() as connection, access.cache() as client:
        contents.reset_book(connection, client)
    plain.start("hedger")
    wait_for(lambda: healing._hedged(access) and hedges())
    assert book() > -50_000.0
    usual = market(access)
    inject(large_loss.market_move_hedged if hedged else large_loss.market_move_hedge_missed, access)
    before = hedges()
    wait_for(lambda: all(market(access)[name]["spot"] < 0.93 * one["spot"] for name, one in usual.items()), 90.0)
    wait_for(lambda: book() < -100_000.0, 90.0)
    if hedged:
        wait_for(lambda: hedges() > before)
    with access.cache() as client:
        assert client.get("auto_hedger") == (None if hedged else "off")
    if not hedged:
        assert hedges() <= before + len(UNDERLYINGS)  # those that were on their way
    healing._outside(access)
    with access.database() as connection, access.cache() as client:
        contents.reset_book(connection, client)
    wait_for(lambda: healing._hedged(access) and book() > -50_000.0, 90.0)


def test_todays_trades_multiply(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_degrading, "_ROWS", 4_000)
    today = "SELECT count(*) FROM option_trades WHERE timestamp > now() - interval '1 day'"
    with access.database() as connection:
        ((before,),) = connection.execute(today).fetchall()
        inject(latency_degrading.data_growth, access)
        ((after,),) = connection.execute(today).fetchall()
        assert after - before >= 9 * 4_000
        connection.execute(queries("healing").empty.replace("{}", "option_trades"))
        contents.fill_rows(connection, trades=2_000)
        ((healed,),) = connection.execute(today).fetchall()
        assert healed < 0.1 * after


def test_a_release_takes_longer_to_compute(access: Access, plain: Plain) -> None:
    def typical() -> float:
        for _ in range(40):
            served(plain, "SPX")
        return float(plain.stats()["greeks_engine"]["p50_time_microseconds"])

    plain.serve()
    before = typical()
    inject(latency_degrading.recent_deployment, access)
    assert typical() > 1.7 * before
    plain.serve()
    assert typical() < 1.5 * before
