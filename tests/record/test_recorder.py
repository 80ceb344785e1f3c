"""The recorder: a process of its own that looks, redacts, keeps, and hands out exactly what it kept."""

from __future__ import annotations

import datetime as dt
import io
import json
import shutil
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import opslib
from opslib import store
from opslib.canonical import canonical, file_digest
from opslib.errors import NotFound, PlanError, ProbeError, RecorderError
from opslib.ops import Ops, Seen, SeenText
from opslib.record import journal, wire
from opslib.record.client import RecorderClient, RecorderSession, control_path, running
from opslib.settings import PROJECT, Settings
from tests.actions.world import edit_policy
from tests.record.conftest import add_run

INCIDENT = "INC-2026-000001"
PASSWORD = "swordfish-4711-very-secret"


def ask_until_refused(ops: Ops) -> None:
    for _ in range(1000):
        ops.redis.ping()


def entries(settings: Settings, kind: str) -> list[dict]:
    with store.connect(settings) as connection:
        return [entry for entry in journal.entries(connection, INCIDENT) if entry["kind"] == kind]


def folder(settings: Settings) -> Path:
    return settings.home / "2026-11-20" / INCIDENT


def test_a_table_is_kept_and_handed_out_as_kept(desk: Settings, ops: Ops) -> None:
    frame = ops.redis.series("var_pct", ["A"])
    assert frame["A"].tolist() == [1.0, 1.5]
    assert frame.index.name == "time"
    assert str(frame.index.tz) == "UTC"
    assert frame.attrs["evidence"] == "E001"
    body = entries(desk, "evidence")[0]["body"]
    path = folder(desk) / body["file"]
    assert body["file"] == "evidence/E001-redis-series.parquet"
    assert file_digest(path) == body["sha256"]
    head = json.loads(pq.read_schema(io.BytesIO(path.read_bytes())).metadata[b"runbook"])
    assert (head["probe"], head["arguments"], head["ordinal"]) == (
        "redis.series",
        {"metric": "var_pct", "symbols": ["A"]},
        1,
    )
    assert {key: head[key] for key in ("at", "took_ms", "id")} == {key: body[key] for key in ("at", "took_ms", "id")}
    assert pq.read_table(io.BytesIO(path.read_bytes())).column("A").to_pylist() == frame["A"].tolist()


def test_json_is_kept_canonically_and_redacted(desk: Settings, ops: Ops) -> None:
    status = ops.http.json("/api/status")
    assert isinstance(status, Seen)
    assert status["kelly_fraction"] == 0.25
    assert status["password"].startswith("«redacted:")
    note = ops.redis.text("note")
    assert isinstance(note, SeenText)
    assert note == f"the password is {status['password']}, keep it"  # the same secret, the same token
    path = folder(desk) / "evidence" / "E001-http-json.json"
    document = json.loads(path.read_bytes())
    assert path.read_bytes() == canonical(document)
    assert document["result"] == status
    for file in (path for path in desk.home.rglob("*") if path.is_file() and ".state" not in path.parts):
        assert PASSWORD.encode() not in file.read_bytes()


def test_an_error_is_evidence_too(desk: Settings, ops: Ops) -> None:
    with pytest.raises(ProbeError, match="there is no key 'absent'") as caught:
        ops.redis.text("absent")
    assert caught.value.facts["evidence"] == "E001"
    body = entries(desk, "evidence")[0]["body"]
    assert body["ok"] is False
    assert "there is no key 'absent'" in body["error"]
    assert file_digest(folder(desk) / body["file"]) == body["sha256"]


