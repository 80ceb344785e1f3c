"""`python -m opslib.names` prints docs/names.md: the names that a playbook's author uses, on one page."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import pairwise
from types import FunctionType, ModuleType
from typing import Any

from opslib import diagnosis, errors, pictures, tables
from opslib.ops import Ops
from opslib.record.shown import Plan

HEAD = """# Names
What a playbook's author uses; [probes](probes.md) tells what each look answers. Printed by `python -m opslib.names`.
"""
ERRORS = (errors.PlanError, errors.ProbeError)  # that a playbook catches; of all others the run ends
_RUN = {
    "incident": "", "run": 1, "platform": "", "runbook": "", "mode": "", "parameters": {}, "systems": (),
    "environment": "",
}  # fmt: skip


class _Unconnected(Ops):
    """The `ops` of a run that there is not: it has every name, and asks nobody."""

    def _ask(self, operation: str, **facts: Any) -> tuple[Any, bytes]:
        del operation, facts
        return _RUN, b""


def systems() -> dict[str, list[str]]:
    """The probes of `ops`, by system, as they are called."""
    found = {name: one for name, one in vars(_Unconnected("")).items() if type(one).__module__.startswith(_PROBES)}
    return {name: [key for key, _ in _methods(type(one))] for name, one in sorted(found.items())}


_PROBES = "opslib.probes."


def page() -> str:
    """The page, in Markdown."""
    ops = _Unconnected("")
    context = ", ".join(f"`{name}`" for name in vars(ops.context))
    knows = ", ".join(f"`{name}`" for name in vars(diagnosis.Diagnosis(ops)) if name != "ops" and name[0] != "_")
    own = sorted({*vars(ops)} - {*systems(), "context"})
    parts = [
        HEAD,
        _part(
            "`ops = opslib.connect()`",
            [
                ("ops.context", f"The run that the notebook is part of: {context}"),
                *((f"ops.{name}", _attribute(Ops, name)) for name in own if not name.startswith("_")),
                *((f"ops.{_called(name, one)}", _first(one)) for name, one in _methods(Ops)),
            ],
        ),
        _part(
            "Looks: `ops.SYSTEM.PROBE(...)`",
            [(f"ops.{name}", ", ".join(f"`{one}`" for one in probes)) for name, probes in systems().items()],
        ),
        _part(
            "`case = Diagnosis(ops, CAUSES)`",
            [
                ("case", f"What it knows: {knows}"),
                *((f"case.{_called(name, one)}", _first(one)) for name, one in _methods(diagnosis.Diagnosis)),
            ],
        ),
        _part("Causes and verdict: `opslib.diagnosis`", list(_exported(diagnosis, {"Diagnosis"}))),
        _part(
            "`plan = ops.propose(...)`",
            [(f"plan.{name}", _first(one)) for name, one in vars(Plan).items() if isinstance(one, property)],
        ),
        _part(
            "For reading, and what may be caught",
            [
                *((f"tables.{name}", text) for name, text in _functions(tables)),
                *((f"pictures.{name}", text) for name, text in _functions(pictures)),
                ("opslib.errors", ", ".join(f"`{one.__name__}`" for one in ERRORS)),
            ],
        ),
    ]
    return "\n".join(parts)


def _part(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for name, text in rows]
    return "\n".join([f"## {title}", "", "| name | |", "|---|---|", *lines, ""])


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods of a class, as they stand in it."""
    for name, one in vars(kind).items():
        if not name.startswith("_") and isinstance(one, FunctionType | staticmethod):
            yield name, one


def _functions(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The public functions that a module defines."""
    for name, one in vars(module).items():
        if not name.startswith("_") and inspect.isfunction(one) and one.__module__ == module.__name__:
            yield _called(name, one, method=False), _first(one)


def _exported(module: ModuleType, without: set[str]) -> Iterator[tuple[str, str]]:
    """What a package names as its own."""
    for name in module.__all__:
        if name not in without:
            one = getattr(module, name)
            yield _called(name, one, method=False) if inspect.isfunction(one) else name, _first(one)


def _called(name: str, one: Any, *, method: bool = True) -> str:
    """How it is called: its arguments by name; those that may be left out are not told where there are many."""
    given = list(inspect.signature(one).parameters.values())[1 if method else 0 :]
    needed = [parameter for parameter in given if parameter.default is inspect.Parameter.empty]
    told = [{"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(one.kind.name, "") + one.name for one in needed]
    return f"{name}({', '.join([*told, *(['...'] if len(needed) < len(given) else [])])})"


def _first(one: Any) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(one) or "").partition("\n")[0]


def _attribute(kind: type, name: str) -> str:
    """What the docstring of a class says of one of its attributes."""
    lines = (inspect.getdoc(kind) or "").splitlines()
    return next((after.strip() for line, after in pairwise(lines) if line.startswith(f"{name} :")), "")


if __name__ == "__main__":
    print(page(), end="")
