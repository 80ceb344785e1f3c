"""The applier and the commands as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from opslib import people, store
from opslib.actions import applier, approval
from tests.actions.world import World, edit_policy

pytestmark = pytest.mark.slow  # each starts Python several times


def environment(world: World, **more: str) -> dict[str, str]:
    """The environment of a process of this world."""
    facts = {"RUNBOOK_HOME": str(world.settings.home), "RUNBOOK_PARAMS": str(world.params)}
    return {**os.environ, **facts, **more}


@contextmanager
def process(world: World, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An applier, ended at the latest with the block."""
    command = [sys.executable, "-m", "opslib.actions.applier", *arguments]
    with subprocess.Popen(command, env=environment(world), stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.kill()


def until(true: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)


def runbook(world: World, *words: str, token: str = "") -> subprocess.CompletedProcess[str]:
    """The command `runbook`."""
    return subprocess.run(
        [sys.executable, "-c", "from opslib.cli import main; main()", *words],
        env=environment(world, **({"RUNBOOK_TOKEN": token} if token else {})),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def tokens(world: World) -> dict[str, str]:
    """The tokens of the people."""
    with store.transaction(world.settings) as connection:
        return {
            name: people.add(connection, name, role, replace=True)
            for name, role in {"ann": "L1", "bob": "L2", "vera": "viewer"}.items()
        }


def test_the_applier_serves_until_it_is_told_to_stop(world: World) -> None:
    with process(world) as started:
        until(lambda: applier.alive(world.settings))
        plan = world.propose()
        approval.approve(world.settings, plan.hash, world.person("ann"))
        approval.apply(world.settings, plan.hash, world.person("ann"))
        assert applier.wait(world.settings, plan.hash).state == "verified"
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0
    assert not applier.alive(world.settings)


def test_a_killed_applier_is_followed_by_one_that_does_not_repeat(world: World) -> None:
    world.platform.ineffective = True  # so that the first one waits for the effect
    plan = world.propose()
    approval.approve(world.settings, plan.hash, world.person("ann"))
    approval.apply(world.settings, plan.hash, world.person("ann"))
    with process(world) as started:
        until(lambda: bool(world.platform.posts))
        until(lambda: (world.plan(plan.hash).result or {}).get("steps", [{}])[-1].get("state") == "done")
        started.kill()
        started.wait()
    assert world.plan(plan.hash).state == "applying"
    world.platform.ineffective = False
    with process(world, "--once", plan.hash) as second:
        assert second.wait(60) == 0
    assert world.plan(plan.hash).state == "verified"
    assert len(world.platform.posts) == 1


def test_approve_with_apply_shows_before_and_after(world: World, tokens: dict[str, str]) -> None:
    plan = world.propose()
    done = runbook(world, "approve", world.incident, "--plan", plan.hash[:12], "--apply", token=tokens["ann"])
    assert done.returncode == 0, done.stderr
    assert "largest VaR of a symbol: 2.30 before, 0.92 after, limit 1.8" in done.stdout
    assert "verified: the alert's condition no longer holds" in done.stdout
    assert world.platform.kelly == 0.1


def test_a_wrong_role_is_refused_by_command(world: World, tokens: dict[str, str]) -> None:
    plan = world.propose()
    done = runbook(world, "approve", world.incident, "--plan", plan.hash, "--apply", token=tokens["vera"])
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "vera is a viewer and decides nothing. Who could: ann (L1), bea (L1), ben (L2), bob (L2), cleo (L3)"
        in done.stderr
    )
    assert world.plan(plan.hash).state == "proposed"
    assert world.last("plan-refused")["person"] == "vera"
    done = runbook(world, "approve", world.incident, "--plan", plan.hash, "--as", "bob", token=tokens["ann"])
    assert (done.returncode, "RUNBOOK_TOKEN is ann's, not bob's" in done.stderr) == (1, True)


def test_the_glass_is_broken_by_command_with_a_reason_alone(world: World, tokens: dict[str, str]) -> None:
    edit_policy(world.params, lambda p: p["actions"]["crypto.emergency-reduce"].update(authority="L2"))
    plan = world.propose()
    words = ("approve", world.incident, "--plan", plan.hash, "--break-glass", "--apply")
    done = runbook(world, *words, token=tokens["ann"])
    assert (done.returncode, "breaking the glass needs a reason" in done.stderr) == (2, True)
    assert world.plan(plan.hash).state == "proposed"
    done = runbook(world, *words, "--reason", "bob does not answer", token=tokens["ann"])
    assert done.returncode == 0, done.stderr
    assert world.last("plan-break-glass")["skipped"] == ["it needs L2"]
    assert world.platform.kelly == 0.1


def test_the_other_words_print_one_document(world: World, tokens: dict[str, str]) -> None:
    plan, other = world.propose(), world.propose(0.12)
    ann = tokens["ann"]

    def told(*words: str) -> dict[str, object]:
        done = runbook(world, *words, "--json", token=ann)
        assert done.returncode == 0, done.stderr
        document: dict[str, object] = json.loads(done.stdout)
        return document

    assert told("reject", world.incident, "--plan", other.hash, "--reason", "not now")["state"] == "rejected"
    assert told("approve", world.incident, "--plan", plan.hash)["state"] == "approved"
    assert len(told("hold", "--reason", "feed is wrong")["holds"]) == 1  # type: ignore[arg-type]
    assert runbook(world, "apply", world.incident, "--plan", plan.hash, token=ann).returncode == 1
    assert told("hold", "--release")["holds"] == []
    assert told("apply", world.incident, "--plan", plan.hash)["state"] == "verified"
    assert told("undo", world.incident, "--plan", plan.hash)["undo_of"] == plan.hash
    assert runbook(world, "hold", token=ann).returncode == 2
    assert runbook(world, "approve", world.incident, "--plan", "abc", token=ann).returncode == 2
