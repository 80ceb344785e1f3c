"""`runbook replay` and `runbook backtest`: archived notebooks again, and today's notebooks, on archived evidence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from opslib.commands.output import err, out, print_json, print_table, printable, say
from opslib.errors import NotFound, RunbookError
from opslib.record import archived
from opslib.record.archived import ArchivedRun
from opslib.runs import catalogue, replaying
from opslib.runs.cells import Stop
from opslib.runs.replaying import Replayed
from opslib.runs.run import heeding_signals
from opslib.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="One JSON document")]

_MODES = ("observe", "plan")


def replay(
    incident: Annotated[str, typer.Argument(help="INC-YYYY-NNNNNN", metavar="INC")],
    json: Json = False,
) -> None:
    """Run an archived notebook again on its evidence alone, and compare verdict and cells: exit code 0 when the same.

    No system is asked, and the record is not touched. A record that was altered is not replayed.
    """
    settings = Settings()
    report = archived.checked(settings.home, incident)
    runs = archived.read(settings.home, incident)
    left_out = [_left_out(run) for run in runs if run.facts["mode"] not in _MODES]
    wanted = [run for run in runs if run.facts["mode"] in _MODES]
    archived.require_sealed(report, wanted)
    if not wanted:
        raise NotFound(f"{incident} has no run of a runbook that has ended; `runbook show {incident}` tells its state")
    found = []
    stop = Stop()
    with heeding_signals(stop, inline=True), _progress() as tell:
        for run in wanted:
            tell(f"{incident}: replaying run {run.facts['number']}, {run.facts['runbook']}")
            found.append(replaying.replay(settings, run, stop=stop))
    same = all(one.same for one in found)
    if json:
        told = [_document(one) for one in found]
        print_json(
            {"incident": incident, "verified": report.state, "same": same, "runs": told, "not_replayed": left_out}
        )
    else:
        out.print(f"{incident}: the record is {report.state}; nothing but its evidence was looked at.", markup=False)
        for one in found:
            _show(one)
        for line in left_out:
            say(line, style="dim")
    raise typer.Exit(0 if same else 1)


def backtest(
    runbook: Annotated[str | None, typer.Option("--runbook", help="Only runs of this runbook", metavar="NAME")] = None,
    json: Json = False,
) -> None:
    """Run today's playbooks on the evidence of every archived incident, and show which verdicts change."""
    settings = Settings()
    known = runbook is None
    found: list[Replayed] = []
    skipped: list[dict[str, Any]] = []
    stop = Stop()
    with heeding_signals(stop, inline=True), _progress() as tell:
        names = archived.incidents(settings.home)
        for place, incident in enumerate(names):
            try:
                report = archived.checked(settings.home, incident)
                runs = [run for run in archived.read(settings.home, incident) if run.facts["mode"] in _MODES]
            except RunbookError as error:
                skipped.append({"incident": incident, "run": None, "why": str(error).splitlines()[0]})
                continue
            for run in runs:
                if stop.asked:
                    raise KeyboardInterrupt
                known = known or run.facts["runbook"] == runbook
                if run.verdict is None or runbook not in (None, run.facts["runbook"]):
                    continue
                tell(f"incident {place + 1} of {len(names)}, {incident}: {run.facts['runbook']}")
                try:
                    archived.require_sealed(report, [run])
                    found.append(replaying.backtest(settings, run, stop=stop))
                except RunbookError as error:
                    number = run.facts["number"]
                    skipped.append({"incident": incident, "run": number, "why": str(error).splitlines()[0]})
    if runbook is not None and not known:
        catalogue.find(settings, runbook)  # a word that names none is no answer of "nothing changes"
    changed = [one for one in found if one.changed]
    if json:
        told = [_then_and_now(one) for one in found]
        counts = {"runs": len(found), "changed": len(changed), "same": len(found) - len(changed)}
        print_json({**counts, "verdicts": told, "skipped": skipped})
        return
    _show_changes(found)
    for one in skipped:
        say(f"Left out: {one['incident']}: {one['why']}", style="yellow")


def _left_out(run: ArchivedRun) -> str:
    return f"Run {run.facts['number']} was made by hand in JupyterLab, cell by cell as its person liked; not replayed."


