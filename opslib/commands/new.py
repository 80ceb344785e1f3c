"""`runbook new`: the notebook of a new alert runbook, in the layout that all have."""

from __future__ import annotations

import difflib
import re
from typing import Annotated

import typer
from pydantic import ValidationError

from opslib.commands.output import out, print_json
from opslib.errors import UsageError
from opslib.settings import Settings

_WORDS = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def new(
    name: Annotated[str, typer.Argument(help="The runbook's name, as redis-memory")],
    alert: Annotated[str, typer.Option(help="The alert that starts it, as RedisMemory")],
    platform: Annotated[str, typer.Option(help="The platform, a file under params/platforms")],
    cause: Annotated[list[str], typer.Option(help="A cause that it tells apart; several times")],
    id_: Annotated[str, typer.Option("--id", help="Its id, a letter and two figures")],
    title: Annotated[str, typer.Option(help="Its title; the name in words where it is left out")] = "",
    severity: Annotated[str, typer.Option(help="How bad its alert is: critical, warning, P1 to P4")] = "warning",
    within: Annotated[str, typer.Option(help="How soon somebody has to act")] = "15 min",
    reads: Annotated[list[str] | None, typer.Option(help="A probe that it calls; several times")] = None,
    proposes: Annotated[list[str] | None, typer.Option(help="An action that it may propose; several times")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False,
) -> None:
    """Write the notebook of a new alert runbook, to be filled in as docs/authoring.md tells."""
    from opslib.actions.catalogue import ACTIONS
    from opslib.probes import registry
    from opslib.runs import skeleton
    from opslib.runs.catalogue import Facts

    for word in (name, *cause):
        if not _WORDS.fullmatch(word):
            raise UsageError(f"{word!r}: names of runbooks and causes are small letters, figures and dashes")
    if not re.fullmatch(r"[A-Za-z]\w*", alert):
        raise UsageError(f"{alert!r} is no name of an alert: letters, figures and underscores")
    try:
        facts = Facts(
            id=id_,
            title=title or name.replace("-", " ").capitalize(),
            kind="alert",
            platforms=[platform],
            trigger=[alert],
            severity=severity,
            respond_within=within,
            reads=sorted({*skeleton.READS, *(reads or ())}),
            proposes=sorted(set(proposes or ())),
        )
    except ValidationError as error:
        raise UsageError(f"{id_!r} is no id of a runbook: a letter or two and two figures, as A30") from error
    _must_be_there(facts.reads, registry.names(), "probe")
    _must_be_there(facts.proposes, list(ACTIONS), "action")
    settings = Settings()
    path = skeleton.write(settings, name, facts, cause)
    if json:
        print_json({"runbook": name, "path": str(path)})
        return
    out.print(f"{path} is there. Next, as docs/authoring.md tells:", markup=False, soft_wrap=True)
    out.print(f"  runbook run {name} --platform {platform}   runs it as it is", markup=False, soft_wrap=True)
    out.print("  runbook lab   opens it, to be filled in cell by cell", markup=False, soft_wrap=True)
    route = f"  - match: {{alertname: {alert}, platform: {platform}}}\n    runbook: {name}\n    target: []"
    out.print(f"  in {settings.params / 'routes.yaml'}, under routes:\n{route}", markup=False, soft_wrap=True)


def _must_be_there(names: list[str], there: list[str], kind: str) -> None:
    """Raise `UsageError` for a name that no probe or action has; names the nearest."""
    for name in names:
        if name.partition("@")[0] not in there:
            near = ", ".join(difflib.get_close_matches(name, there, n=3)) or "docs/probes.md lists the probes"
            raise UsageError(f"there is no {kind} {name!r}; perhaps {near}")
