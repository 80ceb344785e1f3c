"""Two faults at once, and causes that no playbook knows: what is made, and that the playbook of A11 can tell it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sandbox import faults
from sandbox.crypto.changes import CHANGES
from sandbox.derivatives import manifests, report
from sandbox.errors import UnknownFault
from sandbox.faults import FAULTS, PAIRS, UNLISTED, inject, unlisted
from sandbox.progress import quiet
from tests.diagnosis import simulation
from tests.sandbox.derivatives.recording import Recording
from tests.seeds import seeds

SETTINGS: Any = None  # what the faults of these tests do not look at


def test_pairs_are_two_faults_of_one_playbook_on_one_platform() -> None:
    assert len(PAIRS) >= 6
    for pair in PAIRS:
        first, second = faults.parts(pair)
        assert first != second
        assert first.partition("/")[0] == second.partition("/")[0]
        assert FAULTS[first].platform == FAULTS[second].platform
    assert len({pair.partition("/")[0] for pair in PAIRS}) == len(PAIRS), "each of another playbook"


def test_what_is_not_listed_is_no_cause_of_its_playbook() -> None:
    assert len(UNLISTED) >= 3
    for name in UNLISTED:
        runbook, _, cause = name.partition("/")
        known = import_module(f"opslib.diagnosis.{runbook.replace('-', '_')}").CAUSES
        assert known
        assert cause not in {one.key for one in known}
        assert name not in FAULTS


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens on a platform that shows a fault once it was made."""
    done: list[str] = []

    class Platform:
        def verify(self, _settings: Any) -> None:
            done.append("verified")

        def decoys(self, _chance: random.Random, count: int) -> list[Any]:
            return [lambda _settings: done.append("noise")] * count

    def fault(name: str) -> faults.Fault:
        def made(_settings: Any, rng: random.Random, _progress: Any) -> None:
            done.append(f"{name} {rng.random():.6f}")

        def shows(_settings: Any) -> str | None:
            return f"{name} shows" if any(one.startswith(name) for one in done) else None

        return faults.Fault("crypto", made, shows, 1.0, lambda _settings: {"figure": 1})

    made = {name: fault(name) for name in ("a/one", "a/two", "b/three")}
    made["b/three"] = replace(made["b/three"], platform="derivatives")
    monkeypatch.setattr(inject, "FAULTS", made)
    monkeypatch.setattr(inject, "UNLISTED", {"a/odd": fault("a/odd")})
    monkeypatch.setattr("sandbox.platforms.find", lambda _name: Platform())
    return done


def test_each_of_two_at_once_is_made_as_it_is_alone(platform: list[str]) -> None:
    alone = []
    for name in ("a/one", "a/two"):
        inject.break_(SETTINGS, name, seed=5)
        alone.append(platform[-1])
    platform.clear()
    told = inject.break_(SETTINGS, "a/one+two", seed=5, decoys=2)
    assert [one for one in platform if one not in ("verified", "noise")] == alone
    assert platform.count("noise") == 2
    assert (told["fault"], told["platform"], told["figure"]) == ("a/one+two", "crypto", 1)
    assert told["shows"] == "a/one shows; and a/two shows"


def test_what_is_not_listed_can_be_made_too(platform: list[str]) -> None:
    assert inject.break_(SETTINGS, "a/odd", seed=1)["shows"] == "a/odd shows"
    assert platform[-1].startswith("a/odd ")


@pytest.mark.parametrize("name", ["a/one+four", "a/one+", "a/", "+", "a/one + two"])
def test_nothing_is_made_where_one_of_them_is_not_known(name: str, platform: list[str]) -> None:
    with pytest.raises(UnknownFault, match="there is no fault"):
        inject.break_(SETTINGS, name, seed=1)
    assert platform == []


@pytest.mark.parametrize("seed", seeds(6))
def test_kelly_that_was_raised_breaches_and_is_none_of_these(seed: int) -> None:
    scene = simulation.scene(300 + seed)
    for step in unlisted.kelly_raised(random.Random(seed)):
        CHANGES[step.do](**step.facts).apply(scene.platform, scene.now_ms)
    assert simulation.until_breach(scene)
    scene.advance(10)
    verdict = simulation.diagnose(scene)
    assert verdict.cause == "none-of-these", verdict.summary


@pytest.mark.parametrize("seed", seeds(6))
def test_both_of_the_pair_of_a11_can_be_told_when_its_alert_comes(seed: int) -> None:
    scene = simulation.scene(400 + seed)
    simulation.break_(scene, *faults.parts("var-breach/stale-volatility+single-symbol"), seed=seed)
    assert simulation.until_breach(scene)
    scene.advance(10)  # Prometheus, Alertmanager, and a kernel that starts
    likely = {item.key for item in simulation.diagnose(scene).causes if item.likelihood > 0.5}
    assert likely == {"stale-volatility", "single-symbol"}


def test_a_database_is_scaled_to_nothing_and_a_cache_is_emptied_by_the_platforms_own_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Recording.at(tmp_path / "platform")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr("sandbox.faults.on_derivatives.reach", lambda _settings: platform)
    for name in ("postgres-down/scaled-to-nothing", "cache-miss-rate/keys-removed"):
        UNLISTED[name].inject(SETTINGS, random.Random(1), quiet)
    assert platform.done[0] == ("scale", "statefulset/postgres", "--replicas=0")
    verb, documents, _ = platform.done[-1]
    assert verb == "apply"
    command = documents[0]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-3:-1] == ["remove", "greeks:*"]
    assert float(command[-1]) > 0.0
    assert "unlisted" not in platform.trace()
    assert "keys-removed" not in platform.trace()


def test_it_shows_that_no_pod_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def __init__(self) -> None:
            self.items: list[Any] = []

        @contextmanager
        def database(self) -> Iterator[Any]:
            import psycopg

            raise psycopg.OperationalError("nobody listens")
            yield

        @property
        def kube(self) -> Any:
            return self

        def pods(self, _app: str) -> list[Any]:
            return self.items

    away: Any = Away()
    monkeypatch.setattr("sandbox.faults.on_derivatives.reach", lambda _settings: away)
    seen = UNLISTED["postgres-down/scaled-to-nothing"].visible
    assert seen(SETTINGS) == "the database does not answer: there is no pod"
    away.items = [{"status": {"phase": "Running"}}]
    assert seen(SETTINGS) is None


def test_housekeeping_removes_keys_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    class Enough(Exception):
        """There is nothing left to do."""

    removed: list[tuple[str, ...]] = []
    waits = iter([None, None, Enough()])

    class Client:
        def scan_iter(self, pattern: str, count: int) -> list[str]:
            if len(removed) == 1:
                removed.append(())
                raise redis.ConnectionError("away")
            return ["greeks:a", "greeks:b"] if pattern == "greeks:*" and count else []

        def unlink(self, *keys: str) -> None:
            removed.append(keys)

    def sleep(seconds: float) -> None:
        assert seconds == 1.5
        if (problem := next(waits)) is not None:
            raise problem

    monkeypatch.setenv("REDIS_URL", "redis://nowhere")
    monkeypatch.setattr("redis.Redis.from_url", lambda *_words, **_facts: Client())
    monkeypatch.setattr(report.time, "sleep", sleep)
    monkeypatch.setattr("sys.argv", ["report", *manifests.housekeeping("greeks:*", 1.5)["spec"]["template"]["spec"]
                                     ["containers"][0]["command"][-3:]])  # fmt: skip
    with pytest.raises(Enough):
        report.main()
    assert removed == [("greeks:a", "greeks:b"), (), ("greeks:a", "greeks:b")], "also after Redis was away"
