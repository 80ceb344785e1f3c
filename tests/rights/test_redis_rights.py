"""What `runbook rbac` prints for Redis, applied to a real server: enough for each probe and action, and no more."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from opslib import probes
from opslib.actions.action import Context
from opslib.actions.catalogue import ACTIONS, make
from opslib.errors import ActionFailed, ProbeError
from opslib.probes import Target, registry
from opslib.rights import redis as rights
from opslib.runs import catalogue
from opslib.settings import PROJECT
from tests.clusters.test_rights import notebook
from tests.rights.test_postgres_rights import printed

pytestmark = pytest.mark.slow
SERVERS = runpy.run_path(str(PROJECT / "tests" / "probes" / "servers.py"))
PASSWORD = "swordfish-4711-rights"
KEY = "a" * 64 + "-0"
PROBES = [name for name in registry.names() if name.startswith("redis.")]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "redis.hash": {"key": "metrics:var_pct:A"},
    "redis.latency": {"for_s": 0.1},
    "redis.latest": {"metric": "var_pct", "symbols": ["A", "plain"]},
    "redis.series": {"metric": "var_pct", "symbols": ["A"]},
    "redis.stream": {"key": "events"},
    "redis.text": {"key": "note"},
}
STEPS: dict[str, dict[str, Any]] = {
    "redis.fail-over": {"to": "replica"},
    "redis.flush-pattern": {"pattern": "cache:*", "endless": True},
    "redis.kill-clients": {"name": "greedy"},
    "redis.set-configuration": {"name": "timeout", "value": "600"},
    "redis.trim-series": {"pattern": "ticks:*", "keep_s": 3600},
}
REFUSED = ("SET a b", "DEL note", "KEYS *", "FLUSHALL", "CONFIG SET dir /tmp", "CONFIG GET dir", "EVAL return(1) 0",
           "DEBUG OBJECT note", "SHUTDOWN", "ACL LIST", "ACL SETUSER x", "SAVE", "MONITOR", "REPLICAOF NO ONE",
           "CLIENT KILL ID 1", "GET note", "HGETALL metrics:var_pct:A", "SUBSCRIBE x", "SWAPDB 0 1")  # fmt: skip


class Instances:
    """The instance in use and its replica, and the platform that says which is which."""

    def __init__(self, primary: tuple[str, redis.Redis], replica: tuple[str, redis.Redis], api: str) -> None:
        self.admin, self.other, self.api = primary[1], replica[1], api
        self.port, self.other_port = (one[1].connection_pool.connection_kwargs["port"] for one in (primary, replica))

    def url(self, user: str, port: int | None = None) -> str:
        """The address of an instance for a user."""
        return f"redis://{user}:{PASSWORD}@127.0.0.1:{port or self.port}/0"

    def allow(self, user: str, *rules: str) -> None:
        """A user that has these rules alone, and what the client says of itself, which older servers do not know."""
        for client in (self.admin, self.other):
            client.execute_command("ACL", "SETUSER", user, "reset", "on", f">{PASSWORD}", *rules, "+client|setinfo")
            client.execute_command("ACL", "LOG", "RESET")

    def refused(self) -> set[str]:
        """The commands that were refused to anybody since."""
        logs = [client.execute_command("ACL", "LOG") for client in (self.admin, self.other)]
        pairs = [dict(zip(entry[::2], entry[1::2], strict=True)) for log in logs for entry in log]
        return {pair[b"object"].decode() for pair in pairs}

    def context(self, identity: Any) -> Context:
        """The platform as an identity sees it, by the user of that name."""
        where = {"redis": self.url(identity), "redis_replica": self.url(identity, self.other_port), "api": self.api}
        return Context("crypto", "sandbox", identity, lambda name: where[name], {"redis_p99_ms": 5000.0})


class _Api(BaseHTTPRequestHandler):
    used = "primary"

    def do_GET(self) -> None:
        self._answer({"store": {"in_use": _Api.used}})

    def do_POST(self) -> None:
        _Api.used = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instance"]
        self._answer({"in_use": _Api.used})

    def _answer(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200 if self.path.startswith("/api/") else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instances]:
    """Two real servers, and a platform's API."""
    api = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    serving = threading.Thread(target=api.serve_forever)
    serving.start()
    start = SERVERS["redis_server"]
    with start(tmp_path_factory.mktemp("a")) as primary, start(tmp_path_factory.mktemp("b")) as replica:
        yield Instances(primary, replica, f"http://127.0.0.1:{api.server_port}")
    api.shutdown()
    serving.join()
    api.server_close()


