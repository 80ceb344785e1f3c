"""A run's result in words, for somebody who was woken by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opslib import figures
from opslib.commands.output import out, print_table, printable, say


def show(result: dict[str, Any], error: str | None) -> None:
    """Print the verdict, the causes, the plan with the command that approves it, and where the record is.

    Parameters
    ----------
    result : dict
        As `runbook run --json` prints it.
    error : str or None
        Why the run did not succeed.
    """
    verdict = result["verdict"]
    head = f"{result['incident']}  {result['runbook']} on {result['platform']}: {result['state']}"
    if result["took_s"] is not None:
        head += f" in {result['took_s']:.1f} s"
    out.print(printable(head), style="bold", markup=False)
    if error:
        say(error, style="red")
    if verdict:
        _verdict(verdict)
        if verdict.get("plan"):
            _plan(result["incident"], verdict["plan"])
    if result["record"]:
        path = Path(result["record"])
        out.print(f"\nRecord  {path}\nRead    {path.with_suffix('.html')}", markup=False)


def _verdict(verdict: dict[str, Any]) -> None:
    out.print()
    say(verdict["summary"])
    causes = verdict.get("causes") or []
    if causes:
        out.print()
        rows = [
            (
                cause["key"],
                f"{100 * cause['likelihood']:.0f} %",
                cause["because"],
                " ".join(cause.get("evidence") or []),
            )
            for cause in causes
        ]
        print_table(["cause", "likely", "because", "evidence"], rows)
    for unseen in verdict.get("unseen") or []:
        say(f"Not seen: {unseen}", style="yellow")


def _plan(incident: str, plan: dict[str, Any]) -> None:
    out.print(printable(f"\nPlan {plan['hash'][:12]} ({plan['state']})"), style="bold", markup=False)
    for action in plan["actions"]:
        say(action["summary"], indent=2)
        table = figures.changes(action.get("preview") or {})
        if table.rows:
            rows = [(*plain, *(f"{now} → {after}" for now, after in pairs)) for plain, pairs in table.rows]
            print_table([f"  {name}" if not place else name for place, name in enumerate((*table.plain, *table.pairs))],
                        [(f"  {row[0]}", *row[1:]) for row in rows])  # fmt: skip
        undo = action["undo"]
        taken_back = "not possible" if undo["kind"] == "none" else "possible"
        facts = {
            "expected": f"{action['expected_effect']}; within {action['effect_within_s']:g} s",
            "stays at risk": action.get("residual_risk"),
            "undo": f"{taken_back}: {undo['reason']}" if undo.get("reason") else taken_back,
            "needs": action["authority"],
        }
        for name, fact in facts.items():
            if fact:
                say(f"{name}: {fact}", indent=2, style="dim")
    if plan["state"] == "proposed":
        out.print("\nTo approve and apply it:", markup=False)
        out.print(f"  runbook approve {incident} --plan {plan['hash'][:12]} --apply", markup=False)
