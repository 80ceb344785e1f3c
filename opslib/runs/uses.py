"""What a notebook looks at and may propose, read from its code without running it, against what it declares."""

from __future__ import annotations

import ast
import inspect
from functools import cache

from opslib.actions.catalogue import ACTIONS
from opslib.errors import ConfigurationError
from opslib.probes import registry
from opslib.probes.calls import Http
from opslib.probes.calls_files import Certificates
from opslib.runs.catalogue import Runbook
from opslib.runs.reached import code_of
from opslib.sql import queries


def undeclared(runbook: Runbook) -> list[str]:
    """What a runbook uses and does not declare, and what it declares and there is not, in words."""
    reads, proposes = of(runbook)
    lines = [f"it reads {name}: add it to metadata.runbook.reads" for name in sorted(reads - set(runbook.reads))]
    lines += [
        f"it may propose {name}: add it to metadata.runbook.proposes"
        for name in sorted(proposes - set(runbook.proposes))
    ]
    lines += [f"there is no probe {name}" for name in runbook.reads if name.partition("@")[0] not in _probes()]
    lines += [f"there is no action {name}" for name in runbook.proposes if name not in ACTIONS]
    return lines


def check(runbook: Runbook) -> None:
    """Raise `ConfigurationError` where a runbook uses what it does not declare."""
    lines = [f"{runbook.path.name}: {line}" for line in undeclared(runbook)]
    if lines:
        raise ConfigurationError("\n".join(lines), mistakes=lines)


def of(runbook: Runbook) -> tuple[set[str], set[str]]:
    """The probes and the actions that a runbook names: its cells, and what they reach in `opslib.diagnosis`."""
    reads: set[str] = set()
    proposes: set[str] = set()
    for tree in code_of(runbook.path):
        found_reads, found_proposes = used(tree)
        reads |= found_reads
        proposes |= found_proposes
    return reads, proposes


def named(runbook: Runbook) -> set[str]:
    """The queries that a runbook asks `postgres.named` for, as far as its code names them."""
    there = vars(queries("probes_postgres"))
    found: set[str] = set()
    for tree in code_of(runbook.path):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and "postgres.named" in map(_probe, (node.func, *node.args)):
                given = [*node.args, *(key.value for key in node.keywords if key.arg == "query")]
                found |= {text for one in given if (text := _text(one)) in there}
    return found


def used(tree: ast.AST) -> tuple[set[str], set[str]]:
    """The probes and the actions that code names: `ops.kubernetes.pods`, or "kubernetes.restart".

    A call that names a `system` reads that one: `http.json@prometheus`.
    """
    reads: dict[ast.AST, str] = {}
    proposes: set[str] = set()
    for node in ast.walk(tree):
        if _text(node) in ACTIONS:
            proposes.add(_text(node))
        elif name := _probe(node):
            reads.setdefault(node, name)
        elif isinstance(node, ast.Call):
            parts = [node.func, *node.args]
            for place, part in enumerate(parts):
                system = _system(name, parts[place + 1 :], node.keywords) if (name := _probe(part)) else ""
                if system and system != registry.find(name).system:
                    reads[part] = f"{name}@{system}"
    return set(reads.values()), proposes


def _probe(node: ast.AST) -> str:
    """The name of the probe that a piece of code names; empty where it names none."""
    name = _text(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
        name = f"{node.value.attr}.{node.attr}"
    return name if name in _probes() else ""


def _system(probe: str, given: list[ast.expr], named: list[ast.keyword]) -> str:
    """The system that a call of a probe names, by its place or by name; empty where it names none."""
    by_name = [_text(one.value) for one in named if one.arg == "system"]
    place = _places().get(probe, len(given))
    return (by_name or [_text(one) for one in given[place : place + 1]] or [""])[0]


@cache
def _places() -> dict[str, int]:
    """Where among the arguments of a probe its system stands."""
    found = {}
    for kind in (Http, Certificates):
        for name, method in vars(kind).items():
            arguments = list(inspect.signature(method).parameters)[1:] if callable(method) else []
            if "system" in arguments:
                found[f"{kind.__name__.lower()}.{name}"] = arguments.index("system")
    return found


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@cache
def _probes() -> frozenset[str]:
    return frozenset(registry.names())
