"""The risk harmoniser as a process of its own, on two real instances of Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from opslib.settings import PROJECT
from sandbox import processes
from sandbox.crypto import redis_server
from sandbox.crypto.config import PRISTINE, RiskParameters, RouterRules, load
from sandbox.crypto.deployed.leader import Leader
from sandbox.crypto.deployed.remote_desk import RemoteDesk
from sandbox.crypto.deployed.requests import ANSWERS, QUESTIONS, Asker
from sandbox.crypto.desk import RiskDesk
from sandbox.crypto.platform import Platform
from sandbox.crypto.publisher import MARKER
from sandbox.crypto.redis_server import RunningRedis
from sandbox.errors import NotUp

pytestmark = pytest.mark.slow

START_MS = 1_800_000_000_000
MARK = "sandbox-test"


@dataclass
class Pair:
    """Two instances, of which one leads, and the harmoniser beside them."""

    folder: Path
    servers: dict[str, RunningRedis]
    in_use: str = "primary"
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def addresses(self) -> dict[str, str]:
        return {name: server.admin_url for name, server in self.servers.items()}

    def client(self, name: str) -> redis.Redis:
        return redis.Redis.from_url(self.addresses[name], decode_responses=True, socket_timeout=5.0)

    def asker(self) -> Asker:
        return Asker(lambda: self.addresses[self.in_use], "trading-platform")

    def start(self) -> None:
        """Start the harmoniser."""
        facts = self.folder / "harmoniser.json"
        facts.write_text(json.dumps({"sandbox_id": MARK, "redis": self.addresses}), "utf-8")
        command = [sys.executable, "-m", "sandbox.crypto.deployed.harmoniser", str(facts)]
        environment = {"PATH": os.defpath, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
        log = self.folder / "harmoniser.log"
        self.running.append(processes.spawn(command, log, self.folder, environment))

    def stop(self) -> None:
        """End it as an orchestrator does."""
        while self.running:
            child = self.running.pop()
            child.terminate()
            assert child.wait(timeout=60.0) == 0

    def promote(self, name: str) -> None:
        """Let another instance lead and be in use, and the former one follow it."""
        with self.client(name) as promoted, self.client(self.in_use) as former:
            promoted.replicaof("NO", "ONE")
            former.replicaof("127.0.0.1", self.servers[name].port)
        self.in_use = name


def eventually(seen: Callable[[], Any], within_s: float = 120.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := seen()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    passwords = redis_server.Passwords.fresh()
    primary = redis_server.start(tmp_path, tmp_path, passwords)
    replica = redis_server.start(tmp_path, tmp_path, passwords, name="redis-replica", replica_of=primary.port)
    found = Pair(tmp_path, {"primary": primary, "replica": replica})
    with found.client("primary") as client, found.client("replica") as copy:
        client.set(MARKER, MARK)
        eventually(lambda: copy.get(MARKER) == MARK)
    yield found
    found.stop()
    for server in found.servers.values():
        server.process.terminate()
        server.process.wait()


def make(desk: Callable[..., RiskDesk]) -> Platform:
    parameters = load(PRISTINE / "risk_params.yml", RiskParameters)
    return Platform(5, parameters, load(PRISTINE / "model_router_rules.yml", RouterRules), START_MS, desk=desk)


def served(platform: Platform) -> bool:
    """Whether a step was answered by the harmoniser."""
    platform.step(platform.history[-1].at_ms + 250, 1.0)
    assert isinstance(platform.desk, RemoteDesk)
    return platform.desk.answered


def test_it_makes_the_steps_of_the_platform(pair: Pair) -> None:
    pair.start()
    here, elsewhere = make(RiskDesk), make(partial(RemoteDesk, ask=pair.asker(), step_s=60.0))
    for number in range(1, 41):
        if number == 5:
            for platform in (here, elsewhere):
                platform.market.move_volatility(list(range(5)), 12.0, 3)
        at_ms = START_MS + 250 * number
        ours, theirs = here.step(at_ms, 1.0), elsewhere.step(at_ms, 1.0)
        assert isinstance(elsewhere.desk, RemoteDesk)
        assert elsewhere.desk.answered
        np.testing.assert_array_equal(ours.var_pct, theirs.var_pct)
    assert here.breaker.state.name == elsewhere.breaker.state.name == "OPEN"
    elsewhere.stress()
    here.desk.stress(200_000, np.random.default_rng(1))
    elsewhere.desk.stress(200_000, np.random.default_rng(2))
    stressed = [platform.harmoniser.stressed_var_pct for platform in (here, elsewhere)]
    assert stressed[1] == pytest.approx(stressed[0], rel=0.05)
    with pair.client("primary") as client:
        assert client.exists(QUESTIONS, ANSWERS) == 0


def test_positions_are_held_while_it_is_away(pair: Pair) -> None:
    platform = make(partial(RemoteDesk, ask=pair.asker()))
    held = platform.harmoniser.positions.copy()
    assert not served(platform)
    np.testing.assert_array_equal(platform.harmoniser.positions, held)
    with pair.client("primary") as client:
        assert client.llen(QUESTIONS) == 0  # nobody is to answer it later
    pair.start()
    eventually(lambda: served(platform))
    assert not np.array_equal(platform.harmoniser.positions, held)


def test_it_follows_a_fail_over_and_back(pair: Pair) -> None:
    pair.start()
    platform = make(partial(RemoteDesk, ask=pair.asker()))
    eventually(lambda: served(platform))
    for name in ("replica", "primary"):
        pair.promote(name)
        eventually(lambda: served(platform))


def test_it_survives_its_redis(pair: Pair) -> None:
    pair.start()
    platform = make(partial(RemoteDesk, ask=pair.asker()))
    eventually(lambda: served(platform))
    pair.servers["primary"].process.kill()
    pair.servers["primary"].process.wait()
    assert not served(platform)
    with pair.client("replica") as client:
        client.replicaof("NO", "ONE")
    pair.in_use = "replica"
    eventually(lambda: served(platform))


@pytest.mark.parametrize("question", ["", "[]", "{}", '{"mark": "a", "do": "step", "desk": {}}', "\x00"])
def test_it_survives_any_question(pair: Pair, question: str) -> None:
    pair.start()
    with pair.client("primary") as client:
        client.rpush(QUESTIONS, question)
    platform = make(partial(RemoteDesk, ask=pair.asker()))
    eventually(lambda: served(platform))
    assert pair.running[0].poll() is None


def test_the_leader_is_the_one_that_leads_and_carries_the_mark(pair: Pair) -> None:
    leader = Leader(pair.addresses, MARK, "test")
    assert leader.client().info("server")["tcp_port"] == pair.servers["primary"].port
    pair.promote("replica")
    leader.look_elsewhere()
    assert leader.client().info("server")["tcp_port"] == pair.servers["replica"].port
    with pair.client("primary") as former:  # as after a restart: it says that it leads, and is empty
        former.replicaof("NO", "ONE")
        former.flushall()
    for _ in range(3):
        leader.look_elsewhere()
        assert leader.client().info("server")["tcp_port"] == pair.servers["replica"].port
    leader.look_elsewhere()
    with pytest.raises(NotUp, match=r"no instance of Redis leads .*does not carry the platform's mark"):
        Leader(pair.addresses, "another", "test").client()
