"""Running a notebook on archived evidence: the archived notebook again (replay), or today's (backtest).

Nothing is asked of a platform or of the database, and nothing is written into the record.
"""

# nbformat has no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from opslib import platforms
from opslib.record import redaction
from opslib.record.archived import ArchivedRun
from opslib.record.replay import ReplaySession
from opslib.runs import catalogue, comparison, kernels, parameters
from opslib.runs.cells import Stop
from opslib.runs.comparison import Difference
from opslib.runs.engine import Recording, RunbookEngine, RunFailed
from opslib.runs.formats import NotebookNode, nbformat
from opslib.runs.notebook import BANNER, named
from opslib.settings import Settings

__all__ = ["Replayed", "backtest", "replay"]


@dataclass(frozen=True)
class Replayed:
    """A run as archived, and what came of running a notebook on its evidence.

    Attributes
    ----------
    archived : ArchivedRun
    state, error : str
        How the notebook ended now, and why where it did not succeed.
    verdict : dict or None
    differences : list of Difference
        Between the verdicts.
    cells : list of (int, str, Difference or None)
        Of a replay: index, the cell for a reader, how it differs.
    plans : (list, list)
        Actions with their arguments, archived and proposed now.
    missing : list of str
        Calls that have no evidence.
    unused : list of str
        Evidence that was not asked for.
    took_s : float
    notebook : NotebookNode
        As it was executed now.
    """

    archived: ArchivedRun
    state: str
    error: str
    verdict: dict[str, Any] | None
    differences: list[Difference]
    cells: list[tuple[int, str, Difference | None]]
    plans: tuple[list[Any], list[Any]]
    missing: list[str]
    unused: list[str]
    took_s: float
    notebook: NotebookNode

    @property
    def same_plans(self) -> bool:
        """Whether the same was proposed."""
        return self.plans[0] == self.plans[1]

    @property
    def same(self) -> bool:
        """Whether verdict, plans, cells and ending are as archived."""
        as_then = self.state == self.archived.state and not self.differences and self.same_plans
        return as_then and not any(difference for _, _, difference in self.cells)

    @property
    def changed(self) -> bool:
        """Whether another cause is named, or the alert judged otherwise."""
        return _judgement(self.archived.verdict) != _judgement(self.verdict)


def replay(settings: Settings, archived: ArchivedRun, *, stop: Stop | None = None) -> Replayed:
    """Run the archived notebook again on its evidence, and compare.

    Raises
    ------
    RunbookError, OSError
        When the notebook cannot be read, or no kernel can be started.
    """
    before = nbformat.read(archived.notebook, as_version=4)
    again = copy.deepcopy(before)
    again.cells = [cell for cell in again.cells if BANNER not in cell.metadata.get("tags", [])]
    facts = dict(before.metadata.get("runbook", {}))
    bounds = (facts.get("cell_timeout_s"), facts.get("run_timeout_s"), bool(facts.get("card")))
    with closing(ReplaySession(settings, archived)) as session:
        begun = time.monotonic()
        state, error = _execute(settings, session, again, bounds, stop)
        found = [(index, named(before, index), difference) for index, _, difference in comparison.cells(before, again)]
        return _told(archived, session, again, (state, error), found, time.monotonic() - begun)


def backtest(settings: Settings, archived: ArchivedRun, *, stop: Stop | None = None) -> Replayed:
    """Run today's notebook of the same runbook, with today's parameters of the platform, on the archived evidence.

    Raises
    ------
    UnknownRunbook, ConfigurationError, ParameterError
        When there is no such runbook or platform any more, or it does not take what was asked for then.
    """
    runbook = catalogue.find(settings, archived.facts["runbook"])
    where = platforms.load(settings, archived.facts["platform"])
    resolved = parameters.resolve(runbook, where, archived.requested, archived.alert or None)
    notebook = _parameterised(nbformat.read(runbook.path, as_version=4), resolved)
    bounds = (runbook.cell_timeout_s, runbook.run_timeout_s, runbook.card)
    with closing(ReplaySession(settings, archived, resolved, other=True)) as session:
        begun = time.monotonic()
        state, error = _execute(settings, session, notebook, bounds, stop)
        return _told(archived, session, notebook, (state, error), [], time.monotonic() - begun)


def _execute(
    settings: Settings,
    session: ReplaySession,
    notebook: NotebookNode,
    bounds: tuple[float | None, float | None, bool],
    stop: Stop | None,
) -> tuple[str, str]:
    """Run a notebook in a confined kernel that reaches the session alone; how it ended, and why."""
    cell_s, run_s, card = bounds
    with kernels.started(settings, ops_socket=str(session.path), card=card) as kernel:
        recording = Recording(
            None,
            cell_timeout_s=cell_s or settings.cell_timeout_s,
            run_timeout_s=run_s or settings.run_timeout_s,
            redact=redaction.default(settings),
            stop=stop or Stop(),
            kernel=kernel,
        )
        try:
            RunbookEngine.execute_notebook(notebook, "python3", recording=recording)
        except RunFailed as error:
            return error.state, str(error)
    return "succeeded", ""


def _told(
    archived: ArchivedRun,
    session: ReplaySession,
    notebook: NotebookNode,
    ended: tuple[str, str],
    cells: list[tuple[int, str, Difference | None]],
    took_s: float,
) -> Replayed:
    planned = [proposal.actions for proposal in archived.proposals]
    return Replayed(
        archived=archived,
        state=ended[0],
        error=ended[1],
        verdict=session.verdict,
        differences=[*comparison.differences(_bare(archived.verdict), _bare(session.verdict))],
        cells=cells,
        plans=(planned, session.answers.proposed),
        missing=session.answers.missing,
        unused=sorted({body["id"] for body in archived.answers.values()} - session.answers.used),
        took_s=round(took_s, 3),
        notebook=notebook,
    )


def _parameterised(notebook: NotebookNode, values: dict[str, Any]) -> NotebookNode:
    """A notebook with the values of its parameters in a cell after theirs, as a run gets them."""
    from papermill.parameterize import parameterize_notebook

    notebook.metadata.setdefault("papermill", {})  # papermill looks for these without asking
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    ready: NotebookNode = parameterize_notebook(notebook, values, kernel_name="python3", language="python")
    return ready


def _bare(verdict: dict[str, Any] | None) -> dict[str, Any] | None:
    """A verdict without its plan, which is compared by itself."""
    return None if verdict is None else {name: value for name, value in verdict.items() if name != "plan"}


def _judgement(verdict: dict[str, Any] | None) -> tuple[Any, Any]:
    return (None, None) if verdict is None else (verdict["confirmed"], verdict.get("cause"))
