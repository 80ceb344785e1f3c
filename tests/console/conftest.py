"""A console on a real server, and a scene for it: an incident whose runbook has run and proposes a plan."""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import nbformat
import pytest
import uvicorn
from bs4 import BeautifulSoup
from fastapi import FastAPI
from psycopg.types.json import Jsonb

from opslib import console, incidents, people, store, web
from opslib.actions import plans
from opslib.actions.documents import Document, PlannedAction, Target, Undo
from opslib.canonical import digest
from opslib.record import archive, journal
from opslib.runs import queue
from opslib.settings import Settings

VERDICT = {
    "confirmed": True,
    "cause": "single-symbol",
    "confidence": 0.93,
    "summary": "BTC-USD alone carries the breach: its VaR is 2.31 % of NAV, the other four are below 1.2 %.",
    "causes": [
        {
            "key": "all-symbols",
            "likelihood": 0.04,
            "because": "one of five is above 1.8 %",
            "evidence": ["E001"],
        },
        {"key": "single-symbol", "likelihood": 0.93, "because": "BTC-USD is 2.1 times its share", "evidence": ["E001"]},
        {"key": "model-switch", "likelihood": 0.08, "because": "no switch for BTC-USD in 15 min", "evidence": []},
        {"key": "stale-volatility", "likelihood": 0.02, "because": "estimates are 4 s old", "evidence": []},
    ],
    "unseen": ["Prometheus (connection refused)"],
    "plan": None,
}


@dataclass
class Console:
    """A console that runs, and how to visit it."""

    url: str
    settings: Settings
    tokens: dict[str, str]
    visitors: list[httpx.Client] = field(default_factory=list)

    @staticmethod
    def parsed(answer: httpx.Response) -> BeautifulSoup:
        """The page, parsed."""
        return BeautifulSoup(answer.text, "html.parser")

    @classmethod
    def visible(cls, answer: httpx.Response) -> str:
        """What a person reads on the page."""
        return re.sub(r"\s+", " ", cls.parsed(answer).get_text(" ")).strip()

    @classmethod
    def form_key(cls, answer: httpx.Response) -> str:
        """The key that forms of this page carry."""
        key = cls.parsed(answer).find("input", {"name": "form_key"})
        assert key is not None
        return str(key["value"])

    @classmethod
    def sign_in(cls, visitor: httpx.Client, token: str) -> httpx.Response:
        """Fill in the form of the sign-in page."""
        page = visitor.get("/sign-in")
        return visitor.post("/sign-in", data={"token": token, "form_key": cls.form_key(page)})

    def visitor(self) -> httpx.Client:
        """A browser without scripts, not signed in."""
        visitor = web.client(base_url=self.url, follow_redirects=True, timeout=30)
        self.visitors.append(visitor)
        return visitor

    def signed_in(self, name: str) -> httpx.Client:
        """A browser in which that person has signed in."""
        visitor = self.visitor()
        answer = self.sign_in(visitor, self.tokens[name])
        assert answer.status_code == 200, answer.text
        return visitor


@dataclass(frozen=True)
class Scene:
    """An incident with a run, evidence and a proposed plan."""

    incident: str
    plan: str
    run: int


