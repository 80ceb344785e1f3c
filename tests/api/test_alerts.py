"""Intake over HTTP: tokens, sizes, and a database that goes away."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from opslib import people, store
from opslib.settings import Settings
from tests.api.conftest import Server, serve
from tests.intake.bodies import alert, labels, one, webhook

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("path", ["/api/v1/alerts", "/api/v2/alerts"])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic aW50YWtl", "Bearer \udcff"])
def test_without_the_right_token_nothing_is_stored(serving: Server, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("utf-8", "surrogateescape")}
    answer = serving.post(path, content=webhook(alert()), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    for table in ("alerts", "incidents", "runs", "intake_bodies"):
        assert one(serving.settings, f"SELECT count(*) FROM {table}") == 0


@pytest.mark.parametrize("name", ["looker", "first", "second", "elsewhere"])
def test_token_of_a_person_cannot_deliver(serving: Server, name: str) -> None:
    answer = serving.post("/api/v1/alerts", name, content=webhook(alert()))
    assert answer.status_code == 403
    assert "use the token of a machine" in answer.json()["error"]["message"]
    assert one(serving.settings, "SELECT count(*) FROM alerts") == 0


def test_delivery_three_times(serving: Server) -> None:
    answers = [serving.post("/api/v1/alerts", "intake", content=webhook(alert()), headers=JSON) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.json()["accepted"] for answer in answers] == [1, 0, 0]
    book = serving.get("/api/v1/ledger", "looker").json()
    assert (book["accepted"], book["waiting"], book["repeats"]) == (1, 1, 2)
    assert book["alerts"][0]["labels"] == labels()


def test_delivery_as_prometheus_sends_it(serving: Server) -> None:
    body = [{"labels": labels(), "annotations": {}, "generatorURL": "http://p/graph"}]
    assert serving.post("/api/v2/alerts", "intake", json=body).json()["accepted"] == 1


def test_body_that_cannot_be_understood_is_kept(serving: Server) -> None:
    for content in (b"\xff", b"{", b"[]", b""):
        answer = serving.post("/api/v1/alerts", "intake", content=content)
        assert answer.status_code == 202
    assert one(serving.settings, "SELECT count(*) FROM intake_bodies") == 4
    assert one(serving.settings, "SELECT count(*) FROM incidents") == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_four_mebibytes_is_refused_and_its_loss_recorded(serving: Server, chunked: bool) -> None:
    size = 5 * 1024 * 1024

    def pieces() -> Iterator[bytes]:
        for _ in range(80):
            yield b"x" * (size // 80)

    for _ in range(2):
        answer = serving.post("/api/v1/alerts", "intake", content=pieces() if chunked else b"x" * size)
        assert answer.status_code == 413
        assert "the loss is recorded in INC-" in answer.json()["error"]["message"]
    assert one(serving.settings, "SELECT count(*) FROM incidents WHERE runbook = 'triage'") == 1
    assert one(serving.settings, "SELECT count(*) FROM runs") == 1
    assert one(serving.settings, "SELECT count(*) FROM intake_bodies WHERE body IS NULL") == 2
    assert one(serving.settings, "SELECT max(size) FROM intake_bodies") == size


def test_body_of_just_four_mebibytes_is_taken(serving: Server) -> None:
    body = webhook(alert() | {"annotations": {"long": ""}})
    body = webhook(alert() | {"annotations": {"long": "x" * (4 * 1024 * 1024 - len(body))}})
    assert len(body) == 4 * 1024 * 1024
    assert serving.post("/api/v1/alerts", "intake", content=body).json()["accepted"] == 1


def test_body_that_never_ends_is_not_waited_for_by_others(serving: Server) -> None:
    address = httpx.URL(serving.address)
    with socket.create_connection((address.host, address.port or 0)) as line:
        token = serving.tokens["intake"]
        head = (
            f"POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\n"
        )
        line.sendall(head.encode() + b"{")
        assert serving.post("/api/v1/alerts", "intake", content=webhook(alert())).json()["accepted"] == 1
    assert one(serving.settings, "SELECT count(*) FROM intake_bodies") == 0


def test_database_that_does_not_answer_is_503_in_time_and_the_next_try_is_taken(serving: Server) -> None:
    with store.connect(serving.settings) as connection:
        connection.execute("LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        answer = serving.post("/api/v1/alerts", "intake", content=webhook(alert()))
        print(f"answered after {time.monotonic() - began:.2f} s")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        connection.rollback()
    assert serving.post("/api/v1/alerts", "intake", content=webhook(alert())).json()["accepted"] == 1
    assert one(serving.settings, "SELECT count(*) FROM alerts") == 1


def test_connections_that_the_database_drops_do_no_harm(serving: Server, settings: Settings) -> None:
    with store.connect(settings, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    assert serving.post("/api/v1/alerts", "intake", content=webhook(alert())).status_code == 200


def test_the_connections_of_intake_end_with_the_application(settings: Settings) -> None:
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with store.transaction(settings) as connection:
        tokens = {"intake": people.add(connection, "intake", "machine")}
    with serve(settings, tokens) as server:
        assert server.post("/api/v1/alerts", "intake", content=webhook(alert())).status_code == 200
        assert int(one(settings, others)) >= 1
    deadline = time.monotonic() + 10
    while one(settings, others) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (one(settings, others), server.app.title) == (0, "runbook")  # though the application is still there


def test_tokens_are_digests_at_rest(serving: Server) -> None:
    with store.transaction(serving.settings) as connection:
        rows = connection.execute("SELECT * FROM people").fetchall()
    assert not any(token in json.dumps(rows, default=str) for token in serving.tokens.values())


def test_a_token_taken_away_is_worth_nothing(serving: Server) -> None:
    with store.transaction(serving.settings) as connection:
        people.remove(connection, "intake")
    assert serving.post("/api/v1/alerts", "intake", content=webhook(alert())).status_code == 401
