"""Working copies: what a person edits and runs in JupyterLab. The reference notebooks stay as they are.

A working copy has the platform's parameters filled in, as a run has, and says in its metadata what it is a copy of.
Copies that are there are left alone: what a person wrote is never written over. Each day has a folder of its own.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import structlog
from papermill.parameterize import parameterize_notebook

from opslib import platforms
from opslib.canonical import file_digest
from opslib.errors import NotFound, RunbookError
from opslib.record import archive, archived
from opslib.runs import catalogue, parameters
from opslib.runs.catalogue import Runbook
from opslib.runs.formats import nbformat
from opslib.settings import Settings

KERNEL = "runbook"
_OF = "working_copy"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CopyOf:
    """What a notebook is a working copy of.

    Attributes
    ----------
    runbook, platform : str
    incident, run : str or None, int or None
        The archived run that is investigated; None: of the runbook as it is.
    sha256 : str
        Of the archived notebook.
    """

    runbook: str
    platform: str
    incident: str | None = None
    run: int | None = None
    sha256: str = ""


def folder(settings: Settings) -> Path:
    """Where the working copies of all days lie."""
    return settings.state / "lab" / "notebooks"


def prepare(settings: Settings) -> Path:
    """Make today's working copies, of every runbook for every platform that it is for.

    Returns
    -------
    Path
        Today's folder, with a folder for each platform and an index.
    """
    today = folder(settings) / dt.datetime.now(dt.UTC).date().isoformat()
    today.mkdir(parents=True, exist_ok=True)
    rows = []
    for runbook in catalogue.runbooks(settings).values():
        for platform in platforms.names(settings):
            if runbook.platforms and not {platform, "*"} & set(runbook.platforms):
                continue
            try:
                path = _copy(settings, runbook, platform, today)
            except RunbookError as error:
                _log.warning("no working copy", runbook=runbook.name, platform=platform, why=str(error))
                continue
            where = path.relative_to(today).as_posix()
            rows.append(f"| {runbook.id} | [{runbook.title}]({where}) | {platform} | {runbook.respond_within} |")
    index = "\n".join(["# Runbooks", "", "| | runbook | platform | act within |", "|---|---|---|---|", *sorted(rows)])
    hint = (
        "\n\nThese are working copies: edit and run them as you like. Each kernel you start is a run on the record, in"
        " an incident of its own; it ends, and is sealed, when you shut the kernel down.\n"
    )
    archive.write_atomic(today / "index.md", (index + hint).encode())
    return today


def of(path: Path) -> CopyOf | None:
    """What a notebook is a working copy of; None: it is none, or cannot be read."""
    try:
        facts = nbformat.read(path, as_version=4).metadata.get(_OF, {})
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return None
    if not {"runbook", "platform"} <= set(facts):
        return None
    if "incident" not in facts:
        return CopyOf(str(facts["runbook"]), str(facts["platform"]))
    return CopyOf(**{name: facts[name] for name in ("runbook", "platform", "incident", "run", "sha256")})


def investigate(settings: Settings, incident: str, number: int | None = None) -> Path:
    """A working copy of an archived notebook, outputs included, which answers from its evidence until `ops.live()`.

    What is done in it becomes a run of its own of the same incident, which names the archived notebook; that stays as
    it is. A copy that is there is left alone.

    Parameters
    ----------
    settings : Settings
    incident : str
    number : int, optional
        Which run; the last one of a playbook where it is left out.

    Raises
    ------
    NotFound
        When there is no such record, or no such run in it.
    RecordError
        When the record was altered.
    """
    report = archived.checked(settings.home, incident)
    runs = archived.read(settings.home, incident)
    wanted = [run for run in runs if number in (None, run.facts["number"])]
    by_playbook = [run for run in wanted if run.facts["mode"] != "interactive"]
    if not wanted:
        raise NotFound(f"{incident} has no run {number or ''} that has ended; `runbook show {incident}` lists its runs")
    run = (by_playbook or wanted)[-1]
    archived.require_sealed(report, [run])
    digest = file_digest(run.notebook)
    place = folder(settings) / dt.datetime.now(dt.UTC).date().isoformat() / "investigate"
    path = place / f"{incident}-{run.notebook.name}"
    if path.exists():
        return path
    book = nbformat.read(run.notebook, as_version=4)
    kept = [cell for cell in book.cells if "runbook-investigate" not in cell.metadata.get("tags", [])]
    head = nbformat.v4.new_markdown_cell(
        f"**You investigate run {run.facts['number']} of {incident}.** What is below was put out then. Cells that you"
        " run again answer from the evidence of then, and what has none fails by name. `ops.live()` goes on with the"
        " platform itself. The archived notebook stays as it is: what you do here is a run of its own in the same"
        " incident, and is sealed when you shut the kernel down.",
        metadata={"tags": ["runbook-investigate"]},
    )
    book.cells = [head, *kept]
    book.metadata["kernelspec"] = {"name": KERNEL, "display_name": "Runbook", "language": "python"}
    for name in ("run", "papermill"):
        book.metadata.pop(name, None)
    facts = {"runbook": run.facts["runbook"], "platform": run.facts["platform"], "sha256": digest}
    book.metadata[_OF] = {**facts, "incident": incident, "run": run.facts["number"]}
    place.mkdir(parents=True, exist_ok=True)
    archive.write_atomic(path, nbformat.writes(book).encode())
    return path


def _copy(settings: Settings, runbook: Runbook, platform: str, today: Path) -> Path:
    """A working copy; a second one beside it when the runbook has changed since the first was made."""
    digest = file_digest(runbook.path)
    path = today / platform / f"{runbook.name}.ipynb"
    if path.exists():
        made_of = nbformat.read(path, as_version=4).metadata.get(_OF, {}).get("sha256")
        if made_of == digest:
            return path
        path = path.with_name(f"{runbook.name}.{digest[:8]}.ipynb")
        if path.exists():
            return path
    resolved = parameters.resolve(runbook, platforms.load(settings, platform), {}, None)
    source = nbformat.read(runbook.path, as_version=4)
    source.metadata.setdefault("papermill", {})  # papermill looks for these without asking
    for cell in source.cells:
        cell.metadata.setdefault("tags", [])
    comment = "as params/ has them"
    copy = parameterize_notebook(source, resolved, comment=comment, kernel_name="python3", language="python")
    for cell in copy.cells:
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
    copy.metadata.pop("papermill", None)
    copy.metadata["kernelspec"] = {"name": KERNEL, "display_name": "Runbook", "language": "python"}
    copy.metadata[_OF] = {"runbook": runbook.name, "platform": platform, "sha256": digest}
    path.parent.mkdir(exist_ok=True)
    archive.write_atomic(path, nbformat.writes(copy).encode())
    return path
