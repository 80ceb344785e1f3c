"""Plans: proposed by a run, kept with their states, moved only under row locks and never without a journal entry."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from opslib import store
from opslib.actions import carried, guards, holds, policy, standing
from opslib.actions.action import Action, Context, Identity, Observation
from opslib.actions.catalogue import make
from opslib.actions.documents import TRANSITIONS, Document, Plan, PlannedAction, State, Undo, parse
from opslib.canonical import digest, storable
from opslib.errors import ConfigurationError, Forbidden, NotFound, ParameterError, PlanError, UnknownRunbook, UsageError
from opslib.platforms import Platform
from opslib.platforms import load as load_platform
from opslib.record import journal, redaction
from opslib.record.redaction import Redactor
from opslib.runs import catalogue
from opslib.settings import Settings
from opslib.sql import queries

PREFIX = 12  # the fewest characters of a hash that name a plan


def context(
    platform: Platform, identity: Identity, alerts: Iterable[Mapping[str, str]] = (), incident: str = ""
) -> Context:
    """A platform as the recorder, who may only read, or the applier sees it, for an incident; `alerts` by labels."""
    return Context(
        platform=platform.name,
        environment=platform.environment,
        identity=identity,
        endpoint=lambda name: platform.endpoint(name, identity),
        limits=platform.limits,
        alerts=tuple(alerts),
        incident=incident,
        charts=platform.charts,
    )


def alerts(settings: Settings, connection: store.Connection, incident: str) -> list[dict[str, str]]:
    """The labels of the alerts that an incident is about; where it has none, those of its runbook, by name."""
    rows = connection.execute(queries("actions").labels, {"incident": incident}).fetchall()
    if rows:
        return [row["labels"] for row in rows]
    found = connection.execute(queries("actions").incident, {"incident": incident}).fetchone() or {}
    try:
        triggers = catalogue.find(settings, str(found.get("runbook"))).triggers
    except (UnknownRunbook, ConfigurationError):
        return []
    return [{"alertname": name} for name in triggers]


def propose(
    settings: Settings,
    connection: store.Connection,
    *,
    run_id: int,
    actions: Iterable[Mapping[str, Any] | tuple[str, Mapping[str, Any]]],
    reason: str,
    platform: Platform | str,
) -> Plan:
    """Preview actions with the reading identity and keep them as a plan; nothing is changed on the platform.

    Parameters
    ----------
    settings : Settings
    connection : Connection
        The plan is written in its transaction, and approved there when a standing approval fits.
    run_id : int
        The run that proposes.
    actions : iterable
        `{"action": name, "arguments": {...}}`, or pairs of name and arguments; at least one.
    reason : str
        Why, in words.
    platform : Platform or str

    Raises
    ------
    ParameterError
        When there is no such action, or its arguments do not validate.
    PlanError
        When the run may not propose, or an action makes no sense as the platform is now.
    ProbeError
        When the platform cannot be examined.
    """
    platform = load_platform(settings, platform) if isinstance(platform, str) else platform
    run = connection.execute(queries("actions").run, {"run": run_id}).fetchone()
    if run is None:
        raise NotFound(f"there is no run {run_id}")
    if run["platform"] != platform.name:
        raise PlanError(f"run {run_id} is about {run['platform']}, not {platform.name}; it may not propose there")
    if run["mode"] not in ("plan", "interactive"):
        raise PlanError("this run only observes; start it with `--mode plan` to get a plan", mode=run["mode"])
    wanted = [make(*_named(entry)) for entry in actions]
    _must_go_on(connection, run_id)
    document = draw_up(
        settings, platform, wanted, incident=run["incident"], run=run_id, initiator=run["requested_by"], reason=reason
    )
    connection.execute(queries("journal").lock_incident, {"incident": run["incident"]})
    _must_go_on(connection, run_id)
    return keep(settings, connection, document, actor="recorder")


def _must_go_on(connection: store.Connection, run_id: int) -> None:
    """Raise unless the run goes on: one that has ended proposes nothing any more."""
    run = connection.execute(queries("actions").run, {"run": run_id}).fetchone() or {}
    if run.get("state") != "running":
        raise PlanError(f"run {run_id} is {run.get('state')}; it proposes nothing any more", state=run.get("state"))


def draw_up(
    settings: Settings,
    platform: Platform,
    actions: list[Action],
    *,
    incident: str,
    run: int,
    initiator: str,
    reason: str,
    undo_of: str | None = None,
) -> Document:
    """The document of a plan: each action observed and previewed, its authority taken from the policy.

    Raises
    ------
    PlanError
        When there is no action, or one makes no sense as the platform is now.
    Forbidden
        When a guard of the policy holds one back now.
    ProbeError
        When the platform cannot be examined.
    """
    if not actions:
        raise PlanError("a plan needs at least one action")
    rules, redact = policy.load(settings), redaction.default(settings)
    for action in actions:
        carried.refuse_secrets(redact, action.name, action.arguments.model_dump(mode="json"))
    with context(platform, "recorder", incident=incident) as reading:
        seen = [action.observe(reading) for action in actions]
        drawn = [_planned(reading, action, one, rules, redact) for action, one in zip(actions, seen, strict=True)]
    now = dt.datetime.now(dt.UTC)
    planned = _guarded(rules, platform, drawn, seen, now)
    return Document(
        incident=incident,
        run=run,
        platform=platform.name,
        environment=platform.environment,
        initiator=initiator,
        reason=str(storable(redact.text(reason)))[:2000],
        proposed_at=now,
        expires_at=now + dt.timedelta(minutes=rules.plan_expires_after_minutes),
        undo_of=undo_of,
        actions=planned,
    )


def keep(settings: Settings, connection: store.Connection, document: Document, *, actor: str) -> Plan:
    """Store a plan as proposed, journal it, and let the standing approvals decide."""
    facts = {
        "hash": document.hash,
        "incident": document.incident,
        "run": document.run,
        "platform": document.platform,
        "document": document.text,
        "undo_of": document.undo_of,
        "proposed_at": document.proposed_at,
        "expires_at": document.expires_at,
    }
    body = {"hash": document.hash, "document": json.loads(document.text)}
    journal.append(connection, document.incident, "plan-proposed", body, actor=actor, settings=settings)
    connection.execute(queries("actions").add_plan, facts)
    _decide_in_advance(settings, connection, document)
    return load(connection, document.hash)


def _decide_in_advance(settings: Settings, connection: store.Connection, document: Document) -> None:
    """Approve and request a plan at once where a standing approval covers every action of it."""
    rules = policy.load(settings)
    if not rules.standing_approvals or document.undo_of is not None:
        return
    episodes = connection.execute(queries("actions").episodes, {"incident": document.incident}).fetchone() or {}
    held = bool(holds.on(connection, document.platform))
    chosen, refused = standing.covering(rules, document, firing=episodes.get("firing") or [], held=held)
    for planned in document.actions:
        spent = changes(connection, document, planned)["automatic"]
        if chosen is not None and spent >= rules.budget(planned.action).automatic:
            chosen, refused = None, [*refused, f"{planned.action} was applied {spent} times within the hour already"]
    if chosen is None:
        if refused:
            body = {"hash": document.hash, "standing_approvals": refused}
            journal.append(connection, document.incident, "plan-waits", body, actor="policy", settings=settings)
        return
    who = f"standing:{chosen.name}"
    reason = f"standing approval {chosen.name}, signed by {chosen.signed_by}, until {chosen.expires.isoformat()}"
    for decision in ("approve", "apply"):
        decided = {"hash": document.hash, "person": who, "role": "standing", "decision": decision, "reason": reason}
        connection.execute(queries("actions").decide, {**decided, "break_glass": False})
        body = {**decided, "policy": rules.digest}
        journal.append(connection, document.incident, "plan-decided", body, actor=who, settings=settings)
    move(settings, connection, document.hash, "approved", actor=who, reason=reason)
    connection.execute(queries("actions").announce, {"hash": document.hash})


def changes(connection: store.Connection, document: Document, planned: PlannedAction) -> dict[str, int]:
    """How often an action's target, or what changes with it, was changed within the hour: `altogether`, `automatic`."""
    keys = [planned.target.key, *planned.target.also]
    facts = {"platform": document.platform, "hash": document.hash, "targets": keys}
    row = connection.execute(queries("actions").changes_of_target, facts).fetchone()
    return {"altogether": row["altogether"], "automatic": row["automatic"]} if row else {}


