"""A game day: round by round, each kept as soon as it is over."""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from opslib.errors import RunbookError
from opslib.runs import catalogue
from opslib.settings import Settings
from sandbox import faults, platforms
from sandbox.errors import StartFailed
from sandbox.gameday import score
from sandbox.gameday.desk import CLEAR_S, Desk, TooLate, firing, when
from sandbox.gameday.results import Results
from sandbox.gameday.rounds import Round
from sandbox.gameday.score import Observed
from sandbox.progress import Progress

__all__ = ["GameDay", "came_after"]

ALERT_S = 180.0
"""How long after the fault shows an alert is waited for [s]: the longest window of a sandbox's rule, and then some."""
RUN_S = 360.0
WATCH_S = 20.0
"""How long a healthy round waits for an alert that should not come [s]."""
MOST_STEPS = 3
AGAIN_S = 60.0
"""How long an alert may fire on after a plan was verified, before the playbook is run again [s]."""
_POLL_S = 0.2


class GameDay:
    """Plays rounds.

    Parameters
    ----------
    settings : Settings
    desk : Desk
    results : Results
        Takes the score of each round.
    decoys : int
        True but unrelated events beside each fault and in each healthy round.
    say : callable
        Is told what goes on.
    """

    def __init__(self, settings: Settings, desk: Desk, results: Results, decoys: int, say: Progress) -> None:
        self.settings = settings
        self.desk = desk
        self.results = results
        self.decoys = decoys
        self.say = say
        self._playbooks = frozenset(catalogue.runbooks(settings))

    def play(self, one: Round, playbooks: Sequence[tuple[str, str]]) -> None:
        """Play one round and keep its score.

        Parameters
        ----------
        one : Round
        playbooks : sequence of (str, str)
            Platform and runbook of all that the game day is about, for a healthy round.
        """
        begun = time.monotonic()
        if one.fault is None:
            told = self._calm(one, playbooks)
        elif one.runbook not in self._playbooks:
            told = score.broken(one, self.decoys, Observed(missing=True, problem=f"there is no playbook {one.runbook}"))
        else:
            told = score.broken(one, self.decoys, self._broken(one))
        self.results.keep(one, {**told, "took_s": round(time.monotonic() - begun, 1)})

    def heal(self, names: Sequence[str]) -> None:
        """Heal platforms, wait until their alerts are over, close what is open."""
        for name in names:
            self.say(f"healing {name}")
            platforms.find(name).heal(self.settings, progress=self.say)
        self.say("waiting until no alert fires")
        self.desk.settle(names)

    def _calm(self, one: Round, playbooks: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Nothing is broken: no alert may come, and no playbook may find anything."""
        begun = dt.datetime.now(dt.UTC)
        alerts: list[str] = []
        runs: list[dict[str, Any]] = []
        problem = None
        try:
            self.heal(one.platforms)
            begun = dt.datetime.now(dt.UTC)
            self._watch(one, playbooks, begun, runs)
            alerts = [alert_name(found) for found in self.desk.by_alert(one.platforms, begun)]
        except StartFailed:
            raise
        except RunbookError as error:
            problem = str(error)
        watched = (dt.datetime.now(dt.UTC) - begun).total_seconds()
        return score.calm(one, self.decoys, watched, alerts, runs, problem)

    def _watch(
        self, one: Round, playbooks: Sequence[tuple[str, str]], begun: dt.datetime, runs: list[dict[str, Any]]
    ) -> None:
        """Let decoys happen, run each playbook by hand, and wait."""
        for name in one.platforms:
            for happen in platforms.find(name).decoys(random.Random(f"healthy {one.seed}"), self.decoys):
                happen(self.settings)
        for platform, runbook in playbooks:
            if runbook in self._playbooks:
                self.say(f"running {runbook} on the healthy {platform}")
                runs.append(self.desk.by_hand(runbook, platform))
                self.desk.close(runs[-1]["incident"])
        self.say(f"watching for alerts that should not come, {WATCH_S:.0f} s")
        while (dt.datetime.now(dt.UTC) - begun).total_seconds() < WATCH_S:
            time.sleep(_POLL_S)

    def _broken(self, one: Round) -> Observed:
        """Break, wait for the alert, let the playbook run, apply its plan, see it work; heal in any case."""
        seen = Observed()
        try:
            self.heal(one.platforms)
            if calm_s := score.calm_s(one.fault or ""):
                self.say(f"leaving it in peace for {calm_s:.0f} s, that its rule compares with")
                time.sleep(calm_s)
                self.desk.settle(one.platforms)  # what a busy machine brought meanwhile is over, and another's
            broken_at = dt.datetime.now(dt.UTC)
            self.say("breaking")
            faults.break_(self.settings, one.fault or "", seed=one.seed, decoys=self.decoys, progress=self.say)
            seen = self._examined(one, broken_at)
            if seen.plans:
                self._mended(one, seen, broken_at)
        except StartFailed:
            raise
        except RunbookError as error:
            seen.problem = str(error)
        finally:
            # The next round heals again and says so where it does not succeed.
            with suppress(RunbookError):
                platforms.find(one.platforms[0]).heal(self.settings, progress=self.say)
        return seen

    def _examined(self, one: Round, broken_at: dt.datetime) -> Observed:
        """The incident of the playbook that this round is about, once its run has ended."""
        self.say(f"waiting for the alert of {one.runbook}")

        def opened() -> dict[str, Any] | None:
            found = self.desk.by_alert(one.platforms, broken_at)
            return next((incident for incident in found if incident["runbook"] == one.runbook), None)

        incident: dict[str, Any] = self.desk.wait(f"no alert started {one.runbook}", opened, ALERT_S)
        self.say(f"{one.runbook} runs in {incident['id']}")
        _, run = self.desk.ended_run(incident["id"], RUN_S)
        seen = self.desk.observed(incident["id"], run, broken_at)
        if run["state"] != "succeeded":
            seen.problem = f"the run of {incident['id']} ended as {run['state']}: {run['error']}"
        return seen

    def _mended(self, one: Round, seen: Observed, broken_at: dt.datetime) -> None:
        """Apply the plan, and wait until the alert is over; note what else came meanwhile.

        Where it fires on after a plan that was verified, the playbook is run again, as it may propose the next step
        only then. Of an alert that goes on whatever is done, the verified plan is the end.
        """
        if seen.incident is None:
            return
        incident = by = seen.incident["id"]
        asked = dt.datetime.now(dt.UTC)
        held: list[str] = []
        try:
            held = self.desk.firing()
            for step in range(MOST_STEPS):
                plan = seen.plans[-1]
                self.say(f"applying plan {plan['hash'][:12]}")
                self.desk.decide(plan)
                seen.plans[-1] = self.desk.applied(by, plan)
                if seen.plans[-1]["state"] != "verified":
                    break
                if score.goes_on(one.fault or ""):
                    seen.recovery_s = (dt.datetime.now(dt.UTC) - asked).total_seconds()
                    break
                self.say("waiting until the alert is over")
                last = step + 1 == MOST_STEPS
                if self._over(one, broken_at, CLEAR_S if last else AGAIN_S, must=last):
                    seen.recovery_s = (dt.datetime.now(dt.UTC) - asked).total_seconds()
                    break
                self.say(f"running {one.runbook} again")
                by = self.desk.by_hand(one.runbook, one.platforms[0], _alert(seen.incident))["incident"]
                again = self.desk.newest_plan(by)
                if again is None:
                    self._over(one, broken_at, CLEAR_S, must=True)
                    seen.recovery_s = (dt.datetime.now(dt.UTC) - asked).total_seconds()
                    break
                seen.plans.append(again)
        except StartFailed:
            raise
        except RunbookError as error:
            seen.problem = f"the plan: {error}"
        finally:
            if by != incident:
                with suppress(RunbookError):
                    self.desk.close(by)
        others = [found for found in self.desk.by_alert(one.platforms, broken_at) if found["id"] != incident]
        seen.new_after = came_after(others, one.runbook, asked, held)
        seen.others = [f"{found['runbook']}: {found['target']}" for found in others]

    def _over(self, one: Round, broken_at: dt.datetime, within_s: float, *, must: bool) -> bool:
        """Whether the alerts that this round is about end in time.

        Raises
        ------
        TooLate
            When they must and do not.
        """
        same = [
            found["id"] for found in self.desk.by_alert(one.platforms, broken_at) if found["runbook"] == one.runbook
        ]
        try:
            self.desk.cleared(same, within_s)
        except TooLate:
            if must:
                raise
            return False
        return True


def came_after(
    others: Sequence[dict[str, Any]], runbook: str | None, asked: dt.datetime, held: Sequence[str]
) -> list[str]:
    """The alerts of other playbooks that a plan may have brought: they began after it was asked for, and fire on.

    Not what the rules knew before: an alert whose condition held already (`held`) only waited for its `for`.
    """
    late = [one for one in others if one["runbook"] != runbook and when(one["opened_at"]) > asked and firing(one)]
    return [name for name in map(alert_name, late) if name not in held]


def _alert(incident: dict[str, Any]) -> dict[str, Any] | None:
    """The first alert of an incident, as a run by hand takes it."""
    if not incident["alerts"]:
        return None
    first = incident["alerts"][0]
    return {"labels": first["labels"], "annotations": first["annotations"], "startsAt": first["starts_at"]}


def alert_name(incident: dict[str, Any]) -> str:
    """The alert that opened an incident."""
    alerts = incident["alerts"]
    return str(alerts[0]["labels"].get("alertname", incident["runbook"])) if alerts else str(incident["runbook"])
