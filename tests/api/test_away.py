"""A server whose database is away, or takes connections and then says nothing."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib import store
from opslib.settings import Settings
from tests.api.conftest import Server, serve
from tests.intake.bodies import alert, webhook


@pytest.fixture(params=["refuses", "hangs"])
def away(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with such a database."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if request.param == "refuses":
        listener.close()
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNBOOK_DATABASE_URL", f"postgresql://nobody:secret-word@127.0.0.1:{port}/none")
    settings = Settings()
    settings.make_home()
    with serve(settings, {"intake": "rb_some-token"}) as server:
        yield server
        listener.close()


@pytest.mark.slow
def test_deliveries_are_to_be_sent_again(away: Server) -> None:
    began = time.monotonic()
    answers = []

    def deliver() -> None:
        answers.append(away.post("/api/v1/alerts", "intake", content=webhook(alert())))

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"answered within {time.monotonic() - began:.2f} s")
    assert [answer.status_code for answer in answers] == [503] * 4
    assert "secret-word" not in answers[0].text
    assert away.get("/healthz").status_code == 200
    assert away.get("/readyz").status_code == 503
    assert "runbook_store_up 0.0" in away.get("/metrics").text


@pytest.mark.slow
def test_a_database_that_stops_answering_is_no_obstacle_once_it_answers_again(serving: Server) -> None:
    def deliver() -> int:
        return serving.post("/api/v1/alerts", "intake", content=webhook(alert())).status_code

    assert deliver() == 200
    backends = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND application_name = 'runbook'"
    )
    with store.transaction(serving.settings) as connection:
        kept = [row["pid"] for row in connection.execute(backends)]
    assert kept
    for pid in kept:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answers = [deliver(), deliver()]
        print(f"answered within {time.monotonic() - began:.2f} s")
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGCONT)
    assert answers[0] == 503  # it has a connection that does not answer; the next one may get a new one
    assert deliver() == 200
    with store.transaction(serving.settings) as connection:
        told = connection.execute("SELECT count(*) AS alerts FROM alerts").fetchone()
    assert told == {"alerts": 1}