def load(connection: store.Connection, hash_: str) -> Plan:
    """The plan of that full hash.

    Raises
    ------
    NotFound
        When there is none.
    """
    row = connection.execute(queries("actions").plan, {"hash": hash_}).fetchone()
    if row is None:
        raise NotFound(f"there is no plan {hash_[:PREFIX]}; `runbook show INC` lists the plans of an incident")
    return _plan(row)


def locked(connection: store.Connection, hash_: str) -> Plan:
    """The plan, its incident and itself locked until the transaction ends.

    Raises
    ------
    NotFound
        When there is none.
    """
    connection.execute(queries("actions").lock_incident, {"hash": hash_})
    row = connection.execute(queries("actions").lock_plan, {"hash": hash_}).fetchone()
    if row is None:
        raise NotFound(f"there is no plan {hash_[:PREFIX]}; `runbook show INC` lists the plans of an incident")
    return _plan(row)


def find(connection: store.Connection, hash_: str, incident: str | None = None) -> str:
    """The full hash of a plan that was named by it or by an unambiguous beginning.

    Raises
    ------
    UsageError
        When the beginning is shorter than 12 characters, no hexadecimal, or fits two plans.
    NotFound
        When it fits none.
    """
    if not re.fullmatch(r"[0-9a-f]{12,64}", hash_):
        raise UsageError(f"{hash_!r} does not name a plan: give its hash, or at least {PREFIX} characters of it")
    rows = connection.execute(queries("actions").plans_like, {"prefix": hash_, "incident": incident}).fetchall()
    if len(rows) > 1:
        raise UsageError(f"{hash_} fits two plans; give more of the hash")
    if not rows:
        of = f" of {incident}" if incident else ""
        raise NotFound(f"there is no plan {hash_[:PREFIX]}{of}; `runbook show INC` lists the plans of an incident")
    return str(rows[0]["hash"])


