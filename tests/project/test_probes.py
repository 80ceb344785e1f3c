"""Every probe is documented, with its arguments, and reachable from a notebook."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from opslib import probes
from opslib.probes import registry
from opslib.probes.__main__ import page

PROJECT = Path(__file__).resolve().parents[2]


def test_the_page_of_probes_is_the_one_that_is_printed() -> None:
    written = (PROJECT / "docs" / "probes.md").read_text("utf-8")
    assert written == page(), "run: python -m opslib.probes > docs/probes.md"


@pytest.mark.parametrize("name", registry.names())
def test_every_probe_is_explained(name: str) -> None:
    assert len(inspect.getdoc(registry.find(name).function) or "") > 15


class Asked(list[str]):
    """What stands behind `ops`: the names of the probes that were asked."""

    def probe(self, name: str, /, **arguments: Any) -> Any:
        inspect.signature(registry.find(name).function).bind(None, **arguments)
        self.append(name)
        raise NotImplementedError


def test_every_probe_can_be_called_from_a_notebook() -> None:
    asked = Asked()
    names = [found.name for found in pkgutil.iter_modules(probes.__path__) if found.name.startswith("calls")]
    for module in (import_module(f"opslib.probes.{name}") for name in names):
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                _call_all(kind, asked)
    assert set(registry.names()) - set(asked) == set()


def _call_all(kind: type, asked: Asked) -> None:
    """Call every method with something for each argument it needs."""
    if list(inspect.signature(kind.__init__).parameters) != ["self", "ops"]:
        return
    things = kind(asked)
    for name, method in inspect.getmembers(things, inspect.ismethod):
        if name.startswith("_"):
            continue
        needed = [p for p in inspect.signature(method).parameters.values() if p.default is inspect.Parameter.empty]
        given = [{} if "dict" in str(p.annotation) or "Mapping" in str(p.annotation) else ["x"] if "Sequence" in
                 str(p.annotation) else 1 if "float" in str(p.annotation) else "x"
                 for p in needed if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]  # fmt: skip
        with pytest.raises(NotImplementedError):
            method(*given)
