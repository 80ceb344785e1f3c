"""The actions on Redis, on a real server under both identities: previewed without harm, done, and seen to be done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from opslib.actions.action import Action, Context, Identity
from opslib.actions.catalogue import make
from opslib.actions.documents import Target
from opslib.actions.drift import changes
from opslib.errors import ActionFailed, ParameterError, PlanError, ProbeError
from sandbox.crypto import redis_server

KEY = "a" * 64 + "-0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_server.RedisServer]:
    """A redis-server with the identities of a platform."""
    folder = tmp_path_factory.mktemp("redis")
    found = redis_server.start(folder, folder, redis_server.Passwords.fresh())
    yield found
    found.process.terminate()
    found.process.wait()


@pytest.fixture
def admin(server: redis_server.RedisServer) -> Iterator[redis.Redis]:
    """A client that may do everything; what a test left is removed."""
    with redis.Redis.from_url(server.url(), decode_responses=True) as client:
        yield client
        client.flushall()
        client.config_set("maxmemory", "100663296")


def context(server: redis_server.RedisServer, identity: Identity) -> Context:
    """The platform as one identity sees it; it has no API."""

    def endpoint(name: str) -> str:
        if name != "redis":
            return "http://127.0.0.1:9"
        return server.url("admin" if identity == "applier" else "recorder")

    return Context("crypto", "sandbox", identity, endpoint, {"redis_p99_ms": 5000.0})


def preview(server: redis_server.RedisServer, action: Action) -> tuple[Any, Any]:
    with context(server, "recorder") as reader:
        seen = action.observe(reader)
        return seen, action.describe(reader, seen)


def apply(server: redis_server.RedisServer, action: Action) -> dict[str, Any]:
    with context(server, "applier") as applier:
        return action.apply(applier, KEY)


def done(server: redis_server.RedisServer, action: Action, before: Any) -> bool:
    with context(server, "applier") as applier:
        return action.done(applier, before)


def test_a_setting_is_previewed_set_and_set_back(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    action = make("redis.set-configuration", {"name": "maxmemory", "value": "201326592"})
    seen, told = preview(server, action)
    assert seen.target.fields == {"maxmemory": "100663296"}
    assert "from 100.7 MB to 201.3 MB" in told.summary
    assert admin.config_get("maxmemory") == {"maxmemory": "100663296"}
    assert not done(server, action, seen)
    apply(server, action)
    assert done(server, action, seen)
    with pytest.raises(PlanError, match="maxmemory is 201326592 already"):
        preview(server, action)
    back = make(told.undo.action, told.undo.arguments)
    apply(server, back)
    assert admin.config_get("maxmemory") == {"maxmemory": "100663296"}


def test_a_change_may_be_to_end_the_alert_and_take_its_time(
    server: redis_server.RedisServer, admin: redis.Redis
) -> None:
    given = {"name": "maxmemory", "value": "201326592", "until": "alert", "within_s": 240.0}
    action = make("redis.set-configuration", given)
    _, told = preview(server, action)
    assert action.effect_within_s == 240.0
    assert "the condition of the alert ends within 240 s" in told.expected_effect
    assert told.undo.arguments == {**given, "value": "100663296"}
    with context(server, "recorder") as reader:
        assert action.check(reader) is None  # there is no alert whose rule could be asked


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"name": "requirepass", "value": "x"}, "requirepass may not be set"),
        ({"name": "dir", "value": "/tmp"}, "dir may not be set"),
        ({"name": "maxmemory", "value": "lots"}, "'lots' is no value of maxmemory"),
        ({"name": "maxmemory-policy", "value": "all"}, "is no value of maxmemory-policy"),
        ({"name": "maxmemory", "value": "1", "until": "ever"}, "until"),
    ],
)
def test_only_what_is_listed_may_be_set(arguments: dict[str, str], why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        make("redis.set-configuration", arguments)


def test_more_memory_than_the_host_has_is_refused(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    with pytest.raises(PlanError, match="more than the host can give"):
        preview(server, make("redis.set-configuration", {"name": "maxmemory", "value": str(10**14)}))


def test_less_memory_than_is_used_says_what_goes(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    _, told = preview(server, make("redis.set-configuration", {"name": "maxmemory", "value": "100000"}))
    assert "of data are evicted, or writes are refused" in told.expected_effect


def test_connections_of_one_program_alone_are_closed(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    options: dict[str, Any] = {"single_connection_client": True, "retry": None}
    crowd = [redis.Redis.from_url(server.url(), client_name="grid", **options) for _ in range(12)]
    other = redis.Redis.from_url(server.url(), client_name="web", **options)
    listener = redis.Redis.from_url(server.url(), client_name="grid").pubsub()
    listener.subscribe("x")
    action = make("redis.kill-clients", {"name": "grid", "host": "127.0.0.1"})
    seen, told = preview(server, action)
    assert (seen.target.live["connections"].previewed, seen.target.live["connections"].high) == (12, 12)
    assert told.undo.kind == "none"
    assert apply(server, action) == {"closed": 12, "left": 0}
    assert done(server, action, seen)
    assert other.ping()
    assert [one["name"] for one in admin.client_list(_type="pubsub")] == ["grid"]
    with pytest.raises(PlanError, match=r"no connection fits name 'grid', host 127\.0\.0\.1"):
        preview(server, action)
    for client in (*crowd, other):
        client.close()
    listener.close()


def test_a_crowd_that_grew_is_drift(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    options: dict[str, Any] = {"single_connection_client": True, "client_name": "grid"}
    crowd = [redis.Redis.from_url(server.url(), **options) for _ in range(20)]
    action = make("redis.kill-clients", {"name": "grid"})
    planned, _ = preview(server, action)
    crowd += [redis.Redis.from_url(server.url(), **options)]
    assert changes(planned.target, preview(server, action)[0].target) == []
    crowd += [redis.Redis.from_url(server.url(), **options)]
    (line,) = changes(planned.target, preview(server, action)[0].target)
    assert line == "connections was 20, is now 22, beyond 1..21"
    for client in crowd:
        client.close()


def test_whose_connections_has_to_be_said() -> None:
    with pytest.raises(ParameterError, match="say whose connections: name, host or user"):
        make("redis.kill-clients", {"older_than_s": 5})


def test_a_pattern_is_counted_and_flushed_in_batches(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    admin.mset({f"cache:greeks:{number}": "x" for number in range(1203)})
    admin.set("cache:prices:1", "x")
    action = make("redis.flush-pattern", {"pattern": "cache:greeks:*"})
    seen, told = preview(server, action)
    assert told.preview["keys"] == 1203
    assert admin.dbsize() == 1204
    assert apply(server, action) == {"pattern": "cache:greeks:*", "removed": 1203}
    assert done(server, action, seen)
    assert admin.keys() == ["cache:prices:1"]
    with pytest.raises(PlanError, match="no key matches"):
        preview(server, action)


def test_of_a_pattern_only_the_keys_without_an_end(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    for number in range(40):
        admin.set(f"cache:greeks:{number}", "x", ex=None if number % 4 == 0 else 600)
    action = make("redis.flush-pattern", {"pattern": "cache:greeks:*", "endless": True, "until": "alert"})
    seen, told = preview(server, action)
    assert (told.preview["keys"], told.preview["endless_only"]) == (10, True)
    assert "that have no end of life" in told.summary
    assert apply(server, action)["removed"] == 10
    assert done(server, action, seen)
    assert admin.dbsize() == 30
    with pytest.raises(PlanError, match="that have no end of life; there is nothing to flush"):
        preview(server, action)
    with context(server, "applier") as applier:
        assert action.check(applier) is None


@pytest.mark.parametrize("pattern", ["*", "a*", "***", "x y*", "[a]bc*"])
def test_a_wide_or_strange_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ParameterError, match="pattern"):
        make("redis.flush-pattern", {"pattern": pattern})


@pytest.mark.parametrize("kind", ["hash", "zset", "stream"])
def test_series_are_cut_down_to_their_retention(
    server: redis_server.RedisServer, admin: redis.Redis, kind: str
) -> None:
    now = int(time.time() * 1000)
    old, fresh = [now - 7_200_000 + step for step in range(700)], [now - 60_000 + step for step in range(30)]
    for at in (*old, *fresh):
        if kind == "hash":
            admin.hset("metrics:tick:A", str(at), "1")
        elif kind == "zset":
            admin.zadd("metrics:tick:A", {f"{at}:1": at})
        else:
            admin.xadd("metrics:tick:A", {"price": "1"}, id=f"{at}-0")
    admin.hset("metrics:var:A", str(now - 7_200_000), "1")
    action = make("redis.trim-series", {"pattern": "metrics:tick:*", "keep_s": 3600})
    seen, told = preview(server, action)
    assert told.preview == {"keep": "1 h", "points": 700, "series": {"metrics:tick:A": 700}}
    assert apply(server, action)["removed"] == 700
    assert done(server, action, seen)
    count = {"hash": admin.hlen, "zset": admin.zcard, "stream": admin.xlen}[kind]
    assert count("metrics:tick:A") == 30
    assert admin.hlen("metrics:var:A") == 1
    with pytest.raises(PlanError, match="no series 'metrics:tick:\\*' reaches back more than 1 h"):
        preview(server, action)


@pytest.mark.parametrize("name", ["redis.flush-pattern", "redis.kill-clients", "redis.trim-series"])
def test_no_more_goes_than_was_approved(server: redis_server.RedisServer, admin: redis.Redis, name: str) -> None:
    quantity = {"redis.flush-pattern": "keys", "redis.kill-clients": "connections", "redis.trim-series": "points"}[name]
    more = [redis.Redis.from_url(server.url(), client_name="greedy") for _ in range(24)]

    def make_some(first: int, last: int) -> None:
        for number in range(first, last):
            admin.set(f"cache:greeks:{number}", "x")
            admin.zadd("metrics:tick:A", {str(number): number})
            more[number].ping()

    given = {
        "redis.flush-pattern": {"pattern": "cache:greeks:*"},
        "redis.kill-clients": {"name": "greedy"},
        "redis.trim-series": {"pattern": "metrics:tick:*", "keep_s": 3600},
    }
    make_some(0, 20)
    action = make(name, given[name])
    seen, _ = preview(server, action)
    make_some(20, 22)
    with context(server, "applier") as applier:
        applier.approved = seen.target
        with pytest.raises(ActionFailed, match=r"(22 .* now, and|more than the) 21 (were )?approved") as caught:
            action.apply(applier, KEY)
        assert caught.value.sent is False  # type: ignore[attr-defined]
        with context(server, "recorder") as reader:
            assert action.observe(reader).target.live[quantity].previewed == 22
        admin.delete("cache:greeks:21")
        admin.zrem("metrics:tick:A", "21")
        more[21].close()
        action.apply(applier, KEY)
        assert action.done(applier, seen)
    for one in more:
        one.close()


def test_what_may_be_the_same_is_locked_as_one() -> None:
    def locks(*targets: Target) -> set[str]:
        return {target.lock for target in targets}

    def target(kind: str, name: str) -> Target:
        return Target(kind=kind, name=name, uid="x")

    keys = [target("redis-keys", "cache:greeks:*"), target("redis-keys", "cache:*"), target("redis-series", "cac*")]
    clients = [target("redis-clients", "name 'a'"), target("redis-clients", "host 10.0.0.1")]
    settings = [target("redis-setting", "maxmemory"), target("redis-setting", "timeout")]
    leads = target("redis-instance", "the one that leads")  # all of them change it, and a fail-over makes it another
    assert locks(*keys, *clients, *settings, leads) == {"redis"}


def test_the_recorder_changes_nothing(server: redis_server.RedisServer, admin: redis.Redis) -> None:
    admin.set("cache:greeks:1", "x")
    for name, arguments in (
        ("redis.set-configuration", {"name": "timeout", "value": "60"}),
        ("redis.flush-pattern", {"pattern": "cache:greeks:*"}),
    ):
        with (
            context(server, "recorder") as reader,
            pytest.raises(ActionFailed, match="the recorder may not change crypto"),
        ):
            make(name, arguments).apply(reader, KEY)
    assert admin.exists("cache:greeks:1")


def test_the_firing_check_measures_itself_where_the_platform_says_nothing(
    server: redis_server.RedisServer, admin: redis.Redis
) -> None:
    with context(server, "recorder") as reader:
        check = make("redis.set-configuration", {"name": "timeout", "value": "60"}).check(reader)
    assert (check.firing, list(check.by), check.limit, check.unit) == (False, ["own"], 5000.0, "ms")


def test_a_redis_that_is_away_is_said(server: redis_server.RedisServer) -> None:
    away = Context("crypto", "sandbox", "applier", lambda _: "redis://127.0.0.1:1/0")
    action = make("redis.set-configuration", {"name": "timeout", "value": "60"})
    with pytest.raises(ProbeError, match=r"redis of crypto: .*refused"):
        action.observe(away)
    with pytest.raises(ActionFailed, match=r"redis of crypto: .*refused") as caught:
        action.apply(away, KEY)
    assert caught.value.sent is False  # type: ignore[attr-defined]
