"""The life of one apply: preconditions, do, wait for the effect, firing check, record.

What is about to be done is written down before it is done, and what was done after it. So a crash in between is told
apart from one before, and nothing is done twice: an interrupted apply is examined, never repeated.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from opslib import platforms, store
from opslib.actions import approval, carried, drift, guards, plans, policy, undoing
from opslib.actions.action import Action, Check, Context, Observation
from opslib.actions.catalogue import make
from opslib.actions.documents import Plan, State
from opslib.canonical import storable
from opslib.errors import ActionFailed, ConfigurationError, PlanError, ProbeError, RecordError
from opslib.record import journal, redaction
from opslib.settings import Settings
from opslib.sql import queries

POLL_S = 0.5
_log = structlog.get_logger()


@contextmanager
def target_locks(settings: Settings, targets: tuple[str, ...]) -> Iterator[bool]:
    """Hold the locks of what a plan changes; yields False where another apply holds one of them."""
    connection = store.connect(settings, autocommit=True)
    try:
        rows = (connection.execute(queries("actions").lock_target, {"target": name}).fetchone() for name in targets)
        yield all(row is not None and row["locked"] for row in rows)
    finally:
        with suppress(psycopg.Error):
            connection.execute(queries("actions").unlock_targets)
        connection.close()


class Apply:
    """One plan being applied. The caller holds its target locks.

    Parameters
    ----------
    settings : Settings
    plan : Plan
    worker : str
        Name of the process.
    stop : threading.Event, optional
        Set to leave while waiting for the effect; the plan stays `applying` and is taken up again.
    beat : callable, optional
        Called while waiting.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        worker: str,
        stop: threading.Event | None = None,
        beat: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.worker = worker
        self.stop = stop or threading.Event()
        self.beat = beat or (lambda: None)
        self.platform = platforms.load(settings, plan.platform)
        self.actions: list[Action] = [make(a.action, a.arguments) for a in plan.document.actions]
        self.result: dict[str, Any] = dict(plan.result or {})
        self.redact = redaction.default(settings)
        with store.connect(settings) as connection:
            self._alerts = plans.alerts(settings, connection, plan.incident)
        self.log = _log.bind(incident=plan.incident, plan=plan.hash[:12])

    # preconditions

    def begin(self) -> bool:
        """Check every precondition again; True when the plan is `applying` now, else it is void or expired."""
        try:
            with self._context() as context:
                seen = [action.observe(context) for action in self.actions]
                check = self._check(context)
        except (ProbeError, ConfigurationError, PlanError) as error:
            return self._void(f"the platform could not be examined, nothing was done: {error}")
        with store.transaction(self.settings) as connection:
            plan = plans.locked(connection, self.plan.hash)
            if plan.state != "approved":
                return False
            if plan.expires_at <= dt.datetime.now(dt.UTC):
                reason = "its time passed before it was applied"
                plans.move(self.settings, connection, plan.hash, "expired", actor=self.worker, reason=reason)
                return False
            problems = self._problems(connection, seen, check)
            if problems:
                told = "; ".join(problems)
                plans.move(self.settings, connection, plan.hash, "void", actor=self.worker, reason=told)
                self.log.info("plan is void", reason=told)
                return False
            facts = {
                "incident": plan.incident,
                "platform": plan.platform,
                "requested": Jsonb({"plan": plan.hash}),
                "requested_by": self._requested_by(connection),
                "worker": self.worker,
            }
            run = connection.execute(queries("actions").begin_run, facts).fetchone()
            if run is None:
                raise RecordError(f"the run of plan {plan.hash[:12]} was not kept")
            self.result = {
                "run": run["id"],
                "number": run["number"],
                "began_at": _now(),
                "before": [carried.observation(self.redact, one) for one in seen],
                "check_before": self.redact(check.as_json()) if check else None,
                "steps": [],
            }
            self._save(connection)
            plans.move(self.settings, connection, plan.hash, "applying", actor=self.worker)
            body = {"hash": plan.hash, "run": run["id"], "number": run["number"]}
            found = {"before": self.result["before"], "check": self.result["check_before"]}
            self._tell(connection, "apply-started", body | found)
        return True

    def _problems(self, connection: store.Connection, seen: list[Observation], check: Check | None) -> list[str]:
        """Why the plan may not be applied now."""
        document, rules = self.plan.document, policy.load(self.settings)
        problems = [
            f"{planned.target.key}: {line}"
            for planned, now in zip(document.actions, seen, strict=True)
            for line in drift.changes(planned.target, carried.target(self.redact, now.target))
        ]
        problems += self._not_wanted(connection, check)
        if not approval.sufficient(self.settings, connection, document):
            problems.append("the approvals are not enough under the policy in force")
        stopped = approval.held(connection, document)
        if stopped:
            problems.append(stopped)
        now, facts = dt.datetime.now(dt.UTC), guards.look(rules, self.platform, document.actions)
        for planned, one in zip(document.actions, seen, strict=True):
            problems += rules.forbidden(planned, document.platform, one.facts | facts, now)
            spent, budget = plans.changes(connection, document, planned)["altogether"], rules.budget(planned.action).any
            if spent >= budget and not (planned.risk_reducing or planned.stops_new_risk):
                problems.append(
                    f"{planned.target.key} was changed {spent} times within the hour; the budget is {budget}"
                )
        return problems

    def _not_wanted(self, connection: store.Connection, check: Check | None) -> list[str]:
        """Why the reason for the plan is gone: the alert resolved, or the plan to be undone is undone already."""
        if self.plan.undo_of is not None:
            state = plans.load(connection, self.plan.undo_of).state
            return [] if state in approval.UNDOABLE else [f"the plan to be undone is {state}"]
        if all(action.stops_new_risk for action in self.plan.document.actions):
            return []  # always allowed, whatever became of the alert
        row = connection.execute(queries("actions").episodes, {"incident": self.plan.incident}).fetchone()
        if row is not None and row["altogether"]:
            return [] if row["firing"] else ["the alert is resolved"]
        return [] if check is None or check.firing else [f"the firing check is no longer true: {check}"]

    # do

    def do(self) -> None:
        """Make the changes, each written down before and after; stops at the first that fails or is on hold."""
        with self._context() as context:
            for index, action in enumerate(self.actions):
                step: dict[str, Any] = {"action": action.name, "state": "intended", "at": _now()}
                self.result["steps"].append(step)
                if index and (stopped := self._held(index)):
                    step |= {"state": "failed", "error": f"not begun: {stopped}"}
                    self._save_own()
                    return
                self._save_own()
                self.beat()
                context.approved = self.plan.document.actions[index].target
                try:
                    step["answer"] = self.redact(action.apply(context, f"{self.plan.hash}-{index}"))
                    step["state"] = "done"
                except ActionFailed as error:
                    sent = getattr(error, "sent", True)
                    step["error"], step["state"] = self.redact(str(error)), "failed"
                    if sent:
                        step |= self._shows(context, index, step["error"])
                self._save_own()
                if step["state"] == "failed":
                    return

    def _held(self, index: int) -> str | None:
        """Why a hold that came meanwhile stops this step; one that stops new risk goes on."""
        step = {"actions": self.plan.document.actions[index : index + 1]}
        with store.connect(self.settings) as connection:
            return approval.held(connection, self.plan.document.model_copy(update=step))

    def _shows(self, context: Context, index: int, why: str) -> dict[str, Any]:
        """What became of a step of which no answer came: done, failed, or failed as far as nobody could see it."""
        before = Observation.of_json(self.result["before"][index])
        try:
            done = self.actions[index].done(context, before)
        except (ProbeError, PlanError) as error:
            unseen = f"{why}; whether it was done could not be seen: {self.redact(str(error))}"
            return {"state": "failed", "error": unseen, "unseen": True}
        told = f"{why}; the platform {'shows' if done else 'does not show'} the change"
        return {"state": "done" if done else "failed", "error": told}

    def recover(self) -> None:
        """Examine an interrupted apply: what was intended was done if the platform shows it; nothing is repeated."""
        self.log.warning("an interrupted apply is examined")
        steps = self.result.setdefault("steps", [])
        if steps and steps[-1]["state"] == "intended":
            with self._context() as context:
                steps[-1] |= self._shows(context, len(steps) - 1, "interrupted")
        self.result["interrupted"] = True
        self._save_own()

    # effect, firing check, record

    def verify(self) -> bool:
        """Wait until effect and a calm firing check show, for `effect_within` at most; False: it was told to stop."""
        done = [step["state"] for step in self.result["steps"]]
        within = max(action.effect_within_s for action in self.plan.document.actions) if "done" in done else 0.0
        calm_s = max(action.calm_s for action in self.actions)
        began, calm_since = time.monotonic(), None
        with self._context() as context:
            while True:
                waited = time.monotonic() - began
                try:
                    check = self._check(context)
                    self.result["check"] = self.redact(check.as_json()) if check else None
                    self.result["missing"] = self.redact(self._missing(context))
                    self.result.pop("unseen", None)
                    calm = not self._fires(check) and not self.result["missing"]
                    calm_since = None if not calm else waited if calm_since is None else calm_since
                except (ProbeError, PlanError) as error:
                    self.result["unseen"] = self.redact(str(error))
                    calm_since = None
                if waited >= within or (calm_since is not None and waited - calm_since >= calm_s):
                    break
                if self.stop.wait(POLL_S):
                    return False
                self._beat_run()
            self.result["waited_s"] = round(waited, 3)
            try:
                after = [action.observe(context) for action in self.actions]
                self.result["after"] = [carried.observation(self.redact, one) for one in after]
            except (ProbeError, PlanError) as error:
                self.result["unseen"] = self.redact(str(error))
        return True

    def outcome(self) -> tuple[State, str]:
        """What became of it, and why."""
        states = [step["state"] for step in self.result["steps"]]
        made = states.count("done")
        errors = "; ".join(step["error"] for step in self.result["steps"] if step["state"] == "failed")
        if made == 0 and not any("unseen" in step for step in self.result["steps"]):
            return "failed", errors or "interrupted before anything was done"
        if made < len(self.actions):
            return "partial", f"{made} of {len(self.actions)} actions were done; {errors or 'then it was interrupted'}"
        if "unseen" in self.result:
            return "partial", f"done, but the firing check could not be made: {self.result['unseen']}"
        if self.result.get("missing"):
            return "partial", f"done, but {'; '.join(self.result['missing'])}"
        if self.result.get("check") is None:
            return "verified", "the effect shows; there is no alert whose condition could be evaluated"
        check = Check(**self.result["check"])
        if self._fires(check):
            return "partial", f"done, but the alert's condition still holds: {check}"
        if check.firing:
            return "verified", f"taken back; the alert's condition holds as it did before: {check}"
        return "verified", f"the alert's condition no longer holds: {check}"

    def finish(self) -> Plan:
        """Write the record, then end plan and run in one transaction, journal first."""
        from opslib.actions import apply_record  # it loads libraries that take seconds

        state, reason = self.outcome()
        self.result["ended_at"] = _now()
        back, reason = undoing.drawn(self.settings, replace(self.plan, result=self.result), state, reason)
        with store.connect(self.settings) as connection:
            decided = approval.decisions(connection, self.plan.hash)
            incident = connection.execute(queries("actions").incident, {"incident": self.plan.incident}).fetchone()
        written, problem = [], None
        try:
            if incident is not None:
                written = apply_record.write(
                    self.settings, incident, self.plan, self.result, state=state, reason=reason, decisions=decided
                )
        except RecordError as error:
            problem = str(error)
            self.log.error("the record of the apply could not be written", error=problem)
        with store.transaction(self.settings) as connection:
            plan = plans.locked(connection, self.plan.hash)
            if plan.state != "applying":
                raise PlanError(f"plan {plan.hash[:12]} is {plan.state}; somebody else ended it", state=plan.state)
            for file in written:
                self._tell(connection, "file", file)
            told = {"state": state, "reason": reason, "result": self.result}
            ended = {"hash": plan.hash, "run": self.result["run"], **told}
            self._tell(connection, "apply-ended", ended if problem is None else {**ended, "record": problem})
            self._save(connection)
            moved = plans.move(self.settings, connection, plan.hash, state, actor=self.worker, reason=reason)
            facts = {
                "run": self.result["run"],
                "state": "succeeded" if state == "verified" and problem is None else "failed",
                "error": problem or (None if state == "verified" else reason),
                "record": next((self._below_home(file) for file in written if file["path"].endswith(".ipynb")), None),
            }
            connection.execute(queries("actions").end_run, facts)
            if state == "verified":
                self._settle(connection)
            if back is not None:
                undoing.by_itself(self.settings, connection, back)
        self.log.info("apply ended", state=state, reason=reason)
        return moved

    def _settle(self, connection: store.Connection) -> None:
        """What follows from a verified plan: the incident is mitigated, or another plan is undone."""
        if self.plan.undo_of is None:
            if any(action.mitigates for action in self.actions):
                connection.execute(queries("actions").mitigate, {"incident": self.plan.incident})
        else:
            reason = f"undone by plan {self.plan.hash[:12]}"
            plans.move(self.settings, connection, self.plan.undo_of, "undone", actor=self.worker, reason=reason)

    # small things

    def _below_home(self, file: dict[str, Any]) -> str:
        with store.connect(self.settings) as connection:
            row = connection.execute(queries("actions").incident, {"incident": self.plan.incident}).fetchone()
        return f"{row['folder']}/{file['path']}" if row else str(file["path"])

    def _context(self) -> Context:
        """The platform as the applier sees it."""
        return plans.context(self.platform, "applier", self._alerts, self.plan.incident)

    def _check(self, context: Context) -> Check | None:
        """The firing check; where actions differ, the one that fires."""
        checks = [check for action in self.actions if (check := action.check(context)) is not None]
        return next((check for check in checks if check.firing), checks[0] if checks else None)

    @cached_property
    def _regardless(self) -> bool:
        """Whether it does not matter that the alert goes on."""
        return undoing.takes_back_what_was_in_vain(self.settings, self.plan)

    def _fires(self, check: Check | None) -> bool:
        """Whether the alert's condition holds, where it is what the plan is to end."""
        return check is not None and check.firing and not self._regardless

    def _missing(self, context: Context) -> list[str]:
        """What is still missing of the effects of the steps that were done."""
        found = [
            action.effect(context, Observation.of_json(before))
            for action, before, step in zip(self.actions, self.result["before"], self.result["steps"], strict=False)
            if step["state"] == "done"
        ]
        return [one for one in found if one]

    def _requested_by(self, connection: store.Connection) -> str:
        rows = approval.decisions(connection, self.plan.hash)
        return next((row["person"] for row in rows if row["decision"] == "apply"), self.worker)

    def _void(self, reason: str) -> bool:
        with store.transaction(self.settings) as connection:
            if plans.locked(connection, self.plan.hash).state == "approved":
                plans.move(self.settings, connection, self.plan.hash, "void", actor=self.worker, reason=reason)
        return False

    def _save_own(self) -> None:
        """Keep the result in a transaction of its own, if the plan is still ours."""
        with store.transaction(self.settings) as connection:
            if plans.locked(connection, self.plan.hash).state != "applying":
                raise PlanError(f"plan {self.plan.hash[:12]} is no longer being applied here")
            self._save(connection)
            connection.execute(queries("actions").beat_run, {"run": self.result["run"], "worker": self.worker})

    def _beat_run(self) -> None:
        self.beat()
        with store.transaction(self.settings) as connection:
            connection.execute(queries("actions").beat_run, {"run": self.result["run"], "worker": self.worker})

    def _save(self, connection: store.Connection) -> None:
        facts = {"hash": self.plan.hash, "result": Jsonb(storable(self.result))}
        connection.execute(queries("actions").set_result, facts)

    def _tell(self, connection: store.Connection, kind: str, body: dict[str, Any]) -> None:
        journal.append(connection, self.plan.incident, kind, body, actor=self.worker, settings=self.settings)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