class Scenes:
    """Writes scenes into the store and the record, with the functions that real runs use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def make(
        self,
        *,
        title: str = "VaR breach on BTC-USD",
        target: str = "BTC-USD",
        labels: dict[str, str] | None = None,
        verdict: dict[str, Any] | None = None,
    ) -> Scene:
        """Write the scene into the store and the record with the functions that real runs use."""
        labels = labels or {"alertname": "VarBreach", "platform": "crypto", "severity": "critical", "symbol": "BTC-USD"}
        now = dt.datetime.now(dt.UTC)
        with store.transaction(self.settings) as connection:
            row = incidents.open_incident(
                connection,
                platform="crypto",
                runbook="var-breach",
                target=target,
                severity="critical",
                title=title,
                opened_by="alert",
            )
            incident = str(row["id"])
            alert = {"labels": labels, "annotations": {"summary": "VaR of BTC-USD is 2.31 %"}}
            run = queue.create_run(
                connection,
                incident,
                runbook="var-breach",
                platform="crypto",
                mode="plan",
                requested={},
                alert=alert,
                requested_by="alert",
            )
            connection.execute(
                "INSERT INTO alerts (key, fingerprint, labels, annotations, payload, platform, starts_at, state,"
                " incident, run) VALUES (%s, 'a1b2c3d4e5f60718', %s, %s, %s, 'crypto', %s, 'firing', %s, %s)",
                [incident, Jsonb(labels), Jsonb(alert["annotations"]), Jsonb(alert), now, incident, run],
            )
            folder = archive.folder(self.settings, row)
            self._evidence(connection, incident, folder)
            journal.append(
                connection, incident, "run-started", {"run": run, "number": 1, "runbook": "var-breach"}, actor="worker"
            )
            verdict = VERDICT if verdict is None else verdict
            journal.append(connection, incident, "verdict", {"run": run, "verdict": verdict}, actor="recorder")
            connection.execute(
                "UPDATE runs SET state = 'succeeded', started_at = %s, ended_at = %s, verdict = %s WHERE id = %s",
                [now - dt.timedelta(seconds=4), now, Jsonb(verdict), run],
            )
            plan = plans.keep(self.settings, connection, self.document(incident, run), actor="recorder")
            journal.append(
                connection, incident, "run-ended", {"run": run, "number": 1, "state": "succeeded"}, actor="worker"
            )
        self.write_notebook(incident, ["# VaR breach (A11)", "**BTC-USD** carries it."])
        return Scene(incident, plan.hash, run)

    def document(self, incident: str, run: int, authority: str = "L1") -> Document:
        """A plan as the runbook proposes it."""
        now = dt.datetime.now(dt.UTC)
        rows = [
            {"symbol": "BTC-USD", "var_pct": 2.31, "var_pct_after": 0.92},
            {"symbol": "ETH-USD", "var_pct": 1.12, "var_pct_after": 0.45},
        ]
        action = PlannedAction.model_validate(
            {
                "action": "crypto.emergency-reduce",
                "arguments": {"kelly_fraction": 0.1, "reason": "VaR breach"},
                "target": Target(kind="crypto-book", name="crypto", uid="sandbox-1", fields={"kelly_fraction": 0.25}),
                "summary": "Reduce the Kelly fraction of crypto from 0.25 to 0.1",
                "preview": {
                    "measure": "largest VaR of a symbol",
                    "unit": "% of NAV",
                    "before": 2.31,
                    "after": 0.92,
                    "limit": 1.8,
                    "rows": rows,
                },
                "expected_effect": "largest VaR of a symbol falls from 2.31 % to about 0.92 % of NAV (alert at 1.8 %)",
                "effect_within_s": 60.0,
                "authority": authority,
                "risk_reducing": True,
                "stops_new_risk": False,
                "blast_radius": {"positions": 5, "notional_usd": 1_204_500.0},
                "residual_risk": "about 1,204,500 USD of positions are sold at the market; the cause is not removed",
                "undo": Undo(kind="inverse", reason="sets the Kelly fraction back, as a plan of its own"),
            }
        )
        return Document(
            incident=incident,
            run=run,
            platform="crypto",
            environment="sandbox",
            initiator="alert",
            reason="VaR above its warning level",
            proposed_at=now,
            expires_at=now + dt.timedelta(minutes=15),
            actions=(action,),
        )

    def write_notebook(self, incident: str, cells: list[str], name: str = "01-var-breach.ipynb") -> None:
        """Save a notebook of markdown cells into the record, as a run does."""
        with store.connect(self.settings, role="reader") as connection:
            row = connection.execute("SELECT * FROM incidents WHERE id = %s", [incident]).fetchone()
        assert row is not None
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in cells])
        archive.write_atomic(archive.folder(self.settings, row) / name, nbformat.writes(book).encode())

    def _evidence(self, connection: store.Connection, incident: str, folder: Any) -> None:
        place = folder / "evidence"
        place.mkdir(exist_ok=True)
        data = json.dumps({"result": {"kelly_fraction": 0.25, "trading": True}}).encode()
        (place / "E001-http-json.json").write_bytes(data)
        body = {
            "id": "E001",
            "file": "evidence/E001-http-json.json",
            "sha256": digest(data),
            "probe": "http.json",
            "arguments": {"path": "/api/status"},
            "ordinal": 0,
            "took_ms": 3.1,
            "ok": True,
        }
        journal.append(connection, incident, "evidence", body, actor="recorder")


@pytest.fixture
def scenes(settings: Settings) -> Scenes:
    """The scenes of a test."""
    return Scenes(settings)


@pytest.fixture
def scene(scenes: Scenes) -> Scene:
    """An incident as an alert opens it, its run ended with a verdict and a plan."""
    return scenes.make()


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], Console]]:
    """Starts consoles on free ports; they end with the test."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(_serving(settings))


@pytest.fixture
def desk(settings: Settings, serve: Callable[[Settings], Console]) -> Console:
    """A console, and people of several roles."""
    console = serve(settings)
    with store.transaction(settings) as connection:
        for name, role in (("vera", "viewer"), ("lena", "L1"), ("luis", "L2"), ("robot", "machine")):
            console.tokens[name] = people.add(connection, name, role)
        console.tokens["away"] = people.add(connection, "away", "L1", "equities")
    return console


@contextmanager
def _serving(settings: Settings) -> Iterator[Console]:
    app = FastAPI()
    app.include_router(console.router(settings))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    running = Console(f"http://127.0.0.1:{listener.getsockname()[1]}", settings, {})
    try:
        yield running
    finally:
        for visitor in running.visitors:
            visitor.close()
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive()
