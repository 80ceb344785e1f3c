"""`runbook routes`: which runbook an alert starts, and why."""

from __future__ import annotations

import datetime as dt
import json as json_library
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from opslib.commands.output import out, print_json, print_table, printable
from opslib.errors import UsageError
from opslib.intake import routes
from opslib.intake.models import Alert, BodyNotUnderstood, read_alert
from opslib.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Which runbook an alert starts: test, check.")


@app.command("test")
def explain(
    alert: Annotated[str, typer.Option(help="A file with a webhook body, a list of alerts or one alert; - reads it")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False,
) -> None:
    """Show which route each alert takes, and why the others do not."""
    table = routes.load(Settings())
    answers = []
    for found in _alerts(alert):
        to = table.route(found.labels)
        rows = table.explain(found.labels)
        answers.append(
            {
                "labels": found.labels,
                "platform": to.platform,
                "runbook": to.runbook,
                "target": to.target,
                "routes": [asdict(row) for row in rows],
            }
        )
        if json:
            continue
        name = printable(found.labels.get("alertname", "an alert without a name"))
        where = f"platform {to.platform}, target {printable(to.target) or '(none)'}"
        out.print(f"{name} starts {to.runbook} ({where})", markup=False)
        marks = [("taken" if row.taken else "no", row.route, row.runbook, "" if row.taken else row.why) for row in rows]
        print_table(["", "route", "runbook", "why not"], marks)
    if json:
        print_json({"alerts": answers})


@app.command()
def check() -> None:
    """Validate routes, platforms, contacts, policy and schedule; every mistake is named with file and key."""
    routes.check(Settings())
    out.print("Routes, platforms, contacts, policy and schedule are in order.")


def _alerts(source: str) -> list[Alert]:
    """The alerts of a file in any of the three forms.

    Raises
    ------
    UsageError
        When there is no such file, or it holds no alert.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        document: Any = json_library.loads(text)
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source} is not JSON: {error}") from error
    if isinstance(document, dict) and isinstance(document.get("alerts"), list):
        document = document["alerts"]
    found = document if isinstance(document, list) else [document]
    now = dt.datetime.now(dt.UTC)
    try:
        return [read_alert(item, "v1", now) for item in found]
    except BodyNotUnderstood as error:
        raise UsageError(f"{source} holds something that is no alert: {error}") from error
