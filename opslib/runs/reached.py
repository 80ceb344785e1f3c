"""The code that a notebook can come to: its cells, and of `opslib.diagnosis` the functions that they reach, unrun."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "opslib.diagnosis"
Place = tuple[str, str]  # a module, and a name at its top


def code_of(path: Path) -> Iterator[ast.AST]:
    """The cells of a notebook, then every statement at the top of a diagnosis module that they need."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    trees = [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    yield from trees
    imports = {name: place for tree in trees for name, place in _imports(tree).items()}
    waiting = [place for tree in trees for place in _asked(tree, imports)]
    seen: set[Place] = set()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        module, name = place
        tops, imports = _module(module)
        if name not in tops:  # imported from elsewhere
            waiting += [imports[name]] if name in imports else []
            continue
        yield tops[name]
        waiting += _asked(tops[name], imports)
        waiting += [(module, other) for other in _names(tops[name]) if other in tops]


def _asked(tree: ast.AST, imports: dict[str, Place]) -> list[Place]:
    """What code asks of other modules: names that it imports from them, and attributes of those that it imports."""
    found = [imports[name] for name in _names(tree) if name in imports and imports[name][1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, name = imports.get(node.value.id, ("", "other"))
            if module and not name:
                found.append((module, node.attr))
    return found


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _imports(tree: ast.AST) -> dict[str, Place]:
    """What of the package a name stands for: a module (its second part is empty), or something of one."""
    found: dict[str, Place] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(_PACKAGE):
            continue
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            is_module = node.module == _PACKAGE and find_spec(module) is not None
            found[alias.asname or alias.name] = (module, "") if is_module else (str(node.module), alias.name)
    return found


@cache
def _module(name: str) -> tuple[dict[str, ast.stmt], dict[str, Place]]:
    """The statements at the top of a module by the names that they define, and what it imports of the package."""
    found = find_spec(name)
    if found is None or not found.origin:
        return {}, {}
    tree = ast.parse(Path(found.origin).read_text("utf-8"))
    tops: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            tops[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            tops.update({name: node for target in targets for name in _names(target)})
    return tops, _imports(tree)
