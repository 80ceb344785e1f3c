"""`runbook incidents`, `show`, `ack`, `note`, `resolve`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from opslib import figures, people, platforms, store
from opslib import incidents as desk
from opslib.commands.output import out, print_json, print_table, printable, say
from opslib.errors import NotAllowed, NotFound
from opslib.incidents import escalation, wording
from opslib.settings import Settings
from opslib.sql import queries

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document")]
As = Annotated[str | None, typer.Option("--as", help="Who you are; must match RUNBOOK_TOKEN")]
Incident = Annotated[str, typer.Argument(help="INC-YYYY-NNNNNN")]
Level = Literal["L1", "L2", "L3", "L4"]
State = Literal["open", "acknowledged", "mitigated", "resolved"]


def incidents(
    state: Annotated[State | None, typer.Option(help="Only those in this state")] = None,
    json: AsJson = False,
) -> None:
    """List the incidents, newest first."""
    with store.transaction(Settings(), role="reader") as connection:
        rows = desk.list_(connection, state)
    if json:
        facts = (
            "id",
            "state",
            "severity",
            "platform",
            "runbook",
            "opened_at",
            "alerts",
            "target",
            "title",
            "opened_by",
        )
        print_json({"incidents": [{name: row[name] for name in facts} for row in rows]})
        return
    lines = [
        (row["id"], row["state"], row["severity"] or "", row["platform"], row["title"], wording.clock(row["opened_at"]))
        for row in rows
    ]
    heads = ["incident", "state", "severity", "platform", "what", "opened UTC"]
    print_table(heads, lines, empty="No incident." if state is None else f"No incident is {state}.")


def show(
    incident: Incident,
    whole: Annotated[bool, typer.Option("--all", help="Every entry, also cells, evidence and outputs")] = False,
    json: AsJson = False,
) -> None:
    """Show one incident: verdict, plans and timeline."""
    settings = Settings()
    with store.transaction(settings, role="reader") as connection:
        found = desk.show(connection, incident)
    if json:
        print_json(found)
        return
    head = [found["state"], found["severity"] or "", found["platform"], found["title"]]
    out.print(printable("  ".join([found["id"], *filter(None, head)])), style="bold", markup=False)
    out.print(f"Record: {settings.home / found['folder']}", markup=False)
    for run in found["runs"]:
        out.print(printable(f"\nRun {run['number']}: {run['runbook']}, {wording.run_word(run['state'])}"), markup=False)
        say((run["verdict"] or {}).get("summary") or run["error"] or "", indent=2)
    for plan in found["plans"]:
        _plan(found["id"], plan)
    out.print()
    lines = [
        (wording.clock(entry["at"]), wording.doer(entry["actor"]), wording.sentence(entry["kind"], entry["body"]))
        for entry in found["timeline"]
        if whole or not wording.minor(entry["kind"])
    ]
    print_table(["UTC", "who", "what"], lines)


def _plan(incident: str, plan: dict[str, Any]) -> None:
    """A plan: what it would do, how it stands, and what came of it or what to do next."""
    out.print(f"\nPlan {plan['hash'][:12]}: {wording.plan_word(plan['state'])}", markup=False)
    for action in plan["document"]["actions"]:
        say(action["summary"], indent=2)
    came = figures.outcome(plan["result"] or {}) or (plan["document"]["actions"][0]["preview"])
    if figures.effect(came):
        say(figures.effect(came), indent=2)
    if plan["reason"] and not figures.outcome(plan["result"] or {}):
        say(plan["reason"], indent=2)
    if plan["state"] == "proposed":
        out.print(f"  runbook approve {incident} --plan {plan['hash'][:12]} --apply", markup=False)
    elif plan["state"] == "approved":
        out.print(f"  runbook apply {incident} --plan {plan['hash'][:12]}", markup=False)


def ack(incident: Incident, text: Annotated[str, typer.Option(help="A remark")] = "", as_: As = None) -> None:
    """Acknowledge: someone is on it."""
    _step(incident, as_, lambda connection, person: desk.acknowledge(connection, incident, person, text))
    out.print(f"{incident} is acknowledged.", markup=False)


def note(incident: Incident, text: Annotated[str, typer.Argument(help="What happened")], as_: As = None) -> None:
    """Put a remark on the record."""
    _step(incident, as_, lambda connection, person: desk.note(connection, incident, person, text))
    out.print("The note is on the record.")


def escalate(
    incident: Incident,
    to: Annotated[Level | None, typer.Option(help="The level; the next one where it is left out")] = None,
    text: Annotated[str, typer.Option(help="Why")] = "",
    as_: As = None,
    json: AsJson = False,
) -> None:
    """Ask for the next level of authority: the record says so, and you are told whom to call."""
    asked: list[tuple[str, platforms.Contact]] = []

    def step(connection: store.Connection, person: str) -> None:
        row = connection.execute(queries("incidents").one, {"incident": incident}).fetchone() or {}
        contacts = platforms.load(Settings(), row["platform"]).contacts
        asked.append(escalation.escalate(connection, incident, person, contacts, level=to, text=text))

    _step(incident, as_, step)
    level, contact = asked[0]
    if json:
        print_json({"incident": incident, "level": level, **contact.model_dump()})
        return
    out.print(printable(f"{incident} is escalated to {level}. Nobody has been called yet; call now:"), markup=False)
    out.print(printable(f"  {contact.who}, {contact.how}, answers within {contact.within}"), style="bold", markup=False)


def resolve(incident: Incident, text: Annotated[str, typer.Option(help="How it ended")] = "", as_: As = None) -> None:
    """Resolve: it is over; plans that nobody has begun to apply become void."""
    _step(incident, as_, lambda connection, person: desk.resolve(connection, incident, person, text))
    out.print(f"{incident} is resolved.", markup=False)


def _step(incident: str, as_: str | None, step: Callable[[store.Connection, str], None]) -> None:
    """One step by a person of L1 or above on the incident's platform."""
    settings = Settings()
    person = people.current(settings, as_)
    with store.transaction(settings) as connection:
        row = connection.execute(queries("incidents").one, {"incident": incident}).fetchone()
        if row is None:
            raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
        if not person.may(1, row["platform"], platforms.load(settings, row["platform"]).environment):
            raise NotAllowed(f"{person.name} ({person.role}) may not do that on {row['platform']}; ask L1 or above")
        step(connection, person.name)