def of_incident(connection: store.Connection, incident: str) -> list[Plan]:
    """The plans of an incident, oldest first."""
    return [_plan(row) for row in connection.execute(queries("actions").of_incident, {"incident": incident})]


def of_run(connection: store.Connection, run_id: int) -> list[Plan]:
    """The plans that a run proposed, oldest first."""
    return [_plan(row) for row in connection.execute(queries("actions").of_run, {"run": run_id})]


def taking_back(connection: store.Connection, hash_: str) -> Plan | None:
    """The plan that may still take another one back, or does so now; None where there is none."""
    row = connection.execute(queries("actions").taking_back, {"hash": hash_}).fetchone()
    return _plan(row) if row else None


def move(
    settings: Settings, connection: store.Connection, hash_: str, state: State, *, actor: str, reason: str | None = None
) -> Plan:
    """Bring a plan into its next state, with a journal entry in the same transaction.

    Raises
    ------
    PlanError
        When it cannot go there from the state it is in.
    """
    plan = locked(connection, hash_)
    before = [known for known, after in TRANSITIONS.items() if state in after]
    facts = {"hash": hash_, "state": state, "reason": reason, "from": before}
    if connection.execute(queries("actions").move, facts).fetchone() is None:
        raise PlanError(f"plan {hash_[:PREFIX]} is {plan.state}; it cannot become {state}", state=plan.state)
    body = {"hash": hash_, "state": state, "before": plan.state, "reason": reason}
    journal.append(connection, plan.incident, "plan-state", body, actor=actor, settings=settings)
    return load(connection, hash_)