def _document(one: Replayed) -> dict[str, Any]:
    """A replay as `--json` prints it."""
    facts = one.archived.facts
    return {
        "run": facts["number"],
        "runbook": facts["runbook"],
        "platform": facts["platform"],
        "record": str(one.archived.notebook),
        "same": one.same,
        "state": {"archived": one.archived.state, "replayed": one.state},
        "error": one.error or None,
        "verdict": {
            "same": not one.differences,
            "archived": one.archived.verdict,
            "replayed": one.verdict,
            "differences": [asdict(difference) for difference in one.differences],
        },
        "plans": {"same": one.same_plans, "archived": one.plans[0], "replayed": one.plans[1]},
        "cells": [
            {
                "cell": index + 1,
                "name": name,
                "same": difference is None,
                "difference": None if difference is None else asdict(difference),
            }
            for index, name, difference in one.cells
        ],
        "no_evidence": one.missing,
        "not_asked": one.unused,
        "took_s": one.took_s,
    }


def _show(one: Replayed) -> None:
    """A replay for a tired person: the same or not, then what differs."""
    facts = one.archived.facts
    differing = [(name, difference) for _, name, difference in one.cells if difference is not None]
    head = "the same again" if one.same else "NOT the same"
    line = f"Run {facts['number']}  {facts['runbook']} on {facts['platform']}: {head}, in {one.took_s:.1f} s"
    out.print(printable(line), style="bold green" if one.same else "bold red", markup=False)
    say((one.archived.verdict or {}).get("summary") or one.archived.error or "", indent=2)
    say(f"{len(one.cells) - len(differing)} of {len(one.cells)} cells show what they showed.", indent=2)
    if one.state != one.archived.state:
        say(f"It ended as {one.state}, and as {one.archived.state} then. {one.error}", indent=2, style="red")
    for difference in one.differences:
        say(f"Verdict, {difference.where or 'as a whole'}: then {difference.archived}", indent=2, style="red")
        say(f"now {difference.replayed}", indent=4, style="red")
    if not one.same_plans:
        say(f"Proposed then: {_actions(one.plans[0])}; now: {_actions(one.plans[1])}", indent=2, style="red")
    for name, difference in differing:
        say(f"{name} then: {difference.archived}", indent=2, style="red")
        say(f"now: {difference.replayed}", indent=4, style="red")
    for call in one.missing:
        say(f"No evidence: {call}", indent=2, style="yellow")


def _then_and_now(one: Replayed) -> dict[str, Any]:
    """A backtest as `--json` prints it."""
    facts = one.archived.facts
    return {
        "incident": one.archived.incident,
        "run": facts["number"],
        "runbook": facts["runbook"],
        "platform": facts["platform"],
        "changed": one.changed,
        "plan_changed": not one.same_plans,
        "then": _judged(one.archived.verdict, one.archived.state),
        "now": _judged(one.verdict, one.state),
        "error": one.error or None,
        "no_evidence": one.missing,
        "took_s": one.took_s,
    }


def _judged(verdict: dict[str, Any] | None, state: str) -> dict[str, Any]:
    told = verdict or {}
    return {"state": state, **{name: told.get(name) for name in ("confirmed", "cause", "confidence", "summary")}}


def _show_changes(found: list[Replayed]) -> None:
    """Which verdicts change, those first; then one line that sums it up."""
    rows = [
        (
            one.archived.incident,
            one.archived.facts["runbook"],
            _named(one.archived.verdict),
            ("CHANGED  " if one.changed else "") + _named(one.verdict),
            f"{len(one.missing)} calls without evidence" if one.missing else "",
        )
        for one in sorted(found, key=lambda one: not one.changed)
    ]
    if rows:
        print_table(["incident", "runbook", "then", "now", ""], rows)
    for one in found:
        for call in one.missing:
            say(f"{one.archived.incident}, no evidence: {call}", style="yellow")
        if one.error:
            say(f"{one.archived.incident}: {one.error}", style="yellow")
    changed = sum(one.changed for one in found)
    verdicts = "1 verdict changes" if changed == 1 else f"{changed} verdicts change"
    say(f"{verdicts} of {len(found)}.", style="bold")


def _named(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "no verdict"
    if not verdict["confirmed"]:
        return "not confirmed"
    return f"{verdict.get('cause') or 'cause not known'} ({100 * verdict['confidence']:.0f} %)"


def _actions(plans: list[Any]) -> str:
    told = [f"{one['action']} {one['arguments']}" for plan in plans for one in plan]
    return "; ".join(told) or "nothing"


@contextmanager
def _progress() -> Iterator[Any]:
    """On a terminal, what is being done; elsewhere nothing."""
    if not err.is_terminal:
        yield lambda _message: None
        return
    with err.status("...") as line:
        yield lambda message: line.update(escape(printable(message)))
