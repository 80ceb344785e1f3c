"""A probe that outlives its budget is given up: the notebook goes on, the record says so, and nothing comes after."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from opslib import store
from opslib.errors import ProbeError
from opslib.ops import Ops
from opslib.record import journal
from opslib.record.client import running
from opslib.record.looks import MOST_GIVEN_UP, Looks
from opslib.settings import Settings
from tests.record.conftest import INCIDENT, SERVERS, open_session

DRIPPING_HEADERS = b"HTTP/1.1 200 OK\r\nX-Slow: "
LATE = "http.text: no answer within 1 s altogether"


def test_what_a_look_sees_and_raises_is_handed_on() -> None:
    looks = Looks(10.0)
    assert looks.within("clock", "clock.now", lambda: 7) == 7

    def refused() -> None:
        raise ProbeError("redis at desk: connection refused")

    with pytest.raises(ProbeError, match="redis at desk: connection refused"):
        looks.within("redis", "redis.ping", refused)


def test_looks_that_were_given_up_do_not_pile_up() -> None:
    looks, answer = Looks(0.05), threading.Event()
    for _ in range(MOST_GIVEN_UP):
        with pytest.raises(ProbeError, match=r"redis\.keys: no answer within 0\.05 s altogether"):
            looks.within("redis", "redis.keys", lambda: answer.wait(60))
    begun = threading.Event()
    with pytest.raises(ProbeError, match="not asked, since redis still owes an answer to 4 earlier calls"):
        looks.within("redis", "redis.ping", begun.set)
    assert not begun.is_set()
    assert looks.within("api", "http.text", lambda: "healthy") == "healthy"
    late = [thread for thread in threading.enumerate() if thread.name == "look redis.keys"]
    answer.set()
    for thread in late:
        thread.join(60)
    looks.within("redis", "redis.ping", begun.set)
    assert begun.is_set()


@contextmanager
def slow_desk(desk: Settings, run_id: int, url: str) -> Iterator[Ops]:
    """What a notebook has whose platform has a further system, `slow`."""
    file = desk.params / "platforms" / "desk.yaml"
    file.write_text(file.read_text("utf-8").replace("  api: ", f"  slow: {url}\n  api: "), "utf-8")
    with running(desk) as recorder, open_session(recorder, run_id) as session:
        ops = Ops(session.socket_path)
        yield ops
        ops.close()


def evidence(settings: Settings) -> list[tuple[str, bool, str | None]]:
    """Of each piece: the file's name, whether it was seen, and why not."""
    with store.connect(settings) as connection:
        told = [entry["body"] for entry in journal.entries(connection, INCIDENT) if entry["kind"] == "evidence"]
    kept = sorted(path.relative_to(path.parents[1]).as_posix() for path in settings.home.glob("*/*/evidence/*"))
    assert kept == sorted(body["file"] for body in told)
    return [(body["file"], body["ok"], body.get("error")) for body in told]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a probe may take a second."""
    monkeypatch.setenv("RUNBOOK_PROBE_BUDGET_S", "1")


@pytest.mark.usefixtures("impatient")
def test_a_notebook_goes_on_without_a_probe_that_outlives_its_budget(
    desk: Settings, run_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with SERVERS["dripping_server"](DRIPPING_HEADERS) as url, slow_desk(desk, run_id, url) as ops:
        assert ops.look("the broker's answer", ops.http.text, "/", "slow") is None
        assert ops.unseen == [f"the broker's answer ({LATE})"]
        assert "Not seen: the broker's answer" in capsys.readouterr().out
        assert ops.redis.ping()["answers"] is True
        ops.conclude({"confirmed": False, "summary": "The broker did not answer.", "unseen": ops.unseen})
    assert evidence(desk) == [
        ("evidence/E001-http-text.json", False, LATE),
        ("evidence/E002-redis-ping.json", True, None),
    ]


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_comes_too_late_leaves_no_trace(desk: Settings, run_id: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with slow_desk(desk, run_id, url) as ops:
            assert ops.look("the broker's answer", ops.http.text, "/", "slow") is None
            asked, _ = server.accept()
            with asked:
                asked.recv(65536)
                asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert asked.recv(1) == b""  # the probe has its answer and has hung up
            assert ops.redis.ping()["answers"] is True
    assert [file for file, _, _ in evidence(desk)] == ["evidence/E001-http-text.json", "evidence/E002-redis-ping.json"]
