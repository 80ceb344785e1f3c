"""A whole installation: a home, `runbook serve` on a port of its own, and the crypto platform; ended afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from opslib import store, web
from opslib.settings import Settings

RUNBOOK = str(Path(sys.executable).with_name("runbook"))


class Installation:
    """One home and what runs on it, used through the command line and HTTP alone."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = Settings(home=home)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")}
        self.environment["RUNBOOK_HOME"] = str(home)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.service: subprocess.Popen[bytes] | None = None

    def runbook(self, *words: str, expect: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """One command; its exit code has to be the one expected."""
        done = subprocess.run(
            [RUNBOOK, *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, (
                f"runbook {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def json(self, *words: str) -> Any:
        """One command with `--json`; its document."""
        return json.loads(self.runbook(*words, "--json").stdout)

    def serve(self) -> None:
        """Start `runbook serve` and wait until it takes alerts."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home.parent / "serve.log").open("ab") as log:
            self.service = subprocess.Popen(
                [RUNBOOK, "serve", "--port", str(self.port), "--workers", "1"],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait("the service", self.ready)

    def ready(self) -> bool:
        try:
            return web.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def stop_service(self) -> None:
        if self.service is not None and self.service.poll() is None:
            self.service.send_signal(signal.SIGTERM)
            self.service.wait(timeout=60)

    def wait(self, what: str, seen: Callable[[], Any], timeout_s: float = 90.0) -> Any:
        """Ask again until there is an answer."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = seen()
            if answer:
                return answer
            time.sleep(0.2)
        log = self.home.parent / "serve.log"
        tail = log.read_text("utf-8", "replace")[-4000:] if log.exists() else ""
        pytest.fail(f"{what}: nothing after {timeout_s:.0f} s\n{tail}")

    @property
    def intake_token(self) -> str:
        return (self.settings.state / "intake-token").read_text("utf-8").strip()

    def token(self, name: str) -> str:
        return (self.settings.state / "tokens" / name).read_text("utf-8").strip()

    def deliver(self, *alerts: dict[str, Any], token: str | None = None) -> httpx.Response:
        """Post alerts as Alertmanager does."""
        body = {"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "runbooks"}
        body |= {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": ""}
        headers = {"authorization": f"Bearer {token or self.intake_token}"}
        return web.post(f"{self.url}/api/v1/alerts", json=body | {"alerts": alerts}, headers=headers, timeout=20)

    def incidents(self) -> list[dict[str, Any]]:
        return list(self.json("incidents")["incidents"])

    def show(self, incident: str) -> dict[str, Any]:
        return dict(self.json("show", incident))

    def ended_run(self, incident: str, number: int = 1) -> dict[str, Any]:
        """Wait for the end of a run and of its sealing."""

        def seen() -> dict[str, Any] | None:
            runs = [run for run in self.show(incident)["runs"] if run["number"] == number and run["ended_at"]]
            return runs[0] if runs else None

        return dict(self.wait(f"the end of run {number} of {incident}", seen))

    def verified(self, *words: str) -> bool:
        return self.runbook("verify", *words, expect=None).returncode == 0

    def pids(self, *words: str) -> list[int]:
        """Processes of this installation whose command line has all the words."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                environment = (entry / "environ").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            mine = f"RUNBOOK_HOME={self.home}\0" in environment + "\0" or str(self.home) in command
            if mine and all(word in command for word in words):
                found.append(int(entry.name))
        return found

    def end(self) -> None:
        self.stop_service()
        self.runbook("sandbox", "down", expect=None)
        store.stop(self.settings)
        shutil.rmtree(self.settings.runtime, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def firing(symbol: str = "SOL-USD", **labels: str) -> dict[str, Any]:
    """An alert as Alertmanager sends it."""
    named = {"alertname": "VarBreach", "platform": "crypto", "severity": "critical", "symbol": symbol, **labels}
    return {
        "status": "firing",
        "labels": named,
        "annotations": {"summary": f"VaR of {symbol} is above 1.8 %"},
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
    }


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A home with nothing running on it."""
    installation = Installation(tmp_path / "home")
    yield installation
    installation.end()


@pytest.fixture
def serving(installation: Installation) -> Installation:
    """A home that is served, with a healthy crypto platform."""
    installation.serve()
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    return installation
