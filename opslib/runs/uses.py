"""What a notebook uses of a cluster, read from its code without running it, against what its metadata declares."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from opslib.clusters.rights import CHANGES, READS
from opslib.errors import ConfigurationError
from opslib.runs.catalogue import Runbook

_SYSTEMS = frozenset(name.partition(".")[0] for name in READS)


def undeclared(runbook: Runbook) -> list[str]:
    """What a runbook uses and does not declare, in words; probes and actions of a cluster alone.

    Its cells are read, and the modules of `opslib.diagnosis` that they import.
    """
    reads: set[str] = set()
    proposes: set[str] = set()
    for tree in _code(runbook.path):
        found_reads, found_proposes = used(tree)
        reads |= found_reads
        proposes |= found_proposes
    lines = [f"it reads {name}: add it to metadata.runbook.reads" for name in sorted(reads - set(runbook.reads))]
    lines += [
        f"it may propose {name}: add it to metadata.runbook.proposes"
        for name in sorted(proposes - set(runbook.proposes))
    ]
    lines += [f"there is no probe {name} of a cluster" for name in runbook.reads if name not in READS]
    lines += [f"there is no action {name} on a cluster" for name in runbook.proposes if name not in CHANGES]
    return lines


def check(runbook: Runbook) -> None:
    """Raise `ConfigurationError` where a runbook uses what it does not declare."""
    lines = [f"{runbook.path.name}: {line}" for line in undeclared(runbook)]
    if lines:
        raise ConfigurationError("\n".join(lines), mistakes=lines)


def used(tree: ast.AST) -> tuple[set[str], set[str]]:
    """The probes and the actions of a cluster that code names: `ops.kubernetes.pods`, or "kubernetes.restart"."""
    reads: set[str] = set()
    proposes: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            name = f"{node.value.attr}.{node.attr}"
            if node.value.attr in _SYSTEMS and name in READS:
                reads.add(name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in CHANGES:
                proposes.add(node.value)
            elif node.value in READS:
                reads.add(node.value)
    return reads, proposes


def _code(path: Path) -> Iterator[ast.AST]:
    """The code of a notebook's cells, and of the diagnosis modules that they import."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    trees = [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    yield from trees
    modules = {name for tree in trees for name in _imported(tree)}
    for module in sorted(modules):
        found = find_spec(module)
        if found is not None and found.origin and found.origin.endswith(".py"):
            yield ast.parse(Path(found.origin).read_text("utf-8"))


def _imported(tree: ast.AST) -> Iterator[str]:
    """The modules of `opslib.diagnosis` that code imports; of a module of it, the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("opslib.diagnosis."))
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.startswith("opslib.diagnosis."):
                yield node.module
            elif node.module == "opslib.diagnosis":
                yield from (f"opslib.diagnosis.{alias.name}" for alias in node.names if _is_module(alias.name))


def _is_module(name: str) -> bool:
    return find_spec(f"opslib.diagnosis.{name}") is not None
