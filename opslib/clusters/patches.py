"""Patches that the server takes only if the object is still the one meant, and the objects that come of them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CONTENT = "application/json-patch+json"
Operation = dict[str, Any]


def escaped(name: str) -> str:
    """A key as a step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def of(thing: Mapping[str, Any], operations: Iterable[Operation]) -> list[Operation]:
    """Operations on this very object in this very generation: the server refuses them for another."""
    meta = thing["metadata"]
    tests: list[Operation] = [{"op": "test", "path": "/metadata/uid", "value": meta["uid"]}]
    if meta.get("generation") is not None:
        tests.append({"op": "test", "path": "/metadata/generation", "value": meta["generation"]})
    return [*tests, *operations]


def put(thing: Mapping[str, Any], path: Sequence[str], value: Any) -> list[Operation]:
    """Set a value at a path of names; the mappings on the way are made where they are missing."""
    found: Any = thing
    for depth, step in enumerate(path[:-1]):
        if not isinstance(found, Mapping) or found.get(step) is None:
            for name in reversed(path[depth + 1 :]):
                value = {name: value}
            return [{"op": "add", "path": _pointer(path[: depth + 1]), "value": value}]
        found = found[step]
    return [{"op": "add", "path": _pointer(path), "value": value}]


def drop(thing: Mapping[str, Any], path: Sequence[str]) -> list[Operation]:
    """Remove what stands at a path of names; nothing where nothing does."""
    found: Any = thing
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return []
        found = found[step]
    return [{"op": "remove", "path": _pointer(path)}]


def applied(thing: Mapping[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """What comes of operations, without the server and the defaults that it sets."""
    changed = copy.deepcopy(dict(thing))
    for operation in operations:
        if operation["op"] == "test":
            continue
        *way, last = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]]
        found: Any = changed
        for step in way:
            found = found[int(step)] if isinstance(found, list) else found[step]
        if isinstance(found, list):
            _in_list(found, last, operation)
        elif operation["op"] == "remove":
            found.pop(last, None)
        else:
            found[last] = operation["value"]
    return changed


def _in_list(found: list[Any], last: str, operation: Operation) -> None:
    if operation["op"] == "remove":
        del found[int(last)]
    elif last == "-":
        found.append(operation["value"])
    elif operation["op"] == "replace":
        found[int(last)] = operation["value"]
    else:
        found.insert(int(last), operation["value"])


def _pointer(path: Sequence[str]) -> str:
    return "".join(f"/{escaped(step)}" for step in path)
