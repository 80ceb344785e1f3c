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
from opslib.errors import RunbookError
from opslib.record import archive
from opslib.runs import catalogue, parameters
from opslib.runs.catalogue import Runbook
from opslib.runs.formats import nbformat
from opslib.settings import Settings

KERNEL = "runbook"
_OF = "working_copy"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CopyOf:
    """What a notebook is a working copy of."""

    runbook: str
    platform: str


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
    return CopyOf(str(facts["runbook"]), str(facts["platform"]))


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