def expire_overdue(settings: Settings, connection: store.Connection) -> list[str]:
    """Let every plan whose time has passed expire; returns their hashes."""
    expired = []
    for row in connection.execute(queries("actions").overdue).fetchall():
        plan = locked(connection, row["hash"])
        if plan.state in ("proposed", "approved"):
            move(settings, connection, plan.hash, "expired", actor="policy", reason="its time has passed")
            expired.append(plan.hash)
    return expired


def void_open(settings: Settings, connection: store.Connection, incident: str, *, actor: str, reason: str) -> list[str]:
    """Make every plan of an incident that could still be applied void; returns their hashes."""
    rows = connection.execute(queries("actions").open_of_incident, {"incident": incident}).fetchall()
    for row in rows:
        move(settings, connection, row["hash"], "void", actor=actor, reason=reason)
    return [row["hash"] for row in rows]


def _named(entry: Mapping[str, Any] | tuple[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, Mapping):
        return str(entry.get("action", "")), entry.get("arguments") or {}
    name, arguments = entry
    return name, arguments


def _guarded(
    rules: policy.Policy, platform: Platform, drawn: list[PlannedAction], seen: list[Observation], now: dt.datetime
) -> tuple[PlannedAction, ...]:
    """The actions, with the working orders that they go over, once no guard of the policy holds one back."""
    facts = guards.look(rules, platform, drawn)
    planned = tuple(guards.named(rules, action, platform.name, facts) for action in drawn)
    reasons = [
        f"{action.action}: {reason}"
        for action, one in zip(planned, seen, strict=True)
        for reason in rules.forbidden(action, platform.name, one.facts | facts, now)
    ]
    if reasons:
        raise Forbidden(f"the policy forbids it now: {'; '.join(reasons)}")
    return planned


def _planned(
    reading: Context, action: Action, seen: Observation, rules: policy.Policy, redact: Redactor
) -> PlannedAction:
    """One action that was observed, described."""
    told = action.describe(reading, seen)
    reduces = action.risk_reducing or action.stops_new_risk
    undo = carried.by_hand(redact, _possible(told.undo, needs_more=not reduces), needs_more=not reduces)
    if action.undo_if_ineffective and undo.kind == "inverse" and not reduces:
        reason = f"{undo.reason}; by itself where the effect does not show within {action.effect_within_s:g} s"
        undo = undo.model_copy(update={"automatic": True, "reason": reason})
    planned = PlannedAction(
        action=action.name,
        arguments=action.arguments.model_dump(mode="json"),
        target=seen.target,
        summary=told.summary,
        preview=told.preview,
        expected_effect=told.expected_effect,
        effect_within_s=action.effect_within_s,
        authority=rules.authority(type(action), undo),
        approvers=rules.approvers(action.name),
        risk_reducing=action.risk_reducing,
        stops_new_risk=action.stops_new_risk,
        blast_radius=told.blast_radius,
        residual_risk=told.residual_risk,
        undo=undo,
    )
    return carried.shown(redact, planned)


def _possible(undo: Undo, *, needs_more: bool) -> Undo:
    """How a change is taken back: by hand where what was before is nothing that an action could be asked for.

    That needs one level more, but for what reduces risk or stops new risk (`needs_more`).
    """
    if undo.kind != "inverse":
        return undo
    try:
        make(undo.action or "", undo.arguments or {})
    except ParameterError as error:
        reason = f"what was before can be put back by hand alone ({error})"[:500]
        return Undo(kind="none" if needs_more else "restore", reason=reason)
    return undo


def _plan(row: Mapping[str, Any]) -> Plan:
    if digest(row["document"].encode()) != row["hash"]:
        raise PlanError(f"plan {row['hash'][:PREFIX]} is not the document that its hash is over: it was altered")
    return Plan(
        hash=row["hash"],
        state=row["state"],
        document=parse(row["document"]),
        expires_at=row["expires_at"],
        undo_of=row["undo_of"],
        reason=row["reason"],
        result=row["result"],
    )
