"""The parameters that a notebook declares: one line each, read without running anything.

A line is `name: type = literal  # unit, low..high | description`; unit, bounds and description may be left out.
Without a value (`name: type`) the parameter has to be given.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from dataclasses import dataclass
from typing import Any

NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")
TYPES = ("int", "float", "str", "bool", "list[str]", "list[float]", "dict")
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_SHELLS = frozenset(
    {"sh", "bash", "ash", "dash", "zsh", "ksh", "fish", "busybox", "env", "sudo", "su", "eval", "xargs"}
)
_BOUNDS = re.compile(r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)?\.\.(-?\d+(?:\.\d+)?(?:e-?\d+)?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a runbook.

    Attributes
    ----------
    name, type : str
        The type is one of `TYPES`.
    default : Any
        The value where none is given; meaningless when `required`.
    required : bool
        Whether a value has to be given.
    unit : str
        The unit of the value; empty when it has none.
    low, high : float or None
        The bounds, both allowed; of a list, those of every item.
    description : str
        What it is for.
    """

    name: str
    type: str
    default: Any = None
    required: bool = False
    unit: str = ""
    low: float | None = None
    high: float | None = None
    description: str = ""

    def problem(self, value: Any) -> str | None:
        """Why `value` is none that this parameter takes, as the end of a sentence; None where it is one."""
        if not _fits(self.type, value):
            return f"must be {self.type}, not {_shown(value)}"
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if self.low is not None and number < self.low:
                return f"must be at least {self.low:g}{self._suffix}, not {number!r}"
            if self.high is not None and number > self.high:
                return f"must be at most {self.high:g}{self._suffix}, not {number!r}"
        return None

    @property
    def _suffix(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def document(self) -> dict[str, Any]:
        """This parameter as JSON."""
        return {
            "name": self.name,
            "type": self.type,
            "default": self.default,
            "required": self.required,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "description": self.description,
        }


def declared(source: str) -> tuple[list[Parameter], list[str]]:
    """The parameters that a cell declares, and every mistake in it.

    Parameters
    ----------
    source : str
        The cell's code; it is parsed, never run.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return [], [f"the parameters cell is not Python: {error}"]
    comments = _comments(source)
    found: list[Parameter] = []
    mistakes: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            mistakes.append(f"line {node.lineno}: only `name: type = literal` may stand in the parameters cell")
            continue
        parameter, problem = _parameter(node, node.target.id, comments.get(node.end_lineno or node.lineno, ""))
        if parameter is None:
            mistakes.append(problem)
        elif parameter.name in {other.name for other in found}:
            mistakes.append(f"{parameter.name}: declared twice")
        else:
            found.append(parameter)
    return found, mistakes


def problem(words: list[str]) -> str | None:
    """Why a command that a runbook declares for pods is none; None where it is one.

    It is a list of words, the first of them a program that is no shell and runs no other.
    """
    if not words or not all(words):
        return "a command is a list of words, none of them empty"
    if PLACEHOLDER.search(words[0]):
        return "the program itself may be no placeholder"
    if words[0].rpartition("/")[2] in _SHELLS:
        return f"{words[0]} runs other programs: declare the program itself"
    return None


def _parameter(node: ast.AnnAssign, name: str, comment: str) -> tuple[Parameter | None, str]:
    """The parameter that one assignment declares, or what is wrong with it."""
    kind = ast.unparse(node.annotation).replace(" ", "")
    if not NAME.fullmatch(name):
        return None, f"{name}: a name has small letters, digits and underscores only"
    if kind not in TYPES:
        return None, f"{name}: the type must be one of {', '.join(TYPES)}, not {kind}"
    unit, low, high, description = _remark(comment)
    default: Any = None
    if node.value is not None:
        try:
            default = ast.literal_eval(node.value)
        except (ValueError, TypeError, MemoryError, RecursionError):
            return None, f"{name}: the value must be a literal"
        if kind == "float" and isinstance(default, int) and not isinstance(default, bool):
            default = float(default)
    parameter = Parameter(name, kind, default, node.value is None, unit, low, high, description)
    problem = parameter.problem(default) if node.value is not None else None
    return (None, f"{name}: the default {problem}") if problem else (parameter, "")


def _remark(comment: str) -> tuple[str, float | None, float | None, str]:
    """Unit, bounds and description out of `unit, low..high | description`."""
    facts, _, description = comment.partition("|")
    low: float | None = None
    high: float | None = None
    units = []
    for fact in (part.strip() for part in facts.split(",")):
        bounds = _BOUNDS.fullmatch(fact)
        if bounds and fact != "..":
            low, high = (float(bound) if bound else None for bound in bounds.groups())
        elif fact:
            units.append(fact)
    return ", ".join(units), low, high, description.strip()


def _comments(source: str) -> dict[int, str]:
    """The comment of each line, by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _fits(kind: str, value: Any) -> bool:
    """Whether `value` is of the declared type, strictly: True is no int, "7" is none either."""
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "str":
        return isinstance(value, str)
    if kind == "dict":
        return isinstance(value, dict)
    item = kind.removeprefix("list[").removesuffix("]")
    return isinstance(value, list) and all(_fits(item, one) for one in value)


def _shown(value: Any) -> str:
    """A value as a mistake quotes it: its type, and its text when that is short."""
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else f"{type(value).__name__} {text[:57]}..."
