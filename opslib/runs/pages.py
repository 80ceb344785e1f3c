"""`python -m opslib.runs.pages` writes docs/playbooks: a page for each playbook, read without running anything."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from opslib.diagnosis import Cause
from opslib.intake import routes
from opslib.intake.routes import Routes
from opslib.runs.catalogue import Runbook, runbooks
from opslib.runs.declaration import Parameter
from opslib.settings import PROJECT, Settings

__all__ = ["FOLDER", "INDEX", "alerts", "causes", "page", "pages"]

FOLDER = Path("docs/playbooks")
INDEX = "README.md"
RULES = Path("deploy/prometheus")
_BY = "Printed by `python -m opslib.runs.pages` from the notebook, its causes, the rules and the routes."


def pages(settings: Settings, project: Path = PROJECT) -> dict[str, str]:
    """Every page in Markdown, by its file's name.

    Parameters
    ----------
    settings : Settings
        Where notebooks and parameter files are.
    project : Path
        Where the rules of Prometheus are.

    Raises
    ------
    ConfigurationError
        When a notebook is no runbook, or the routes do not validate.
    """
    there, ways = runbooks(settings), routes.load(settings)
    fired = _by_runbook(alerts(project), ways)
    found = {f"{name}.md": page(runbook, fired.get(name, []), ways) for name, runbook in there.items()}
    return {INDEX: _index(there.values(), fired), **found}


def alerts(project: Path = PROJECT) -> list[dict[str, Any]]:
    """The alerts of the platforms, as their rules stand; those on the service itself carry no platform."""
    groups = [
        group
        for path in sorted((project / RULES).glob("*.rules.y*ml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    ]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return [rule for rule in rules if "platform" in rule.get("labels", {})]


def causes(notebook: dict[str, Any]) -> list[Cause]:
    """The causes that a notebook hands to its `Diagnosis`, from the module that it imports them of."""
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    tree = ast.parse(code)
    modules = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("Diagnosis"), [_, ast.Attribute(ast.Name(module), name), *_]) if module in modules:
                return list(getattr(import_module(modules[module]), name))
    return []


def page(runbook: Runbook, fired: list[dict[str, Any]], ways: Routes) -> str:
    """The page of one playbook.

    Parameters
    ----------
    runbook : Runbook
    fired : list of dict
        The rules whose alerts start it.
    ways : Routes
    """
    notebook = json.loads(runbook.path.read_text("utf-8"))
    told = [(str(cell["id"]), "".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    (_, first), *rest = told
    file = f"notebooks/{runbook.path.parent.name}/{runbook.path.name}"
    places = (
        "every platform" if runbook.platforms in ([], ["*"]) else ", ".join(f"`{one}`" for one in runbook.platforms)
    )
    facts = f"Notebook [`{file}`](../../{file}), for {places}; its fix needs {runbook.authority or 'nobody'}. {_BY}"
    parts = [first, facts, _alerts(fired, ways)]
    parts += [text.strip() for _, text in rest if _shown(text)]
    parts += [_causes(causes(notebook)), _parameters(runbook.parameters), _rights(runbook)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _shown(text: str) -> bool:
    """Whether a cell has more than a heading, which code under it fills."""
    return any(line and not line.startswith("#") for line in text.splitlines())


def _by_runbook(rules: Iterable[dict[str, Any]], ways: Routes) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        found.setdefault(ways.route(_labels(rule)).runbook, []).append(rule)
    return found


def _labels(rule: dict[str, Any]) -> dict[str, str]:
    return {**rule["labels"], "alertname": rule["alert"]}


def _index(there: Iterable[Runbook], fired: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        (
            one.id,
            f"[{one.title}]({one.name}.md)",
            ", ".join(f"`{rule['alert']}`" for rule in fired.get(one.name, [])) or "any other",
            ", ".join(one.platforms).replace("*", "every"),
            one.severity or "the alert's own",
            one.respond_within,
            one.authority,
        )
        for one in there
    ]
    heads = ("id", "playbook", "alert", "platform", "severity", "act within", "authority")
    return f"# Playbooks\n\nWhat each looks at, asks and proposes. {_BY}\n\n{_table(heads, rows)}\n"


def _alerts(fired: list[dict[str, Any]], ways: Routes) -> str:
    if not fired:
        return "## Alerts\n\nEvery alert that no route of `params/routes.yaml` matches."
    rows = []
    for rule in fired:
        route = next(route for route in ways.routes if not route.misses(_labels(rule)))
        target = ", ".join(f"`{name}`" for name in route.target) or "the platform"
        level = rule["labels"].get("severity", "")
        rows.append(
            (f"`{rule['alert']}`", f"`{' '.join(rule['expr'].split())}`", rule.get("for", "at once"), level, target)
        )
    return "## Alerts\n\n" + _table(("alert", "condition", "for", "severity", "an incident for each"), rows)


def _causes(found: list[Cause]) -> str:
    if not found:
        return ""
    rows = [(f"`{one.key}`", one.question, one.fix) for one in found]
    return "## Causes\n\n" + _table(("cause", "question", "fix"), rows)


def _parameters(declared: list[Parameter]) -> str:
    rows = [
        (
            f"`{one.name}`",
            f"`{one.type}`",
            "must be given" if one.required else f"`{json.dumps(one.default, ensure_ascii=False)}`",
            one.unit,
            _bounds(one),
            one.description,
        )
        for one in declared
    ]
    heads = ("name", "type", "default", "unit", "bounds", "")
    above = "A platform's own values stand in `params/platforms/` and come before these defaults."
    return f"## Parameters\n\n{above}\n\n{_table(heads, rows)}"


def _bounds(one: Parameter) -> str:
    if one.low is None and one.high is None:
        return ""
    low, high = ("" if bound is None else f"{bound:.15g}" for bound in (one.low, one.high))
    return f"{low}..{high}"


def _rights(runbook: Runbook) -> str:
    reads = ", ".join(f"`{name}`" for name in runbook.reads) or "nothing"
    proposes = ", ".join(f"`{name}`" for name in runbook.proposes) or "nothing"
    lines = [
        "## What it may do",
        f"**It looks at** ([probes](../probes.md)) {reads}.",
        f"**It may propose** {proposes}.",
    ]
    runs = "; ".join(f"{name}: `{' '.join(words)}`" for name, words in sorted(runbook.commands.items()))
    return "\n\n".join([*lines, *([f"**It runs in pods** {runs}."] if runs else [])])


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |".replace(
            "  ", " "
        )

    return "\n".join([line(heads), f"|{'---|' * len(heads)}", *map(line, rows)])


def _written(settings: Settings, project: Path) -> Iterator[Path]:
    """Write the pages, and remove those of playbooks that are no more."""
    folder, made = project / FOLDER, pages(settings, project)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8")
        yield folder / name


def main() -> None:
    """Write docs/playbooks of this project."""
    argparse.ArgumentParser(prog="python -m opslib.runs.pages", description=__doc__).parse_args()
    settings = Settings(params=PROJECT / "params", notebooks=PROJECT / "notebooks")
    for path in _written(settings, PROJECT):
        print(path.relative_to(PROJECT))


if __name__ == "__main__":
    main()