@pytest.fixture
def filled(instances: Instances) -> Iterator[redis.Redis]:
    """What the probes look at and the actions change: one key of each kind, a slow event, a greedy client."""
    admin, old = instances.admin, 1_700_000_000_000
    _Api.used = "primary"
    for client in (instances.other, admin):
        client.replicaof("NO", "ONE")
    admin.flushall()
    admin.config_set("timeout", "0")
    admin.config_set("latency-monitor-threshold", "1")
    instances.other.replicaof("127.0.0.1", instances.port)
    while instances.other.info("replication")["master_link_status"] != "up":
        pass
    admin.execute_command("DEBUG", "SLEEP", "0.005")
    admin.hset("metrics:var_pct:A", mapping={"1000": "1.0", "value": "1.5", "timestamp": "2"})
    admin.mset({"note": "x", "var_pct:plain": "2.5", "cache:a": "x", "cache:b": "y"})
    admin.rpush("list:a", "x")
    admin.sadd("set:a", "x")
    admin.hset("ticks:hash", str(old), "1")
    admin.zadd("ticks:zset", {f"{old}:1": old})
    admin.xadd("ticks:stream", {"price": "1"}, id=f"{old}-0")
    admin.xadd("events", {"a": "b"})
    with redis.Redis(port=instances.port, client_name="greedy") as greedy:
        greedy.ping()
        yield admin


@pytest.fixture
def rules(tmp_path: Path) -> Callable[..., dict[str, list[str]]]:
    """The rules that the command prints for a runbook, by user, and what it prints for the module apart."""

    def ask(*options: str, reads: tuple[str, ...] = (), proposes: tuple[str, ...] = ()) -> dict[str, list[str]]:
        notebook(tmp_path / "alerts" / "one.ipynb", "1", reads=list(reads), proposes=list(proposes))
        found: dict[str, list[str]] = {}
        for line in printed(tmp_path, "one", *options)["redis"]:
            if not line.startswith("#"):
                command, setuser, user, *given = line.split()
                assert (command, setuser) == ("ACL", "SETUSER")
                module = any(word.startswith("+ts.") for word in given)
                found[f"{user} module" if module else user] = given
        return found

    return ask


def test_every_probe_and_action_has_its_commands_declared() -> None:
    assert sorted(rights.READS) == sorted(PROBES)
    ours = {name for name in ACTIONS if name.startswith("redis.")}
    assert ours == set(rights.OBSERVES) == set(rights.CHANGES)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_sees_all_with_its_commands_alone(
    instances: Instances, filled: redis.Redis, rules: Callable[..., Any], name: str
) -> None:
    del filled
    given = rules(reads=(name,))
    target = Target("redis", instances.url("recorder"))
    assert "applier" not in given
    instances.allow("recorder", *given["recorder"])
    probes.call(name, target, ARGUMENTS.get(name, {}))
    assert instances.refused() == set()
    allowed = {word for word in given["recorder"] if word.startswith("+")}
    for command in REFUSED:
        words = command.split()
        if f"+{words[0].lower()}" in allowed or f"+{'|'.join(words[:2]).lower()}" in allowed:
            continue
        with redis.Redis.from_url(target.url) as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*words)
    for word in allowed:
        instances.allow("recorder", *(rule for rule in given["recorder"] if rule != word))
        with suppress(ProbeError):
            probes.call(name, target, ARGUMENTS.get(name, {}))
        assert instances.refused(), f"{name} does without {word}"


