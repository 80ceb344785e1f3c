"""A new alert runbook: the layout that all have, with a cell for each cause, ready to be filled in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from opslib.errors import UsageError
from opslib.runs.catalogue import Facts, runbooks
from opslib.settings import Settings

_BEFORE = (
    ("markdown", "title", """# $title ($id)

**Alert** `$alert`: its condition, in the words of the rule. $severity: act within **$within**.

**Meaning** What is the case when it fires, and which causes it can have.

**Impact** What it costs while it lasts, and when it gets worse.

**What buys time** The one thing that helps before the cause is known.

**Whom to call** who is called, and after how long."""),
    ("code", "parameters", """platform: str = "$platform"  # | the platform, a file under params/platforms
alert: dict = {}  # | the alert as it was delivered; empty when run by hand
limit_pct: float = 80.0  # %, 0..100 | the alert's level"""),
    ("code", "set-up", """import opslib
from opslib.diagnosis import Cause, Diagnosis, reason

ops = opslib.connect()
case = Diagnosis(ops)
alert = case.about(alert)"""),
    ("markdown", "real", """## Is it real?

The alert's own condition again. **Normal:** what is usual. **Above:** go on. **Below:** the alert is over."""),
    ("code", "firing", """answer = ops.look("what the alert is about", ops.http.health)
case.confirm(None, "nothing was looked at yet", answer)
print("CONFIRMED:" if case.confirmed else "NOT CONFIRMED:", case.symptom)"""),
)  # fmt: skip
_CAUSE = (
    ("markdown", "about-$key", """### Is it $key?

What is looked at, and what is normal. **Yes:** what to do. **No:** go on."""),
    ("code", "$key", """def $name(answer):
    return [reason("what was measured, with its unit", 0.0, threshold=1.0, decisive=2.0)]


case.causes["$key"] = Cause("$key", "Is it $key?", $name, "its fix")
case.examine("$key", answer=answer)"""),
)  # fmt: skip
_AFTER = (
    ("markdown", "verdict-heading", "## Verdict"),
    ("code", "verdict", """verdict = case.conclude()
verdict"""),
    ("markdown", "mitigation", """## Mitigation

The fix of the cause, as small as it can be. This notebook proposes; a person approves; the applier applies."""),
    ("code", "plan", """plan = None
if verdict.confirmed:
    pass  # plan = ops.propose([("ACTION", {})], reason=verdict.summary)
plan"""),
    ("markdown", "next", """## Next

| when | who | what |
|---|---|---|
| now | L1, on call | have the plan approved; see that the alert ends |"""),
    ("code", "message", """print(case.message("$title", plan))"""),
)  # fmt: skip
MOST_CAUSES = 6
READS = ("http.health",)  # the probes that the cells above call


def notebook(facts: Facts, causes: Sequence[str]) -> dict[str, Any]:
    """The notebook as its file holds it.

    Parameters
    ----------
    facts : Facts
        With one platform and one trigger.
    causes : sequence of str
        Their keys, small letters, figures and dashes.

    Raises
    ------
    UsageError
        When there is no cause, or more than `MOST_CAUSES`: then each deserves a module of its own.
    """
    if not 1 <= len(causes) <= MOST_CAUSES or len(set(causes)) < len(causes):
        raise UsageError(f"name one to {MOST_CAUSES} different causes, as --cause too-many-clients --cause network")
    words = {
        "title": facts.title,
        "id": facts.id,
        "alert": facts.trigger[0],
        "platform": facts.platforms[0],
        "severity": facts.severity.capitalize(),
        "within": facts.respond_within,
    }
    cells = [_cell(*one, words) for one in _BEFORE]
    for place, key in enumerate(causes):
        of_cause = {**words, "key": key, "name": _name(key)}
        made = [_cell(*one, of_cause) for one in _CAUSE]
        if place == 0:
            made[0]["source"] = "## Diagnosis\n\n" + made[0]["source"]
        cells += made
    cells += [_cell(*one, words) for one in _AFTER]
    kernel = {"display_name": "Runbook", "language": "python", "name": "runbook"}
    declared = facts.model_dump(exclude_defaults=True)
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}, "runbook": declared},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write(settings: Settings, name: str, facts: Facts, causes: Sequence[str]) -> Path:
    """Write a new runbook below the folder of the notebooks; return its path.

    Raises
    ------
    UsageError
        When there is one of that name or id.
    """
    there = runbooks(settings)
    if name in there:
        raise UsageError(f"there is a runbook {name} already: {there[name].path}")
    if facts.id in {one.id for one in there.values()}:
        raise UsageError(f"{facts.id} is the id of another runbook; `runbook list` shows which are taken")
    path = settings.notebooks / "alerts" / f"{name}.ipynb"
    made = notebook(facts, causes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    return path


def _name(key: str) -> str:
    return key.replace("-", "_")


def _cell(kind: str, identifier: str, source: str, words: dict[str, str]) -> dict[str, Any]:
    identifier, source = (Template(text).substitute(words) for text in (identifier, source))
    metadata = {"tags": ["parameters"]} if identifier == "parameters" else {}
    found = {"cell_type": kind, "id": identifier, "metadata": metadata, "source": source}
    return found if kind == "markdown" else {**found, "execution_count": None, "outputs": []}