def test_a_system_that_is_not_declared_is_not_seen(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    assert not ops.has("prometheus")
    assert ops.has("redis")
    assert ops.look("the alert rule", ops.prometheus.query, "up") is None
    assert ops.unseen == ["the alert rule (desk declares no prometheus; its systems: redis, api (desk.yaml))"]
    assert "Not seen: the alert rule (desk declares no prometheus" in capsys.readouterr().out


def test_the_same_call_again_has_the_next_ordinal(desk: Settings, ops: Ops) -> None:
    ops.redis.text("note")
    ops.redis.text("note")
    ops.redis.ping()
    assert [entry["body"]["ordinal"] for entry in entries(desk, "evidence")] == [1, 2, 1]


def test_clock_and_chance_are_evidence(desk: Settings, ops: Ops) -> None:
    now, numbers = ops.now(), ops.random(3)
    assert now.tzinfo is not None
    assert len(set(numbers)) == 3
    kept = [json.loads((folder(desk) / entry["body"]["file"]).read_bytes()) for entry in entries(desk, "evidence")]
    assert [piece["probe"] for piece in kept] == ["clock.now", "random.numbers"]
    assert kept[1]["result"] == numbers
    with pytest.raises(RecorderError, match="ask for 1 to 10,000 random numbers"):
        ops.random(0)


def test_context_tells_the_run(ops: Ops, run_id: int) -> None:
    assert ops.context.run == run_id
    assert ops.context.parameters == {"limit": 2.0}
    assert ops.context.alert == {"labels": {"symbol": "A"}}


def test_context_tells_whom_to_call_when(ops: Ops) -> None:
    where = ops.context
    assert (where.severity, where.updates, where.paths) == ("critical", {"critical": 15}, {"default": {"L2": 15}})
    assert where.opened_at is not None
    assert where.started_at is not None
    assert dt.timedelta(0) <= where.started_at - where.opened_at < dt.timedelta(minutes=5)
    assert "INC-2026-000001" in repr(ops)


def test_verdict_is_kept_with_the_run(desk: Settings, ops: Ops, run_id: int) -> None:
    verdict = {"confirmed": False, "summary": f"Nothing is wrong; {PASSWORD} was not needed."}
    ops.conclude(verdict)
    with store.connect(desk) as connection:
        row = connection.execute("SELECT verdict FROM runs WHERE id = %s", (run_id,)).fetchone()
    assert row is not None
    assert row["verdict"]["confirmed"] is False
    assert PASSWORD not in row["verdict"]["summary"]
    assert entries(desk, "verdict")[0]["body"] == {"run": run_id, "verdict": row["verdict"]}
    with pytest.raises(RecorderError, match=r"the verdict does not validate(.|\n)*summary"):
        ops.conclude({"confirmed": True})


def test_a_verdict_cites_what_its_own_run_has_seen(desk: Settings, recorder: RecorderClient, run_id: int) -> None:
    other = add_run(desk, number=2)

    def verdict(evidence: str) -> dict:
        cause = {"key": "x", "likelihood": 0.9, "because": "b", "evidence": [evidence]}
        return {"confirmed": True, "cause": "x", "causes": [cause], "summary": evidence}

    with open_session_of(recorder, run_id) as mine, open_session_of(recorder, other) as others:
        one, two = Ops(mine.socket_path), Ops(others.socket_path)
        one.redis.ping()
        two.redis.ping()
        one.conclude(verdict("E001"))
        for foreign in ("E002", "E077", ""):
            with pytest.raises(RecorderError, match=f"cites evidence that this run has not seen: {foreign}"):
                one.conclude(verdict(foreign))
        one.close()
        two.close()
    with open_session_of(recorder, run_id) as again:  # the recorder was started anew: what was seen still counts
        one = Ops(again.socket_path)
        one.conclude(verdict("E001"))
        one.close()
    assert len(entries(desk, "verdict")) == 2


def test_after_the_end_of_a_run_nothing_changes_its_verdict(desk: Settings, ops: Ops, run_id: int) -> None:
    ops.conclude({"confirmed": False, "summary": "first", "plan": {"hash": "invented"}})
    ops.conclude({"confirmed": True, "summary": "last"})
    with store.transaction(desk) as connection:
        connection.execute("UPDATE runs SET state = 'succeeded' WHERE id = %s", (run_id,))
    with pytest.raises(RecorderError, match="the run has ended; its verdict stands"):
        ops.conclude({"confirmed": False, "summary": "too late"})
    with pytest.raises(PlanError, match="is succeeded; it proposes nothing any more"):
        ops.propose("crypto.emergency-reduce", kelly_fraction=0.1)
    told = [entry["body"]["verdict"] for entry in entries(desk, "verdict")]
    assert [(verdict["summary"], verdict["plan"]) for verdict in told] == [("first", None), ("last", None)]


def test_what_is_still_looked_at_when_the_session_ends_leaves_no_trace(
    desk: Settings, recorder: RecorderClient, run_id: int
) -> None:
    file = desk.params / "platforms" / "desk.yaml"
    with socket.create_server(("127.0.0.1", 0)) as api, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{api.getsockname()[1]}"
        file.write_text(file.read_text().replace("  api: ", f"  slow: {url}\n  api: "))
        session = open_session_of(recorder, run_id)
        ops = Ops(session.socket_path)
        looking = pool.submit(ops.http.text, "/", "slow")
        asked, _ = api.accept()
        with asked:
            session.close()
            with pytest.raises(RecorderError, match="the recorder of this run is gone"):
                looking.result(30)
            asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            asked.recv(65536)
            asked.recv(1)  # until the probe has hung up
        ops.close()
    with open_session_of(recorder, run_id) as again:
        ops = Ops(again.socket_path)
        ops.redis.ping()
        ops.close()
    assert [entry["body"]["probe"] for entry in entries(desk, "evidence")] == ["redis.ping"]


def test_a_run_that_observes_proposes_nothing(
    recorder: RecorderClient, run_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_session_of(recorder, run_id, "observe") as session:
        ops = Ops(session.socket_path)
        assert ops.propose("crypto.emergency-reduce", kelly_fraction=0.1) is None
        ops.close()
    assert "only observes" in capsys.readouterr().out


def test_what_a_guard_holds_back_is_said_and_no_plan(
    desk: Settings, ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    window = {"start": "2020-01-01T00:00:00Z", "end": "2999-01-01T00:00:00Z", "reason": "expiry"}
    forbidden = window | {"forbids": ["redis.flush-pattern"]}
    shutil.copy(PROJECT / "params" / "policy.yaml", desk.params)
    edit_policy(desk.params, lambda rules: rules["guards"].update(expiry_windows=[forbidden]))
    assert ops.propose("redis.flush-pattern", pattern="metrics:*") is None
    told = "the policy forbids it now: redis.flush-pattern: window: expiry"
    assert f"Nothing is proposed: {told}.\n" in capsys.readouterr().out
    [refused] = entries(desk, "proposal-refused")
    assert (refused["body"]["type"], refused["body"]["error"]) == ("Forbidden", told)


def test_a_playbook_cannot_apply(ops: Ops) -> None:
    with pytest.raises(RecorderError, match="proposes and never applies"):
        ops.apply("0" * 64, "rb_token")


def test_several_runs_number_their_evidence_together(desk: Settings, recorder: RecorderClient, run_id: int) -> None:
    with open_session_of(recorder, run_id) as first, open_session_of(recorder, run_id) as second:
        one, two = Ops(first.socket_path), Ops(second.socket_path)
        one.redis.ping()
        two.redis.ping()
        one.redis.ping()
        one.close()
        two.close()
    assert [entry["body"]["id"] for entry in entries(desk, "evidence")] == ["E001", "E002", "E003"]


def test_control_needs_the_token(desk: Settings, recorder: RecorderClient) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control_path(desk)))
        wire.send(connection, {"op": "open", "token": "guess", "subject": {}})
        reply = wire.receive(connection)
    assert reply is not None
    assert reply[0]["ok"] is False
    assert "control token is wrong" in reply[0]["error"]["message"]
    token = desk.state / "keys" / "recorder-control"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_unknown_incident_is_refused(recorder: RecorderClient) -> None:
    with pytest.raises(NotFound, match="there is no incident INC-1999-000001"):
        recorder.session(
            incident="INC-1999-000001", run=1, platform="desk", runbook="x", mode="plan", parameters={}, alert=None
        )


def test_closed_session_answers_no_more(session: RecorderSession) -> None:
    ops = Ops(session.socket_path)
    session.close()
    with pytest.raises(RecorderError, match="the recorder of this run is gone"):
        ask_until_refused(ops)
    ops.close()


def test_killed_recorder_is_told_from_a_probe_that_failed(
    desk: Settings, run_id: int, kill: Callable[[int], None]
) -> None:
    with running(desk) as client:
        session = open_session_of(client, run_id)
        ops = Ops(session.socket_path)
        ops.redis.ping()
        lease = client.lease()
        kill(client._ask(lease, "lease")["pid"])
        lease.close()
        with pytest.raises(RecorderError, match="the recorder of this run is gone"):
            ops.redis.ping()
        ops.close()
        session.close()
    with running(desk) as client, open_session_of(client, run_id) as session:
        ops = Ops(session.socket_path)
        assert ops.redis.ping().evidence == "E002"
        ops.close()


def test_outside_a_run_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNBOOK_OPS_SOCKET", raising=False)
    with pytest.raises(RecorderError, match="start the notebook with `runbook run`"):
        opslib.connect()


def test_recorder_ends_with_its_last_user(desk: Settings) -> None:
    with running(desk) as client, running(desk) as same:
        assert client.alive()
        assert same.alive()
    assert not RecorderClient(desk).alive()


def open_session_of(client: RecorderClient, run_id: int, mode: str = "plan") -> RecorderSession:
    return client.session(
        incident=INCIDENT, run=run_id, platform="desk", runbook="var-breach", mode=mode, parameters={}, alert=None
    )
