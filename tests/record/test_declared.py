"""What a notebook does not declare the recorder does not do for it: refused in words, on the record, nobody asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from opslib import store
from opslib.errors import PlanError, ProbeError
from opslib.ops import Ops
from opslib.record import declared
from opslib.record.client import RecorderClient
from opslib.settings import Settings
from tests.record.conftest import declare, open_session
from tests.record.test_recorder import entries

UNDECLARED = "var-breach does not declare that it reads http.health: add it to metadata.runbook.reads"


@pytest.fixture
def asking(desk: Settings, recorder: RecorderClient, run_id: int) -> Callable[..., Any]:
    """`ops` of a run of `var-breach` whose notebook declares what is given."""

    @contextmanager
    def opened(mode: str = "plan", **about: list[str]) -> Iterator[Ops]:
        declare(desk.notebooks, **about)
        with open_session(recorder, run_id, mode) as session:
            ops = Ops(session.socket_path)
            yield ops
            ops.close()

    return opened


def test_a_probe_that_is_not_declared_could_not_be_seen(
    desk: Settings, asking: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = desk.params / "platforms" / "desk.yaml"
    with socket.create_server(("127.0.0.1", 0)) as api:
        lines = file.read_text().splitlines()
        there = [f"  api: http://127.0.0.1:{api.getsockname()[1]}" if "  api:" in line else line for line in lines]
        file.write_text("\n".join(there) + "\n")
        with asking(reads=["redis.ping"]) as ops:
            assert ops.look("the API's health", ops.http.health) is None
            assert ops.unseen == [f"the API's health ({UNDECLARED})"]
            assert ops.redis.ping()["answers"] is True
            ops.conclude({"confirmed": False, "summary": "Not all was seen.", "unseen": ops.unseen})
        api.settimeout(0.5)
        with pytest.raises(TimeoutError):
            api.accept()  # nobody asked it
    assert "Not seen: the API's health" in capsys.readouterr().out
    told = [one["body"] for one in entries(desk, "evidence")]
    assert [(one["probe"], one["ok"], one.get("error")) for one in told] == [
        ("http.health", False, UNDECLARED),
        ("redis.ping", True, None),
    ]


def test_another_system_is_declared_by_its_name(desk: Settings, asking: Callable[..., Any], api_url: str) -> None:
    file = desk.params / "platforms" / "desk.yaml"
    file.write_text(file.read_text().replace("  api: ", f"  board: {api_url}\n  api: "))
    with asking(reads=["http.text"]) as ops:
        assert "healthy" in ops.http.text("/health")
        assert "healthy" in ops.http.text("/health", "api")
        with pytest.raises(ProbeError, match=r"does not declare that it reads http\.text@board: add it"):
            ops.http.text("/health", "board")
    with asking(reads=["http.text@board"]) as ops:
        assert "healthy" in ops.http.text("/health", "board")
        with pytest.raises(ProbeError, match=r"does not declare that it reads http\.text: add it"):
            ops.http.text("/health")


def test_an_action_that_is_not_declared_is_refused(desk: Settings, asking: Callable[..., Any]) -> None:
    why = "var-breach does not declare that it may propose redis.fail-over: add it to metadata.runbook.proposes"
    given = {"name": "hz", "value": "20"}
    for mode in ("plan", "interactive"):
        with asking(mode, proposes=["redis.set-configuration"]) as ops, pytest.raises(PlanError) as refused:
            ops.propose([("redis.set-configuration", given), ("redis.fail-over", {})], reason="x")
        assert str(refused.value) == why
    told = [one["body"] for one in entries(desk, "proposal-refused")]
    assert [(one["type"], one["error"]) for one in told] == [("PlanError", why)] * 2
    assert [one["action"] for one in told[0]["actions"]] == ["redis.set-configuration", "redis.fail-over"]
    with store.connect(desk) as connection:
        assert connection.execute("SELECT count(*) AS n FROM plans").fetchone() == {"n": 0}


def test_a_person_who_investigates_may_look_at_everything(asking: Callable[..., Any]) -> None:
    with asking("interactive") as ops:
        assert ops.redis.ping()["answers"] is True
        assert ops.http.health()["status"] == "healthy"
        with pytest.raises(ProbeError, match=r"there is no probe 'redis\.flushall'"):
            ops.probe("redis.flushall")


def test_a_run_is_held_to_what_its_notebook_declared_when_it_began(desk: Settings, asking: Callable[..., Any]) -> None:
    with asking(reads=["redis.ping"]) as ops:
        declare(desk.notebooks, reads=["http.health"])
        assert ops.redis.ping()["answers"] is True
        with pytest.raises(ProbeError, match=r"does not declare that it reads http\.health"):
            ops.http.health()


def test_a_notebook_without_declarations_is_held_to_none(desk: Settings, asking: Callable[..., Any]) -> None:
    with asking() as ops:
        assert ops.redis.ping()["answers"] is True
    declared.of(desk, "var-breach", "plan").check(["redis.fail-over"])


@pytest.mark.parametrize("text", [None, "{"])
def test_a_runbook_whose_notebook_is_gone_or_broken_declares_nothing(
    desk: Settings, recorder: RecorderClient, run_id: int, text: str | None
) -> None:
    path = desk.notebooks / "alerts" / "var-breach.ipynb"
    path.unlink() if text is None else path.write_text(text)
    with open_session(recorder, run_id) as session:
        ops = Ops(session.socket_path)
        with pytest.raises(ProbeError, match=r"does not declare that it reads redis\.ping"):
            ops.redis.ping()
        ops.close()
