"""Rules left out: each guard of a module neutralised, one at a time, in a copy that is loaded under another name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

_NOTES = ("append", "must_be", "authority", "discard")  # calls that note a problem, refuse, or take somebody out


@dataclass(frozen=True)
class Mutant:
    """A module with one guard of it neutralised.

    Attributes
    ----------
    module : ModuleType
        The true one.
    name : str
        The function, what was done to its guard, and the guard: `held: never: not on hold`.
    tree : ast.Module
        What is loaded instead.
    """

    module: ModuleType
    name: str
    tree: ast.Module


def mutants(module: ModuleType, functions: Sequence[str]) -> list[Mutant]:
    """Every mutant of some functions of a module, by their names; all functions of a name are taken.

    Raises
    ------
    LookupError
        When the module has no function of a name: it would no longer be looked at.
    """
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    found = []
    known = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lacking = set(functions) - {node.name for node in known}
    if lacking:
        raise LookupError(f"{module.__name__} has no {', '.join(sorted(lacking))}")
    for function in (node for node in known if node.name in functions):
        for place, node in enumerate(ast.walk(function)):
            for number, (how, what, _) in enumerate(_changes(node)):
                copy = deepcopy(tree)
                (same,) = (one for one in ast.walk(copy) if _is(one, function))
                changed = list(ast.walk(same))[place]
                list(_changes(changed))[number][2]()
                found.append(Mutant(module, f"{function.name}: {how}: {ast.unparse(what)}", copy))
    return found


@contextmanager
def loaded(mutant: Mutant) -> Iterator[ModuleType]:
    """The mutant as a module beside the true one."""
    name = f"{mutant.module.__name__}_mutated"
    copy = ModuleType(name)
    copy.__file__ = mutant.module.__file__
    sys.modules[name] = copy  # pydantic looks annotations up there
    try:
        exec(compile(ast.fix_missing_locations(mutant.tree), str(copy.__file__), "exec"), copy.__dict__)
        yield copy
    finally:
        del sys.modules[name]


def _is(node: ast.AST, function: ast.FunctionDef) -> bool:
    return isinstance(node, ast.FunctionDef) and node.lineno == function.lineno


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST, Any]]:
    """How a node can be neutralised: the word for it, what it is done to, and what does it."""
    if isinstance(node, ast.If):
        yield "never", node.test, lambda: setattr(node, "test", ast.Constant(False))
        if isinstance(node.body[-1], ast.Return | ast.Continue):  # it lets off those after it
            yield "always", node.test, lambda: setattr(node, "test", ast.Constant(True))
    if isinstance(node, ast.IfExp):
        yield "never", node.test, lambda: setattr(node, "test", ast.Constant(False))
        yield "always", node.test, lambda: setattr(node, "test", ast.Constant(True))
    if isinstance(node, ast.comprehension):
        for index, test in enumerate(node.ifs):
            yield "all of them", test, lambda index=index: node.ifs.pop(index)
    if isinstance(node, ast.BoolOp) and not _default(node):
        for index, value in enumerate(node.values):
            passes = ast.Constant(isinstance(node.op, ast.And))
            yield "without", value, lambda index=index, passes=passes: node.values.__setitem__(index, passes)
    if isinstance(node, ast.Compare) and len(node.ops) > 1:  # low <= value <= high
        yield "from below", node, lambda: (node.ops.pop(0), setattr(node, "left", node.comparators.pop(0)))
        yield "from above", node, lambda: (node.ops.pop(), node.comparators.pop())
    for block in ("body", "orelse"):
        statements = getattr(node, block, None)
        if not isinstance(statements, list) or (isinstance(node, ast.If) and len(statements) == 1):
            continue  # a guard of one statement was neutralised with its condition
        for index, statement in enumerate(statements):
            if isinstance(statement, ast.AugAssign) or _notes(statement):
                yield "left out", statement, lambda at=statements, index=index: at.__setitem__(index, ast.Pass())


def _default(node: ast.BoolOp) -> bool:
    """Whether it only says what is taken where there is nothing, as `given or {}`."""
    plain = (ast.Constant, ast.JoinedStr, ast.Dict, ast.List, ast.Call)
    return isinstance(node.op, ast.Or) and isinstance(node.values[-1], plain)


def _notes(statement: ast.stmt) -> bool:
    """Whether a statement only notes a problem or refuses."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _NOTES
