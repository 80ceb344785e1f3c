"""The page of names: printed, short, and every name of it there for a playbook's author, and none left out."""

from __future__ import annotations

import inspect
import re

import opslib
from opslib import diagnosis, errors, names, pictures, tables
from opslib.ops import Ops
from opslib.probes import calls, calls_files, calls_kubernetes, calls_postgres
from opslib.record.shown import Plan
from opslib.settings import PROJECT

WRITTEN = (PROJECT / "docs" / "names.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `(.+?)` \| (.*) \|$", WRITTEN, re.MULTILINE))


def public(thing: object) -> set[str]:
    """The public names of a class or an object."""
    return {name for name in vars(thing) if not name.startswith("_")}


def named(prefix: str) -> set[str]:
    """The names of the page under a prefix, without their arguments."""
    return {name.removeprefix(prefix).partition("(")[0] for name in ROWS if name.startswith(prefix)}


def test_the_page_of_names_is_the_one_that_is_printed() -> None:
    assert names.page() == WRITTEN, "run: python -m opslib.names > docs/names.md"


def test_it_is_one_page_and_says_something_of_each_name() -> None:
    assert len(WRITTEN.splitlines()) <= 80
    assert all(len(text) > 5 for text in ROWS.values())
    assert "(docs/names.md)" in (PROJECT / "README.md").read_text("utf-8")


def test_every_name_of_a_notebook_is_on_it_and_no_other() -> None:
    told = {name: set(re.findall(r"`(\w+)`", text)) for name, text in ROWS.items()}
    modules = (calls, calls_files, calls_kubernetes, calls_postgres)
    kinds = {one for module in modules for one in vars(module).values() if inspect.isclass(one) and _asks(one)}
    probes = {one.__name__.lower(): public(one) for one in kinds}
    assert {name.removeprefix("ops."): told[name] for name in told if name.removeprefix("ops.") in probes} == probes
    assert named("ops.") == public(Ops) | {*probes, "context", "unseen"}
    methods = {name for name, one in vars(diagnosis.Diagnosis).items() if inspect.isfunction(one)}
    assert named("case.") == {name for name in methods if not name.startswith("_")}
    assert named("plan.") == public(Plan)
    assert {*diagnosis.__all__} - {"Diagnosis"} <= {name.partition("(")[0] for name in ROWS}
    for module in (tables, pictures):
        own = {
            name for name, one in vars(module).items() if inspect.isfunction(one) and one.__module__ == module.__name__
        }
        assert named(f"{module.__name__.rpartition('.')[2]}.") == {name for name in own if not name.startswith("_")}
    assert all(hasattr(errors, name) for name in told["opslib.errors"])
    assert opslib.__all__ == ["Ops", "connect"]


def _asks(kind: type) -> bool:
    """Whether it is one of the systems of `ops`: made of it, and of nothing else."""
    made = vars(kind).get("__init__")
    return made is not None and [*inspect.signature(made).parameters] == ["self", "ops"]


def test_every_name_that_the_playbooks_use_is_on_it() -> None:
    used = set()
    for notebook in (PROJECT / "notebooks").rglob("*.ipynb"):
        used |= set(re.findall(r"\b((?:ops|case)\.[a-z_]+(?:\.[a-z_]+)?)\b", notebook.read_text("utf-8")))
    known = set()
    for name, text in ROWS.items():
        known |= {name.partition("(")[0], *(f"{name}.{one}" for one in re.findall(r"`(\w+)`", text))}
    assert used - known == set()