@pytest.mark.parametrize("name", sorted(rights.CHANGES))
def test_an_action_works_with_its_commands_alone(
    instances: Instances, filled: redis.Redis, rules: Callable[..., Any], name: str
) -> None:
    given, action = rules(proposes=(name,)), make(name, STEPS[name])
    instances.allow("recorder", *given["recorder"])
    instances.allow("applier", *given["applier"])
    with instances.context("recorder") as recorder:
        before = action.observe(recorder)
        action.describe(recorder, before)
        action.check(recorder)
    for word in [word for word in given["applier"] if word.startswith("+")]:
        instances.allow("applier", *(rule for rule in given["applier"] if rule != word))
        if word.lstrip("+") in {command for commands in rights.CHANGES.values() for command in commands}:
            with instances.context("applier") as applier, suppress(ActionFailed, ProbeError):
                action.apply(applier, KEY)
            assert instances.refused(), f"{name} does without {word}"
            assert not action.done(instances.context("recorder"), before) or name == "redis.trim-series"
    instances.allow("applier", *given["applier"])
    with instances.context("applier") as applier:
        action.observe(applier)
        action.apply(applier, KEY)
        assert action.done(applier, before)
    assert instances.refused() == set()
    del filled
    for command in ("FLUSHALL", "SHUTDOWN", "EVAL return(1) 0", "ACL LIST", "KEYS *", "SET a b", "GET note"):
        with (
            redis.Redis.from_url(instances.url("applier")) as client,
            pytest.raises(redis.exceptions.NoPermissionError),
        ):
            client.execute_command(*command.split())


def test_keys_are_limited_where_patterns_are_given(
    instances: Instances, filled: redis.Redis, rules: Callable[..., Any]
) -> None:
    del filled
    given = rules("--keys", "metrics:*", "--keys", "quotes", reads=("redis.hash",))
    assert given["recorder"][2:4] == ["~metrics:*", "~quotes"]
    instances.allow("recorder", *given["recorder"])
    target = Target("redis", instances.url("recorder"))
    assert probes.call("redis.hash", target, {"key": "metrics:var_pct:A"}).table.num_rows == 3
    with pytest.raises(ProbeError, match="permissions to access one of the keys"):
        probes.call("redis.hash", target, {"key": "ticks:hash"})


def test_commands_of_the_module_are_a_line_of_their_own(filled: redis.Redis, rules: Callable[..., Any]) -> None:
    given = rules(reads=("redis.series",))
    assert given["recorder module"] == ["+ts.revrange"]
    with pytest.raises(redis.ResponseError, match="Unknown command"):
        filled.execute_command("ACL", "SETUSER", "recorder", *given["recorder module"])


RUNBOOKS = sorted(path for path in PROJECT.glob("notebooks/*/*.ipynb") if '"redis.' in path.read_text("utf-8"))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_every_probe_and_action_of_our_runbooks_works(instances: Instances, filled: redis.Redis, path: Path) -> None:
    """What is printed for a runbook of ours lets recorder and applier do all that it declares, and nothing else."""
    runbook = catalogue.read(path)
    instances.allow("recorder")
    instances.allow("applier")
    for line in printed(PROJECT / "notebooks", runbook.name)["redis"]:
        if not line.startswith("#") and "+ts." not in line:
            for client in (instances.admin, instances.other):
                client.execute_command(*line.split())
    for name in set(runbook.reads) & set(PROBES):
        probes.call(name, Target("redis", instances.url("recorder")), ARGUMENTS.get(name, {}))
    for name in sorted(set(runbook.proposes) & set(STEPS), key="redis.fail-over".__eq__):  # that takes writing away
        action = make(name, STEPS[name])
        with instances.context("recorder") as recorder:
            before = action.observe(recorder)
            action.describe(recorder, before)
        with instances.context("applier") as applier:
            action.apply(applier, KEY)
            assert action.done(applier, before)
    assert instances.refused() == set()
    for user in ("recorder", "applier"):
        for command in ("SET a b", "FLUSHALL", "KEYS *", "EVAL return(1) 0", "ACL LIST"):
            with (
                redis.Redis.from_url(instances.url(user)) as client,
                pytest.raises(redis.exceptions.NoPermissionError),
            ):
                client.execute_command(*command.split())
