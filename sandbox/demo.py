"""`make demo`: an alert becomes a diagnosis, a plan, an approval, a fix and a sealed record, on real servers.

Everything goes through the doors that a user has: the command line, the webhook, the HTTP interface.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console

from opslib import store
from opslib.settings import Settings
from sandbox.errors import SandboxError
from sandbox.service import RUNBOOK, Service

FAULT = "var-breach/single-symbol"
console = Console(highlight=False, soft_wrap=True)


class DemoFailed(RuntimeError):
    """A step of the demo did not come out as it should."""


class Demo:
    """One pass from alert to sealed record."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.began = time.monotonic()
        self.service = Service(settings, settings.state / "serve.log")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show what is being done, and how long it took."""
        began = time.monotonic()
        with console.status(f"{title}..."):
            yield
        console.print(f"[green]✓[/] {title} [dim]({time.monotonic() - began:.1f} s)[/]")

    def runbook(self, *words: str) -> str:
        """One `runbook` command; its standard output."""
        done = subprocess.run([*RUNBOOK, *words], capture_output=True, text=True, timeout=170)
        if done.returncode != 0:
            raise DemoFailed(f"runbook {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def wait(self, what: str, seen: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Ask again until there is an answer."""
        return self.service.wait(what, seen, timeout_s)

    def healthy_platform(self) -> None:
        """The sandbox, up and as it should be."""
        self.runbook("sandbox", "up", "crypto", "--no-monitoring")
        self.runbook("sandbox", "heal")

    def var(self) -> dict[str, float]:
        """VaR of each symbol now [% of NAV], from the platform's own metrics."""
        text = httpx.get(f"{self.platform_api}/metrics", timeout=5).text
        lines = [line for line in text.splitlines() if line.startswith("var_pct{")]
        return {line.split('symbol="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}

    @property
    def platform_api(self) -> str:
        """Where the platform answers."""
        state = json.loads((self.settings.state / "sandbox" / "crypto.json").read_text("utf-8"))
        return str(state["endpoints"]["api"])

    def breach(self) -> dict[str, Any]:
        """The alert that the platform's VaR gives cause for."""
        symbol, value = max(self.var().items(), key=lambda item: item[1])
        return {
            "status": "firing",
            "labels": {"alertname": "VarBreach", "platform": "crypto", "severity": "critical", "symbol": symbol},
            "annotations": {"summary": f"VaR of {symbol} is {value:.2f} % of NAV"},
            "startsAt": datetime.now(UTC).isoformat(),
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
        }

    def deliver(self, *alerts: dict[str, Any]) -> str | None:
        """Post alerts as Alertmanager does; the incident that they belong to."""
        body = {
            "version": "4",
            "groupKey": '{}:{alertname="VarBreach"}',
            "truncatedAlerts": 0,
            "status": alerts[0]["status"],
            "receiver": "runbooks",
            "groupLabels": {"alertname": "VarBreach"},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": alerts,
        }
        incidents = self.service.post("/api/v1/alerts", body, token=self.service.intake_token)["incidents"]
        return str(incidents[0]) if incidents else None

    def settle(self) -> None:
        """Close what an earlier demo left open: its alerts are over, since the platform was healed."""
        now = datetime.now(UTC).isoformat()
        for incident in self.service.get("/api/v1/incidents")["incidents"]:
            if incident["state"] == "resolved" or incident["platform"] != "crypto":
                continue
            over = [
                {"status": "resolved", "labels": alert["labels"], "annotations": {}, "generatorURL": ""}
                | {"startsAt": alert["starts_at"], "endsAt": now}
                for alert in incident["alerts"]
            ]
            if over:
                self.deliver(*over)
            self.runbook("resolve", incident["id"], "--as", "demo-l1", "--text", "The demo is over.")

    def finished(self, incident: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The incident and its run, once that has ended."""
        whole: dict[str, Any] = self.service.get(f"/api/v1/incidents/{incident}")
        runs = [run for run in whole["runs"] if run["mode"] == "plan"]
        return (whole, runs[-1]) if runs and runs[-1]["ended_at"] else None

    def play(self) -> None:
        """The whole way."""
        with self.step("A crypto platform on Redis, and the service with its database, recorder and worker"):
            with ThreadPoolExecutor() as together:
                platform = together.submit(self.healthy_platform)
                self.service.start()
                platform.result()
            self.settle()
        with self.step("Something breaks on the platform"):
            self.runbook("sandbox", "break", FAULT)
        with self.step("Alertmanager's message VarBreach arrives"):
            delivered = time.monotonic()
            alert = self.breach()
            identifier = self.wait("an incident", lambda: self.deliver(alert))
        with self.step("The notebook var-breach looks at the platform"):
            incident, run = self.wait("the run", lambda: self.finished(identifier))
        console.print(f"  [dim]{time.monotonic() - delivered:.1f} s from alert to verdict[/]")
        self.show(run)
        plan = incident["plans"][-1]
        before = max(self.var().values())
        with self.step(f"demo-l1 approves plan {plan['hash'][:12]} and it is applied"):
            self.runbook("approve", incident["id"], "--plan", plan["hash"], "--as", "demo-l1", "--apply")
        with self.step("VaR is back under its limit"):
            after = self.wait("VaR under 1.8 %", lambda: (value := max(self.var().values())) < 1.8 and value)
        with self.step("The alert is over, the incident closed, its record sealed and verified"):
            self.settle()
            self.wait("the seal", lambda: self.verified(incident["id"]))
        self.tell(incident["id"], run, before, after)

    def verified(self, incident: str) -> bool:
        """Whether the record is intact, all of it sealed."""
        return subprocess.run([*RUNBOOK, "verify", incident], capture_output=True, timeout=60).returncode == 0

    def show(self, run: dict[str, Any]) -> None:
        """The verdict with its evidence."""
        verdict = run["verdict"]
        if run["state"] != "succeeded" or verdict is None:
            raise DemoFailed(f"the run ended as {run['state']}: {run.get('error')}")
        console.print(f"\n  [bold]{verdict['summary']}[/]\n")
        for cause in verdict["causes"]:
            evidence = ", ".join(cause["evidence"])
            console.print(f"  {cause['likelihood']:4.0%}  {cause['key']:<20} {cause['because']} [dim][{evidence}][/]")
        console.print()
        if verdict["cause"] != FAULT.split("/")[1]:
            raise DemoFailed(f"the notebook named {verdict['cause']}")

    def tell(self, incident: str, run: dict[str, Any], before: float, after: float) -> None:
        """The last lines: what happened and where it all is."""
        record = self.settings.home / run["record"]
        console.print(f"\n  incident   {incident}")
        console.print(f"  cause      {run['verdict']['cause']}")
        console.print(f"  VaR        {before:.2f} % before, {after:.2f} % after")
        console.print(f"  notebook   {record}")
        console.print(f"  page       {record.with_suffix('.html')}")
        hint = "" if keep() else "   (KEEP=1 leaves it running)"
        console.print(f"  console    {self.service.url}/incidents/{incident}{hint}")
        console.print(f"  record     {record.parent}: verified, {time.monotonic() - self.began:.0f} s in all")

    def stop(self) -> None:
        """End what was started."""
        subprocess.run([*RUNBOOK, "sandbox", "down"], capture_output=True, timeout=60)
        self.service.stop()
        store.stop(self.settings, force=False)


def keep() -> bool:
    """Whether everything is left running."""
    return os.environ.get("KEEP", "") not in ("", "0")


def main() -> None:
    """Play the demo; what was started is ended unless KEEP=1."""
    settings = Settings()
    demo = Demo(settings)
    try:
        demo.play()
        if keep():
            console.print(f"\n  Sign in to the console with the token in {settings.state / 'tokens' / 'demo-l1'}")
            console.print("  Stop it with `runbook sandbox down` and by ending `runbook serve`.")
    except (DemoFailed, SandboxError, subprocess.TimeoutExpired, httpx.HTTPError) as error:
        console.print(f"✗ {error}", style="red", markup=False)
        demo.stop()
        sys.exit(1)
    except KeyboardInterrupt:
        demo.stop()
        sys.exit(130)
    if not keep():
        demo.stop()


if __name__ == "__main__":
    main()
