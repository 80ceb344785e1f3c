"""`runbook approve`, `reject`, `apply`, `undo`, `hold`: what people decide about plans."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any

import typer
from rich.markup import escape

from opslib import people, store
from opslib.actions import applier, approval, holds, plans
from opslib.actions.documents import ENDED, Plan
from opslib.commands.output import err, out, print_json, print_table, printable
from opslib.errors import UsageError
from opslib.settings import Settings

Incident = Annotated[str, typer.Argument(help="The incident, INC-YYYY-NNNNNN", metavar="INC")]
Hash = Annotated[str, typer.Option("--plan", help="The plan's hash, or at least 12 characters of it", metavar="HASH")]
As = Annotated[str | None, typer.Option("--as", help="Who you are; RUNBOOK_TOKEN must agree", metavar="PERSON")]
Reason = Annotated[str, typer.Option("--reason", help="Why; goes on the record")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document")]

_AFTER_S = 60.0  # what an apply may take beyond the time its effect has


def approve(
    incident: Incident,
    plan: Hash,
    as_: As = None,
    reason: Reason = "",
    apply: Annotated[bool, typer.Option("--apply", help="Apply it at once, and wait for the firing check")] = False,
    break_glass: Annotated[
        bool,
        typer.Option("--break-glass", help="Alone, one level below, or though you started it; needs --reason"),
    ] = False,
    json: Json = False,
) -> None:
    """Approve a plan; with --apply, have it applied and wait."""
    settings = Settings()
    person = people.current(settings, as_)
    approved = approval.approve(settings, plan, person, reason, incident=incident, break_glass=break_glass)
    if break_glass:
        err.print("Where a rule was passed over, the record says so: by whom, which, and why.")
    if apply and approved.state == "approved":
        approval.apply(settings, approved.hash, person, reason, incident=incident)
        _finish(settings, approved.hash, json)
        return
    if json:
        print_json(approved.as_json())
    elif approved.state == "approved":
        out.print(f"Plan {approved.hash[:12]} is approved. Nothing has been changed yet; next:")
        out.print(f"  runbook apply {incident} --plan {approved.hash[:16]}")
    else:
        out.print(f"Plan {approved.hash[:12]} needs two persons; one has approved.")
    if apply and approved.state != "approved":
        raise typer.Exit(1)


def reject(incident: Incident, plan: Hash, as_: As = None, reason: Reason = "", json: Json = False) -> None:
    """Reject a plan; it can never be applied then."""
    settings = Settings()
    rejected = approval.reject(settings, plan, people.current(settings, as_), reason, incident=incident)
    if json:
        print_json(rejected.as_json())
    else:
        out.print(f"Plan {rejected.hash[:12]} is rejected; nothing has been changed.")


def apply(incident: Incident, plan: Hash, as_: As = None, reason: Reason = "", json: Json = False) -> None:
    """Have an approved plan applied, and wait for the firing check."""
    settings = Settings()
    asked = approval.apply(settings, plan, people.current(settings, as_), reason, incident=incident)
    _finish(settings, asked.hash, json)


def undo(incident: Incident, plan: Hash, as_: As = None, reason: Reason = "", json: Json = False) -> None:
    """Propose the plan that takes an applied one back; it needs an approval of its own."""
    settings = Settings()
    proposed = approval.undo(settings, plan, people.current(settings, as_), reason, incident=incident)
    if json:
        print_json(proposed.as_json())
        return
    for action in proposed.document.actions:
        out.print(f"Proposed: {escape(printable(action.summary))} (authority {action.authority})")
        out.print(f"  effect: {escape(printable(action.expected_effect))}")
        out.print(f"  risk: {escape(printable(action.residual_risk))}")
    out.print("Nothing has been changed yet; somebody with the authority approves it:")
    out.print(f"  runbook approve {incident} --plan {proposed.hash[:16]} --apply")


def hold(
    platform: Annotated[str | None, typer.Option(help="One platform; every platform where left out")] = None,
    reason: Reason = "",
    release: Annotated[bool, typer.Option("--release", help="Let them go on")] = False,
    as_: As = None,
    json: Json = False,
) -> None:
    """Stop all automatic approvals and all applies but the stopping of new risk; or let them go on."""
    settings = Settings()
    person = people.current(settings, as_)
    if release:
        released = holds.release(settings, person, platform=platform)
        if not json:
            out.print(f"{len(released)} hold{'s' if len(released) > 1 else ''} released; applies go on.")
    else:
        if not reason.strip():
            raise UsageError("a hold needs a reason; give --reason TEXT")
        holds.place(settings, person, reason=reason, platform=platform)
        if not json:
            out.print(f"{platform or 'Every platform'} is on hold; `runbook hold --release` lets applies go on.")
    with store.connect(settings) as connection:
        rows = holds.all_(connection)
    if json:
        print_json({"holds": rows})
    elif rows:
        facts = [
            (row["platform"] or "all", row["person"], f"{row['placed_at']:%H:%M:%S}", row["reason"]) for row in rows
        ]
        print_table(["platform", "by", "since", "reason"], facts)


def _finish(settings: Settings, hash_: str, json: bool) -> None:
    """Wait until a requested plan has been applied, show what came of it; exit 1 unless it is verified."""
    with store.connect(settings) as connection:
        plan = plans.load(connection, hash_)
    limit = max(action.effect_within_s for action in plan.document.actions) + _AFTER_S
    showing = err.status("waiting for the applier") if err.is_terminal and not json else nullcontext(None)
    with showing as status:
        after = applier.wait(
            settings, hash_, timeout_s=limit, progress=lambda now: status.update(_progress(now)) if status else None
        )
    if json:
        print_json({**after.as_json(), "result": after.result})
    else:
        _show(after)
    if after.state != "verified":
        raise typer.Exit(1)


def _progress(plan: Plan) -> str:
    """One line on how far an apply is."""
    steps = (plan.result or {}).get("steps", [])
    if plan.state in ENDED:
        return "writing the record"
    if plan.state != "applying":
        return "waiting for the applier"
    if steps and steps[-1]["state"] == "done":
        return "done; waiting for the effect and the firing check"
    return "making the change"


def _show(plan: Plan) -> None:
    """What came of an apply, for a tired person."""
    result: dict[str, Any] = plan.result or {}
    for action in plan.document.actions:
        out.print(escape(printable(action.summary)))
    before, after = result.get("check_before"), result.get("check")
    if before and after:
        items = sorted(before["by"], key=lambda name: -before["by"][name])
        rows = [(name, f"{before['by'][name]:.2f}", f"{after['by'].get(name, float('nan')):.2f}") for name in items]
        print_table(["", f"before [{before['unit']}]", "after"], rows)
        out.print(
            f"{escape(printable(after['measure']))}: {before['value']:.2f} before, {after['value']:.2f} after, "
            f"limit {after['limit']:g}"
        )
    style = "green" if plan.state == "verified" else "red"
    out.print(f"[bold {style}]{plan.state}[/]: {escape(printable(plan.reason or ''))}")
    if plan.state == "verified" and all(action.undo.kind == "inverse" for action in plan.document.actions):
        out.print(f"To take it back: runbook undo {plan.incident} --plan {plan.hash[:16]}")
