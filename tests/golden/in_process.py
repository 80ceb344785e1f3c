"""Today's playbook on a golden record, in this process: with another alert, or with a probe that fails.

The notebook's `ops` is the real one, and what answers it is the real replay over its real socket; only the kernel is
missing, so that a hundred runs take a minute.
"""

from __future__ import annotations

import ast
import io
import warnings
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from typing import Any

import nbformat
import pytest

from opslib import platforms
from opslib.canonical import canonical, plain
from opslib.errors import NoEvidence, PlanError, ProbeError
from opslib.record import wire
from opslib.record.archived import ArchivedRun, runs_in
from opslib.record.replay import ReplaySession
from opslib.record.serving import Answer
from opslib.runs import catalogue, parameters
from opslib.settings import PROJECT, Settings
from tests.golden import FOLDER

FAILS = "does not answer in this test"
BESIDE = ("clock.now", "random.numbers")  # the recorder's own, which ask no server
ARCHIVED: Any = object()  # the alert of the record
MOST = 6  # calls of one probe that fail by themselves
_CODE: dict[str, list[list[Callable[[dict[str, Any]], Any]]]] = {}


@dataclass(frozen=True)
class Shown:
    """What a playbook came to.

    Attributes
    ----------
    verdict : dict
    text : str
        What it printed and displayed.
    layouts : list of str
        What of it is HTML.
    proposed : list of list of dict
        `action` and `arguments` of each action that it proposed.
    failed : int
        How often it asked what was made to fail.
    early : bool
        Whether it asked that before it concluded.
    """

    verdict: dict[str, Any]
    text: str
    layouts: list[str]
    proposed: list[list[dict[str, Any]]]
    failed: int
    early: bool

    @property
    def known(self) -> bool:
        """Whether it could tell if the alert is true."""
        return not self.verdict["summary"].startswith("Not known")

    @property
    def held(self) -> set[str]:
        """The causes that it takes for at least as likely as not."""
        return {cause["key"] for cause in self.verdict["causes"] if cause["likelihood"] >= 0.5}


class FailingSession(ReplaySession):
    """A replay in which a system, a probe or one call of it fails, and a plan without a preview is refused.

    Parameters
    ----------
    settings : Settings
    archived : ArchivedRun
    values : dict
        The parameters of the run.
    fails : str
        As `call` names it; empty: nothing fails.
    """

    def __init__(self, settings: Settings, archived: ArchivedRun, values: dict[str, Any], fails: str) -> None:
        self.fails = fails
        self.failed = 0
        self.early = False
        super().__init__(settings, archived, values, other=True)

    def _probe(self, request: dict[str, Any]) -> Answer:
        if self.fails not in call(str(request.get("probe")), request.get("arguments") or {}):
            return super()._probe(request)
        self.failed += 1
        self.early = self.early or self.verdict is None
        try:
            (answer, _) = super()._probe(request)
        except NoEvidence as error:
            raise ProbeError(f"{self.fails} {FAILS}") from error
        # As the recorder does: what could not be seen is evidence too.
        raise ProbeError(f"{self.fails} {FAILS}", evidence=answer["evidence"])

    def _propose(self, request: dict[str, Any]) -> Answer:
        try:
            return super()._propose(request)
        except NoEvidence as error:
            raise PlanError(f"no preview: {error}") from error


def call(probe: str, arguments: dict[str, Any]) -> tuple[str, str, str]:
    """The system that is asked, the probe with it as a notebook declares them, and this very call of it."""
    system = arguments.get("system")
    name = f"{probe}@{system}" if system else probe
    return str(system or probe.partition(".")[0]), name, f"{name}({canonical(plain(arguments)).decode()})"


def archived(name: str) -> ArchivedRun:
    """The run of a golden record."""
    (run,) = runs_in(FOLDER / name)
    return run


def failures(name: str) -> list[str]:
    """What can fail in a golden record: each system, each of its probes, and each call of these where they differ."""
    answered = [body for body in archived(name).answers.values() if body["ok"] and body["probe"] not in BESIDE]
    asked = [call(body["probe"], body["arguments"]) for body in answered]
    found = {system for system, _, _ in asked}
    for place, most in ((1, None), (2, MOST)):
        for whole in {one[place - 1] for one in asked}:
            parts = sorted({one[place] for one in asked if one[place - 1] == whole})
            found.update(parts[:most] if len(parts) > 1 else ())  # the only part fails with its whole
    return sorted(found)


def show(
    home: Settings, name: str, monkeypatch: pytest.MonkeyPatch, *, fails: str = "", alert: Any = ARCHIVED
) -> Shown:
    """Run today's playbook of a golden record on its evidence.

    Parameters
    ----------
    home : Settings
        Where the sockets are.
    name : str
        Of the golden record.
    monkeypatch : pytest.MonkeyPatch
        Tells the notebook where it is answered.
    fails : str
        What fails, as `call` names it.
    alert : Any
        In place of the archived one: whatever an engineer writes into the cell of the parameters.
    """
    run = archived(name)
    own = Settings(params=PROJECT / "params", notebooks=PROJECT / "notebooks")
    runbook, platform = catalogue.find(own, run.facts["runbook"]), platforms.load(own, run.facts["platform"])
    values = parameters.resolve(runbook, platform, run.requested, run.alert)
    given = run.alert if alert is ARCHIVED else alert
    printed, layouts = io.StringIO(), list[str]()

    def display(*values: Any) -> None:
        """Lay out what a cell shows, as text or HTML; pictures are made, not drawn."""
        for value in values:
            html = value._repr_html_() if hasattr(value, "_repr_html_") else None
            layouts.extend([html] if html else [])
            print(html or repr(value))

    with closing(FailingSession(home, run, values, fails)) as session, warnings.catch_warnings():
        warnings.simplefilter("default")
        monkeypatch.setenv(wire.SOCKET, str(session.path))
        names: dict[str, Any] = {"__name__": "__main__", "display": display}
        try:
            with redirect_stdout(printed):
                for number, cell in enumerate(_cells(runbook)):
                    for part in cell:
                        part(names)
                    if number == 0:  # the parameters cell comes first
                        names |= {**values, "alert": given}
        finally:
            if "ops" in names:
                names["ops"].close()
    assert session.verdict is not None, "it concluded nothing"
    return Shown(session.verdict, printed.getvalue(), layouts, session.answers.proposed, session.failed, session.early)


def _cells(runbook: catalogue.Runbook) -> list[list[Callable[[dict[str, Any]], Any]]]:
    """What each code cell does; as IPython does it, the value of its last line is displayed."""
    if runbook.name not in _CODE:
        notebook = nbformat.read(runbook.path, as_version=4)
        sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        _CODE[runbook.name] = [_parts(source, f"{runbook.name}[{place}]") for place, source in enumerate(sources)]
    return _CODE[runbook.name]


def _parts(source: str, name: str) -> list[Callable[[dict[str, Any]], Any]]:
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    code = compile(tree, name, "exec")
    parts: list[Callable[[dict[str, Any]], Any]] = [lambda names: exec(code, names)]
    if isinstance(last, ast.Expr):
        value = compile(ast.Expression(last.value), name, "eval")
        parts.append(lambda names: _shown(eval(value, names), names))
    return parts


def _shown(value: Any, names: dict[str, Any]) -> None:
    if value is not None:
        names["display"](value)
