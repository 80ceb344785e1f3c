"""The on-call of a game day: sees incidents come, approves a plan as who may, sees it work, closes what is over."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx

from opslib import web
from opslib.actions.documents import ENDED
from opslib.record.client import environment
from opslib.runs import undecided
from sandbox.errors import SandboxError
from sandbox.gameday.score import Observed
from sandbox.service import RUNBOOK, Service

__all__ = ["Desk", "TooLate"]

_LOOKED_AT_AGAIN = dt.timedelta(seconds=2 * undecided.AFTER_S)
"""How long after a run that could not tell the next one has ended, if there is one."""
RUN_ENDED = ("succeeded", "failed", "timed-out", "cancelled", "kernel-died", "lost")
APPLY_MORE_S = 90.0
"""What applying may take beyond the time that an action has for its effect [s]."""
CLEAR_S = 150.0
QUIET_S = 150.0
BY_HAND_S = 300.0
_POLL_S = 0.2


class TooLate(SandboxError):
    """Something of a game day did not happen in time; the message says what."""


class Desk:
    """Works through the service's HTTP interface with the tokens of the sandbox's people.

    Parameters
    ----------
    service : Service
    prometheus : callable
        The addresses of the Prometheus of every platform that is up.
    """

    def __init__(self, service: Service, prometheus: Callable[[], Iterable[str]]) -> None:
        self.service = service
        self._prometheus = prometheus

    def by_alert(self, platforms: Iterable[str], since: dt.datetime | None = None) -> list[dict[str, Any]]:
        """The incidents that alerts opened on these platforms, oldest first: the open ones, or those since."""
        wanted = set(platforms)
        found = [one for one in self.service.get("/api/v1/incidents")["incidents"] if one["platform"] in wanted]
        kept = [
            one
            for one in found
            if one["opened_by"] in ("alert", "the intake")
            and (one["state"] != "resolved" if since is None else when(one["opened_at"]) >= since)
        ]
        return sorted(kept, key=lambda one: str(one["opened_at"]))

    def show(self, incident: str) -> dict[str, Any]:
        """Everything about an incident."""
        found: dict[str, Any] = self.service.get(f"/api/v1/incidents/{incident}")
        return found

    def ended_run(self, incident: str, within_s: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """The incident and its first run, once that has ended; where that came too early to tell, the one that tells.

        Raises
        ------
        TooLate
        """

        def seen() -> tuple[dict[str, Any], dict[str, Any]] | None:
            whole = self.show(incident)
            runs = [run for run in whole["runs"] if run["mode"] == "plan" and run["state"] in RUN_ENDED]
            told = next((run for run in runs if not _undecided(run)), None)
            if told is None and runs and dt.datetime.now(dt.UTC) - when(runs[-1]["ended_at"]) > _LOOKED_AT_AGAIN:
                told = runs[-1]
            return (whole, told) if told else None

        found: tuple[dict[str, Any], dict[str, Any]] = self.wait(f"the run of {incident} did not end", seen, within_s)
        return found

    def decide(self, plan: Mapping[str, Any]) -> dt.datetime:
        """Approve a plan as whose authority it needs, with a second person where the policy wants two; apply it.

        Returns
        -------
        datetime
            When applying was asked for.
        """
        level = max(str(action["authority"]) for action in plan["document"]["actions"])
        people = [
            f"demo-{level.lower()}",
            *(name for name in ("demo-l4", "demo-l3") if name != f"demo-{level.lower()}"),
        ]
        reason = {"reason": "game day"}
        if plan["state"] == "proposed":
            for person in people[:2]:
                after = self.service.post(f"/api/v1/plans/{plan['hash']}/approve", reason, person)
                if after["state"] != "proposed":
                    break
        asked = dt.datetime.now(dt.UTC)
        self.service.post(f"/api/v1/plans/{plan['hash']}/apply", reason, people[0])
        return asked

    def applied(self, incident: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """The plan, once applying it has ended.

        Raises
        ------
        TooLate
        """
        limit = max(float(action["effect_within_s"]) for action in plan["document"]["actions"]) + APPLY_MORE_S

        def seen() -> dict[str, Any] | None:
            plans = [one for one in self.show(incident)["plans"] if one["hash"] == plan["hash"]]
            return plans[0] if plans and plans[0]["state"] in ENDED else None

        found: dict[str, Any] = self.wait(f"applying plan {plan['hash'][:12]} did not end", seen, limit)
        return found

    def cleared(self, incidents: Iterable[str], within_s: float = CLEAR_S) -> None:
        """Wait until Prometheus and Alertmanager say that the alerts of these incidents are over.

        Raises
        ------
        TooLate
        """
        names = list(incidents)

        def seen() -> bool:
            return not any(firing(self.show(name)) for name in names)

        self.wait("the alert still fires", seen, within_s)

    def firing(self) -> list[str]:
        """The alerts that fire or are about to, of every Prometheus; the ever-firing watchdog is none.

        Raises
        ------
        SandboxError
            When one does not answer.
        """
        found: list[str] = []
        for address in self._prometheus():
            try:
                answer = web.get(f"{address}/api/v1/alerts", timeout=5).raise_for_status().json()
            except (httpx.HTTPError, ValueError) as error:
                raise SandboxError(f"Prometheus at {address} does not answer: {error}") from error
            found += [alert["labels"]["alertname"] for alert in answer["data"]["alerts"]]
        return sorted(set(found) - {"Watchdog"})

    def settle(self, platforms: Iterable[str], within_s: float = QUIET_S) -> None:
        """Wait until no alert fires on healed platforms and every one was told as over; close all that is open.

        Raises
        ------
        TooLate
        """
        names = list(platforms)

        def quiet() -> bool:
            ended = all(
                run["state"] in RUN_ENDED for one in self.by_alert(names) for run in self.show(one["id"])["runs"]
            )
            return ended and not self.firing() and not any(firing(one) for one in self.by_alert(names))

        self.wait("alerts still fire on a healed platform", quiet, within_s)
        for one in self.by_alert(names):
            self.close(one["id"])

    def forget(self, platforms: Iterable[str]) -> None:
        """Close what an earlier day left open: its Alertmanager may have ended before it told that an alert is over."""
        for one in self.by_alert(platforms):
            self.close(one["id"])

    def close(self, incident: str) -> None:
        """Resolve an incident, if it is not resolved yet."""
        if self.show(incident)["state"] != "resolved":
            self.service.post(f"/api/v1/incidents/{incident}/resolve", {"text": "The round of the game day is over."})

    def by_hand(self, runbook: str, platform: str, alert: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What `runbook run --json` prints, of a run without an alert or with this one.

        Raises
        ------
        TooLate
            When it takes too long, or prints no JSON.
        """
        words = ["run", runbook, "--platform", platform, "--json", *(["--alert", "-"] if alert else [])]
        try:
            done = subprocess.run(
                [*RUNBOOK, *words],
                env=environment(self.service.settings),
                input=json.dumps(alert) if alert else "",
                capture_output=True,
                text=True,
                timeout=BY_HAND_S,
                check=False,
            )
            told: dict[str, Any] = json.loads(done.stdout)
        except subprocess.TimeoutExpired as error:
            raise TooLate(f"`runbook {' '.join(words)}` took more than {BY_HAND_S:.0f} s") from error
        except ValueError as error:
            raise TooLate(f"`runbook {' '.join(words)}` failed: {done.stderr.strip()[-500:]}") from error
        return told

    def wait(self, what: str, seen: Callable[[], Any], within_s: float) -> Any:
        """Ask again until there is an answer.

        Raises
        ------
        TooLate
            With what was waited for.
        """
        deadline = time.monotonic() + within_s
        while True:
            self.service.must_run()
            if answer := seen():
                return answer
            if time.monotonic() > deadline:
                raise TooLate(f"{what} within {within_s:.0f} s")
            time.sleep(_POLL_S)

    def observed(self, incident: str, run: Mapping[str, Any], broken_at: dt.datetime) -> Observed:
        """The incident with its run and plan as they are now, and the times that the record tells."""
        whole = self.show(incident)
        told = [
            entry for entry in whole["timeline"] if entry["kind"] == "verdict" and entry["body"]["run"] == run["id"]
        ]
        arrived = min((when(alert["received_at"]) for alert in whole["alerts"]), default=when(whole["opened_at"]))
        plans = [plan for plan in whole["plans"] if plan["run"] == run["id"] and plan["undo_of"] is None]
        return Observed(
            alert_s=(arrived - broken_at).total_seconds(),
            verdict_s=(when(told[-1]["at"]) - arrived).total_seconds() if told else None,
            incident=whole,
            run=dict(run),
            plans=plans[-1:],
        )

    def newest_plan(self, incident: str) -> dict[str, Any] | None:
        """The last plan of an incident."""
        plans = self.show(incident)["plans"]
        return plans[-1] if plans else None


def _undecided(run: Mapping[str, Any]) -> bool:
    """Whether a run could not tell: it is looked at again by itself."""
    verdict = run["verdict"]
    return bool(verdict and verdict["cause"] is None and (verdict["causes"] or not verdict["confidence"]))


def firing(incident: Mapping[str, Any]) -> bool:
    """Whether an alert of the incident has not ended."""
    return any(alert["state"] == "firing" for alert in incident["alerts"])


def when(text: str) -> dt.datetime:
    """The time in a document of the service."""
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
