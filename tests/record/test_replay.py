"""The recorder that answers from an archive: what it hands out and refuses, and that it touches nothing."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opslib.errors import NoEvidence, NotFound, PlanError, RecorderError, RecordError
from opslib.ops import Ops
from opslib.record import archived
from opslib.record.archived import ArchivedRun, Proposal
from opslib.record.replay import ReplaySession, named, same_actions
from opslib.settings import Settings
from tests.golden import FOLDER

SYMBOLS = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path / "home")
    settings.make_home()
    yield settings
    shutil.rmtree(settings.runtime, ignore_errors=True)


@pytest.fixture
def run(tmp_path: Path) -> ArchivedRun:
    """A copy of a golden record, which a test may damage."""
    folder = tmp_path / "2026-01-01" / "INC-2026-000001"
    shutil.copytree(FOLDER / "var-breach-single-symbol", folder)
    (found,) = archived.runs_in(folder)
    return found


@pytest.fixture
def session(home: Settings, run: ArchivedRun) -> Iterator[ReplaySession]:
    with closing(ReplaySession(home, run)) as found:
        yield found


@pytest.fixture
def ops(session: ReplaySession) -> Iterator[Ops]:
    with closing(Ops(str(session.path))) as found:
        yield found


def test_a_run_is_read_with_all_that_it_saw_and_said(run: ArchivedRun) -> None:
    assert (run.facts["runbook"], run.facts["platform"], run.state) == ("var-breach", "crypto", "succeeded")
    assert run.verdict is not None
    assert run.verdict["cause"] == "single-symbol"
    assert [proposal.actions[0]["action"] for proposal in run.proposals] == ["crypto.emergency-reduce"]
    assert {body["probe"] for body in run.answers.values()} >= {"redis.series", "http.json", "clock.now"}
    assert run.notebook.is_file()


def test_the_notebook_is_told_what_it_was_told(ops: Ops, run: ArchivedRun) -> None:
    assert ops.context.incident == run.incident
    assert ops.context.platform == "crypto"
    assert ops.context.parameters == run.facts["parameters"]
    assert ops.has("redis")
    assert ops.has("api")
    assert not ops.has("kubernetes")


def test_answers_come_with_their_evidence(ops: Ops, session: ReplaySession) -> None:
    var = ops.redis.series("var_pct", SYMBOLS)
    assert list(var.columns) == SYMBOLS
    assert var.attrs["evidence"] == "E001"
    status = ops.http.json("/api/status")
    assert status.evidence == "E002"
    clock = next(body for body in session.answers.archived.answers.values() if body["probe"] == "clock.now")
    assert abs(ops.now() - dt.datetime.fromisoformat(clock["at"])) < dt.timedelta(seconds=1), "the clock of then"
    assert {"E001", "E002"} <= session.answers.used


def test_a_call_without_evidence_fails_by_name(ops: Ops, session: ReplaySession) -> None:
    with pytest.raises(NoEvidence, match=r"holds no answer for redis\.hash\(key='nothing'\)"):
        ops.redis.hash("nothing")
    ops.redis.series("var_pct", SYMBOLS)
    with pytest.raises(NoEvidence, match=r"redis\.series\(metric='var_pct', symbols=.*\), call 2"):
        ops.redis.series("var_pct", SYMBOLS)
    with pytest.raises(NoEvidence, match="random"):
        ops.random(3)
    assert len(session.answers.missing) == 3
    assert ops.look("a new thing", ops.redis.hash, "nothing") is None
    assert "a new thing" in ops.unseen[0]


def test_another_notebook_gets_a_clock_and_chances_that_stay_the_same(home: Settings, run: ArchivedRun) -> None:
    seen = []
    for _ in range(2):
        with closing(ReplaySession(home, run, other=True)) as session, closing(Ops(str(session.path))) as ops:
            seen.append((ops.now(), ops.now(), ops.random(3)))
            assert session.answers.missing, "and it is said that the record holds none"
    assert seen[0] == seen[1]


def test_the_plan_of_then_is_handed_out_for_the_same_actions_alone(
    ops: Ops, session: ReplaySession, run: ArchivedRun
) -> None:
    then = run.proposals[0]
    plan = ops.propose(then.actions[0]["action"], **then.actions[0]["arguments"])
    assert plan is not None
    assert then.plan is not None
    assert (plan.hash, plan.state) == (then.plan["hash"], "proposed")
    with pytest.raises(NoEvidence, match=r"no preview for a plan of crypto\.set-kelly\(kelly_fraction=0\.2\)"):
        ops.propose("crypto.set-kelly", kelly_fraction=0.2)
    assert session.answers.proposed == [
        then.actions,
        [{"action": "crypto.set-kelly", "arguments": {"kelly_fraction": 0.2}}],
    ]


def test_a_refusal_is_repeated(home: Settings, run: ArchivedRun) -> None:
    refused = [{"action": "crypto.set-kelly", "arguments": {"kelly_fraction": 0.2}}]
    run.proposals[:] = [Proposal(refused, refusal=("PlanError", "Kelly is 0.2 already"))]
    with closing(ReplaySession(home, run)) as session, closing(Ops(str(session.path))) as ops:
        with pytest.raises(PlanError, match=r"Kelly is 0\.2 already"):
            ops.propose("crypto.set-kelly", kelly_fraction=0.2)
        assert session.answers.missing == []


def test_nothing_is_applied(ops: Ops) -> None:
    with pytest.raises(RecorderError, match="this is a replay: nothing is applied"):
        ops.apply("a" * 64, "token")


def test_a_verdict_cites_what_was_seen(ops: Ops, session: ReplaySession) -> None:
    verdict: dict[str, Any] = {"confirmed": True, "cause": "a", "confidence": 0.9, "summary": "It is a."}
    cited = [{"key": "a", "likelihood": 0.9, "because": "so", "evidence": ["E001"]}]
    with pytest.raises(RecorderError, match="has not seen: E001"):
        ops.conclude({**verdict, "causes": cited})
    ops.redis.series("var_pct", SYMBOLS)
    ops.conclude({**verdict, "causes": cited})
    assert session.verdict is not None
    assert session.verdict["cause"] == "a"


def test_altered_evidence_is_no_answer(ops: Ops, run: ArchivedRun) -> None:
    entry = next(body for body in run.answers.values() if body["probe"] == "http.json")
    path = run.folder / entry["file"]
    path.write_bytes(path.read_bytes().replace(b'"kelly_fraction"', b'"kelly_fractioN"'))
    with pytest.raises(RecordError, match="is not what the journal says"):
        ops.http.json("/api/status")


def test_nothing_is_written_into_the_record(home: Settings, run: ArchivedRun) -> None:
    def state() -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns)
            for path in run.folder.rglob("*")
            if path.is_file()
        }

    before = state()
    with closing(ReplaySession(home, run)) as session, closing(Ops(str(session.path))) as ops:
        ops.redis.series("var_pct", SYMBOLS)
        with pytest.raises(NoEvidence):
            ops.redis.hash("nothing")
    assert state() == before


def test_a_call_is_named_briefly() -> None:
    assert named("redis.hash", {"key": "k"}, 1) == "redis.hash(key='k')"
    assert named("clock.now", {}, 3) == "clock.now(), call 3"
    assert len(named("prometheus.query", {"promql": "x" * 5000}, 1)) < 300


def test_actions_are_the_same_with_their_defaults_left_out() -> None:
    planned = [{"action": "a", "arguments": {"x": 0.1, "reason": "r"}}]
    assert same_actions([{"action": "a", "arguments": {"x": 0.1}}], planned)
    assert not same_actions([{"action": "a", "arguments": {"x": 0.2}}], planned)
    assert not same_actions([{"action": "b", "arguments": {"x": 0.1}}], planned)
    assert not same_actions([], planned)


def test_there_is_no_record_of_what_is_no_incident(home: Settings) -> None:
    with pytest.raises(NotFound, match="is no incident"):
        archived.checked(home.home, "../../etc")
    with pytest.raises(NotFound, match="there is no record"):
        archived.read(home.home, "INC-2026-000009")
    assert archived.incidents(home.home) == []
