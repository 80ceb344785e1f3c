"""Who may approve, reject, apply and undo a plan, and what happens when they do.

Every refusal is journalled and changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import structlog

from opslib import people, store
from opslib.actions import holds, plans, policy, standing, undoing
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Document, Plan
from opslib.actions.policy import LEVELS
from opslib.canonical import storable
from opslib.errors import NotAllowed, PlanError, RunbookError, UsageError
from opslib.people import LEVEL, Person
from opslib.record import journal, redaction
from opslib.settings import Settings
from opslib.sql import queries

Decision = Literal["approve", "reject", "apply", "undo"]
UNDOABLE = ("verified", "partial", "failed")
_log = structlog.get_logger()


def approve(
    settings: Settings,
    hash_: str,
    person: Person,
    reason: str = "",
    *,
    incident: str | None = None,
    break_glass: bool = False,
) -> Plan:
    """Approve a plan; where policy wants two persons it stays proposed until the second one.

    Breaking the glass lets one person approve who is a level below what is needed, who started it, or who would need a
    second one. It needs a reason and has a journal entry of its own; guards, drift and holds hold as ever. Where
    nothing has to be passed over, it is an approval like any other.

    Parameters
    ----------
    settings : Settings
    hash_ : str
        The plan's hash, or an unambiguous beginning of at least 12 characters.
    person : Person
    reason : str
    incident : str, optional
        The incident that the plan must be of.
    break_glass : bool
        Whether the person passes over the usual rules, for the reason given.

    Raises
    ------
    NotAllowed
        When the person's authority is not enough; says whose is.
    UsageError
        When the glass is to be broken without a reason.
    PlanError
        When the plan is not proposed, or its time has passed.
    """
    with _Step(settings, hash_, person, "approve", incident) as step:
        step.must_be("proposed")
        step.authority(initiator_may=False, glass=reason if break_glass else None)
        step.decide(reason)
        approved = approvers(step.connection, step.plan.hash)
        if step.skipped:
            step.move("approved", f"approved by {person.name}, who broke the glass: {reason}")
        elif len(approved) >= approvers_needed(policy.load(settings), step.plan.document):
            step.move("approved", f"approved by {', '.join(approved)}")
    return step.after()


def reject(settings: Settings, hash_: str, person: Person, reason: str = "", *, incident: str | None = None) -> Plan:
    """Reject a plan that is proposed or approved; it takes the authority that approving it takes.

    Raises
    ------
    NotAllowed, PlanError
        As `approve`.
    """
    with _Step(settings, hash_, person, "reject", incident) as step:
        step.must_be("proposed", "approved")
        step.authority(initiator_may=True)
        step.decide(reason)
        step.move("rejected", reason or f"rejected by {person.name}")
    return step.after()


def apply(settings: Settings, hash_: str, person: Person, reason: str = "", *, incident: str | None = None) -> Plan:
    """Ask the applier to apply an approved plan; returns at once.

    Raises
    ------
    NotAllowed, PlanError
        As `approve`; also while the platform is on hold.
    """
    with _Step(settings, hash_, person, "apply", incident) as step:
        step.must_be("approved")
        step.authority(initiator_may=True)
        stopped = held(step.connection, step.plan.document)
        if stopped:
            step.refuse(PlanError(stopped))
        step.decide(reason)
        step.connection.execute(queries("actions").announce, {"hash": step.plan.hash})
    return step.after()


def undo(settings: Settings, hash_: str, person: Person, reason: str = "", *, incident: str | None = None) -> Plan:
    """Propose the plan that takes an applied one back; it needs an approval of its own.

    Asked again, it is the same plan, as long as that may still be applied.

    Raises
    ------
    NotAllowed
        When the person's authority is not enough to ask for it.
    PlanError
        When the plan was not applied, an action of it cannot be undone, or the platform is no longer as it left it.
    ProbeError
        When the platform cannot be examined.
    """
    with store.connect(settings) as connection:
        plan = plans.load(connection, plans.find(connection, hash_, incident))
        there = plans.taking_back(connection, plan.hash)
    why = storable(redaction.default(settings)(reason)) or f"undo of plan {plan.hash[:12]}"
    drawn = plan.state in UNDOABLE and there is None
    document = undoing.inverse(settings, plan, initiator=person.name, reason=why) if drawn else None
    with _Step(settings, plan.hash, person, "undo", incident) as step:
        step.must_be(*UNDOABLE)
        step.authority(initiator_may=True)
        step.decide(reason)
        there = plans.taking_back(step.connection, step.plan.hash)
        if there is not None:
            proposed = there
        elif document is None:
            step.refuse(PlanError(f"plan {plan.hash[:12]} has just been applied; ask again"))
        else:
            proposed = plans.keep(settings, step.connection, document, actor=person.name)
    return proposed


def approvers(connection: store.Connection, hash_: str) -> list[str]:
    """Who has approved a plan, in order."""
    rows = connection.execute(queries("actions").decisions, {"hash": hash_})
    return [row["person"] for row in rows if row["decision"] == "approve"]


def decisions(connection: store.Connection, hash_: str) -> list[dict[str, Any]]:
    """What was decided about a plan, in order: person, role, decision, reason, decided_at, break_glass."""
    return connection.execute(queries("actions").decisions, {"hash": hash_}).fetchall()


def sufficient(settings: Settings, connection: store.Connection, document: Document) -> bool:
    """Whether the approvals that a plan has are enough now: policy in force, people who still have the authority."""
    rules = policy.load(settings)
    rows = [row for row in decisions(connection, document.hash) if row["decision"] == "approve"]
    if any(row["role"] == "standing" for row in rows):
        episodes = connection.execute(queries("actions").episodes, {"incident": document.incident}).fetchone() or {}
        return standing.covering(rules, document, firing=episodes.get("firing") or [], held=False)[0] is not None
    if any(row["role"] == undoing.ROLE for row in rows):
        return undoing.covered(connection, document)
    level = level_needed(document, rules)
    facts = {"names": [row["person"] for row in rows]}
    now = {
        row["name"]: Person(row["name"], row["role"], row["platform"])
        for row in connection.execute(queries("actions").people_now, facts)
    }

    def reaches(row: dict[str, Any], level: int) -> bool:
        had, has = LEVEL.get(row["role"], 0) >= level, now.get(row["person"])
        return had and has is not None and has.may(level, document.platform, document.environment)

    if any(row["break_glass"] and _says(row["reason"]) and reaches(row, _one_below(level)) for row in rows):
        return True
    able = {row["person"] for row in rows if reaches(row, level)}
    if level > 1:
        able.discard(document.initiator)
    return len(able) >= approvers_needed(rules, document)


def held(connection: store.Connection, document: Document) -> str | None:
    """Why a hold stops this plan, or None: stopping new risk goes on."""
    if all(action.stops_new_risk for action in document.actions):
        return None
    for row in holds.on(connection, document.platform):
        where = row["platform"] or "every platform"
        return f"{where} is on hold by {row['person']}: {row['reason']}; `runbook hold --release` lets it go on"
    return None


def level_needed(document: Document, rules: policy.Policy | None = None) -> int:
    """The level of authority that a plan needs: the highest of its actions, then and under the policy `rules`."""
    levels = [action.authority for action in document.actions]
    if rules is not None:
        levels += [rules.authority(ACTIONS[action.action], action.undo) for action in document.actions]
    return max(LEVEL[level] for level in levels)


def approvers_needed(rules: policy.Policy, document: Document) -> int:
    """How many have to approve; above L1 two, where the one who started it may be any of them."""
    wanted = [max(action.approvers, rules.approvers(action.action)) for action in document.actions]
    if level_needed(document, rules) > 1 and people.anybody(document.initiator):
        wanted.append(2)
    return max(wanted)


def _says(reason: str) -> bool:
    """Whether a reason says anything."""
    return any(letter.isalnum() for letter in reason)


def _one_below(level: int) -> int:
    """The level that is enough for who breaks the glass."""
    return max(1, level - 1)


def may_decide(
    document: Document,
    person: Person,
    decision: Decision = "approve",
    rules: policy.Policy | None = None,
    *,
    break_glass: bool = False,
) -> str | None:
    """Why a person may not decide about a plan, or None where they may; `break_glass` is for who breaks it, or has."""
    level = level_needed(document, rules)
    if break_glass:
        level = _one_below(level)
    if person.level == 0:
        return f"{person.name} is a {person.role} and decides nothing"
    if not person.may(level, document.platform, document.environment):
        scope = f" on {person.platform}" if person.platform else ""
        return f"{person.name} is {person.role}{scope}; it needs L{level} on {document.platform}"
    if decision == "approve" and level > 1 and person.name == document.initiator and not break_glass:
        return f"{person.name} started it; above L1 somebody else approves"
    return None


def who_could(connection: store.Connection, document: Document) -> list[str]:
    """People who may approve a plan, with their roles."""
    level = level_needed(document)
    facts = {
        "roles": list(LEVELS[level - 1 :]),
        "platform": document.platform,
        "environment": document.environment,
    }
    rows = connection.execute(queries("actions").who_could, facts)
    return [f"{row['name']} ({row['role']})" for row in rows if level == 1 or row["name"] != document.initiator]


def _short(facts: dict[str, str], skipped: Sequence[str]) -> dict[str, str]:
    """What the log tells of a broken glass."""
    return {name: facts[name] for name in ("person", "role", "reason")} | {"skipped": "; ".join(skipped)}


class _Step:
    """One decision in one transaction: a refusal is journalled, committed, and then raised."""

    def __init__(
        self, settings: Settings, hash_: str, person: Person, decision: Decision, incident: str | None
    ) -> None:
        self.settings, self.person, self.decision = settings, person, decision
        self.skipped: list[str] = []  # the rules that are passed over, in words
        self.connection = store.connect(settings)
        try:
            self.plan = plans.locked(self.connection, plans.find(self.connection, hash_, incident))
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> _Step:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self.connection.commit()
            else:
                self.connection.rollback()
        finally:
            self.connection.close()

    def must_be(self, *states: str) -> None:
        """Refuse unless the plan is in one of these states; an overdue one expires."""
        if self.plan.state in ("proposed", "approved") and self.plan.expires_at <= dt.datetime.now(dt.UTC):
            self.move("expired", "its time has passed")
            self.refuse(PlanError(f"plan {self.plan.hash[:12]} has expired; run the playbook again", state="expired"))
        if self.plan.state not in states:
            message = f"plan {self.plan.hash[:12]} is {self.plan.state}; only a plan that is {' or '.join(states)}"
            self.refuse(PlanError(f"{message} can be the object of {self.decision!r}", state=self.plan.state))

    def authority(self, *, initiator_may: bool, glass: str | None = None) -> None:
        """Refuse unless the person may decide this; note which rules are passed over.

        `glass` is why the glass is broken, None where it is not; who broke it may also carry the plan on.
        """
        if glass is not None and not _says(glass):
            self.refuse(UsageError("breaking the glass needs a reason that can be read; give --reason TEXT"))
        rules = policy.load(self.settings)
        broke = any(
            row["break_glass"] and row["person"] == self.person.name
            for row in decisions(self.connection, self.plan.hash)
        )
        decision: Decision = "apply" if initiator_may else "approve"
        breaks = glass is not None or broke
        problem = may_decide(self.plan.document, self.person, decision, rules, break_glass=breaks)
        if problem is not None:
            could = ", ".join(who_could(self.connection, self.plan.document)) or "nobody who is known here"
            self.refuse(NotAllowed(f"{problem}. Who could: {could}", who_could=could))
        if glass is not None:
            self.skipped = self._skips(rules)

    def refuse(self, error: RunbookError) -> None:
        """Journal that it was refused and why, then raise."""
        body = {
            "hash": self.plan.hash,
            "decision": self.decision,
            "person": self.person.name,
            "role": self.person.role,
            "reason": str(error),
        }
        self._append("plan-refused", body)
        self.connection.commit()
        raise error

    def _skips(self, rules: policy.Policy) -> list[str]:
        """The rules that an approval by this person alone, now, passes over, in words."""
        document, person = self.plan.document, self.person
        level, wanted = level_needed(document, rules), approvers_needed(rules, document)
        approved = {*approvers(self.connection, self.plan.hash), person.name}
        return [
            text
            for text, holds in (
                (f"it needs L{level}", not person.may(level, document.platform, document.environment)),
                (f"{person.name} started it", level > 1 and person.name == document.initiator),
                (f"it needs {wanted} persons", len(approved) < wanted),
            )
            if holds
        ]

    def decide(self, reason: str) -> None:
        """Keep the decision and journal it, by a kind of its own where rules are passed over.

        A second time by the same person changes nothing.
        """
        facts = {
            "hash": self.plan.hash,
            "person": self.person.name,
            "role": self.person.role,
            "decision": self.decision,
            "reason": storable(redaction.default(self.settings)(reason)),
        }
        row = {**facts, "break_glass": bool(self.skipped)}
        if self.connection.execute(queries("actions").decide, row).fetchone() is None:
            return
        body = {**facts, "policy": policy.load(self.settings).digest}
        if self.skipped:
            self._append("plan-break-glass", {**body, "skipped": self.skipped})
            _log.warning(
                "the glass was broken",
                incident=self.plan.incident,
                plan=self.plan.hash[:12],
                **_short(facts, self.skipped),
            )
        else:
            self._append("plan-decided", body)

    def move(self, state: Any, reason: str) -> None:
        """Bring the plan into its next state."""
        said = storable(redaction.default(self.settings)(reason))
        plans.move(self.settings, self.connection, self.plan.hash, state, actor=self.person.name, reason=said)

    def after(self) -> Plan:
        """The plan after the decision."""
        with store.connect(self.settings) as connection:
            return plans.load(connection, self.plan.hash)

    def _append(self, kind: str, body: dict[str, Any]) -> None:
        journal.append(self.connection, self.plan.incident, kind, body, actor=self.person.name, settings=self.settings)
