"""`runbook run` and `runbook cancel`."""

from __future__ import annotations

import datetime as dt
import json as jsonlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from opslib import people, platforms, store
from opslib.commands.output import err, out, print_json
from opslib.commands.verdict import show
from opslib.errors import NotAllowed, NotFound, UsageError
from opslib.intake.models import BodyNotUnderstood, read_alert
from opslib.runs import catalogue, following, parameters, queue, worker
from opslib.runs import run as runs
from opslib.runs.cells import Stop
from opslib.settings import Settings
from opslib.sql import queries

_ALERT_BYTES = 4 * 2**20


def run(
    name: Annotated[str, typer.Argument(help="The runbook; `runbook list` shows them")],
    platform: Annotated[str, typer.Option("--platform", help="A platform of params/platforms")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="K=V, read as K's type")] = None,
    alert: Annotated[str | None, typer.Option(help="A file with an alert, or - for standard input")] = None,
    mode: Annotated[Literal["observe", "plan"], typer.Option(help="observe reads; plan also proposes")] = "plan",
    json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False,
) -> None:
    """Run a runbook by hand; by a worker where one is alive, else here."""
    settings = Settings()
    runbook = catalogue.find(settings, name)
    given = parameters.from_text(runbook, _pairs(parameter or []))
    document = _alert(alert) if alert is not None else None
    parameters.resolve(runbook, platforms.load(settings, platform), given, document)
    by_worker = worker.alive(settings)
    who = people.operator(settings)
    incident, number = runs.start(settings, name, platform, given, document, mode, who, defer=by_worker)
    with _progress(settings, incident, runbook):
        row = None
        if by_worker:
            row = following.wait(settings, number, forsaken=lambda: not worker.alive(settings))
        if row is None:
            stop = Stop()
            with runs.heeding_signals(stop, inline=True):
                runs.execute(settings, number, inline=True, stop=stop)
            row = following.read(settings, number)
    result = _result(settings, row)
    if json:
        print_json(result)
    else:
        show(result, row["error"])
    raise typer.Exit(0 if row["state"] == "succeeded" else 1)


def cancel(
    incident: Annotated[str, typer.Argument(help="INC-YYYY-NNNNNN")],
    text: Annotated[str, typer.Option(help="Why")] = "",
    as_: Annotated[str | None, typer.Option("--as", help="Who you are; must match RUNBOOK_TOKEN")] = None,
) -> None:
    """Stop the runs of an incident."""
    settings = Settings()
    person = people.current(settings, as_)
    with store.transaction(settings) as connection:
        row = connection.execute(queries("incidents").one, {"incident": incident}).fetchone()
        if row is None:
            raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
        if not person.may(1, row["platform"], platforms.load(settings, row["platform"]).environment):
            raise NotAllowed(f"{person.name} ({person.role}) may not do that on {row['platform']}; ask L1 or above")
        stopped = queue.cancel(connection, incident, person.name, text)
        not_cut = queue.not_cut(connection, incident)
    out.print(f"{len(stopped)} run{'' if len(stopped) == 1 else 's'} of {incident} asked to end.", markup=False)
    if not_cut:
        err.print(not_cut, markup=False)


def _pairs(texts: list[str]) -> dict[str, str]:
    """`K=V` pairs; every one that is none is named."""
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise UsageError(f"-p takes NAME=VALUE, not {', '.join(repr(text[:60]) for text in wrong)}")
    names = [text.partition("=")[0] for text in texts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"-p gives {', '.join(twice)} more than once")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _alert(source: str) -> dict[str, Any]:
    """One alert: as it stands in the file, or the first of a webhook body or of a list; its time as intake reads it."""
    try:
        text = sys.stdin.read(_ALERT_BYTES + 1) if source == "-" else Path(source).read_text("utf-8")
        document = jsonlib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--alert {source}: cannot be read as JSON: {error}") from error
    if len(text) > _ALERT_BYTES:
        raise UsageError(f"--alert {source}: larger than 4 MiB")
    if isinstance(document, dict) and isinstance(document.get("alerts"), list):
        document = document["alerts"]
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, dict):
        raise UsageError(f"--alert {source}: holds no alert; an alert is a JSON object with `labels`")
    try:
        understood = read_alert(document, "v1", dt.datetime.now(dt.UTC))
    except BodyNotUnderstood as error:
        raise UsageError(f"--alert {source}: {error}") from error
    begun = {"startsAt": understood.payload["startsAt"]} if document.get("startsAt") else {}
    return document | begun


def _result(settings: Settings, row: dict[str, Any]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "incident": row["incident"],
        "runbook": row["runbook"],
        "platform": row["platform"],
        "state": row["state"],
        "record": str(settings.home / row["record"]) if row["record"] else None,
        "took_s": round((row["ended_at"] - row["queued_at"]).total_seconds(), 3) if row["ended_at"] else None,
        "verdict": row["verdict"],
    }


@contextmanager
def _progress(settings: Settings, incident: str, runbook: catalogue.Runbook) -> Iterator[None]:
    """On a terminal, what the run is doing; elsewhere nothing."""
    if not err.is_terminal:
        yield
        return
    headings = catalogue.headings(runbook.path)
    with err.status(f"{incident}  {runbook.title}: starting") as line:

        def tell(kind: str, body: dict[str, Any]) -> None:
            if kind == "cell-started":
                heading = headings.get(body["cell_id"], "")
                line.update(f"{incident}  {runbook.title}: {heading or 'set-up'}")
            elif kind == "run-ended":
                line.update(f"{incident}  {runbook.title}: sealing the record")

        follower = following.Follower(settings, incident, tell)
        try:
            yield
        finally:
            follower.close()
