"""A home whose platform is a small real server, so that a runbook has something to look at."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from opslib import store
from opslib.settings import Settings

FACTS = {
    "id": "A99",
    "title": "Look at the status",
    "kind": "alert",
    "platforms": ["crypto"],
    "trigger": "StatusOdd",
    "severity": "warning",
    "respond_within": "5 min",
    "authority": "L1",
    "target": [],
    "cell_timeout_s": 30,
    "run_timeout_s": 60,
    "reads": ["http.json"],
}
PARAMETERS = 'platform: str = "crypto"\nalert: dict = {}\nlevel: float = 1.5  # %, 0..10 | the level'
LOOK = "import opslib\nops = opslib.connect()\nprint('kelly', ops.http.json('/api/status')['kelly_fraction'], level)"
END = (
    "ops.conclude({'confirmed': False, 'cause': None, 'confidence': 0.9, 'causes': [], 'unseen': [],"
    " 'plan': None, 'summary': 'Nothing is wrong.'})"
)


class _Status(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"kelly_fraction": 0.25, "trading": True}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def lab_settings(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home with one runbook, `status`, and the platform `crypto` behind a real HTTP server."""
    notebooks = tmp_path / "notebooks"
    (notebooks / "alerts").mkdir(parents=True)
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Look at the status (A99)", id="title"),
            nbformat.v4.new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(LOOK, id="look"),
            nbformat.v4.new_code_cell(END, id="end"),
        ],
        metadata={"runbook": FACTS, "kernelspec": {"name": "runbook", "display_name": "Runbook", "language": "python"}},
    )
    nbformat.write(book, notebooks / "alerts" / "status.ipynb")
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(notebooks))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Status)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = Settings()
    (settings.state / "sandbox").mkdir(parents=True, exist_ok=True)
    endpoints = {"api": f"http://127.0.0.1:{server.server_port}", "redis": None, "redis_admin": None}
    (settings.state / "sandbox" / "crypto.json").write_text(json.dumps({"endpoints": endpoints}))
    yield settings
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def rows(lab_settings: Settings) -> Any:
    """Asks the store."""

    def ask(statement: str) -> list[dict[str, Any]]:
        with store.connect(lab_settings, role="reader") as connection:
            return connection.execute(statement).fetchall()

    return ask
