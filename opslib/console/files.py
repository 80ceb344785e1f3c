"""What lies in a record: the notebook as a page for a frame, evidence to read, and every file to take away."""

# nbformat has no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow
import pyarrow.parquet
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from opslib.canonical import file_digest
from opslib.console import views
from opslib.console.desk import Desk
from opslib.console.web import NOTEBOOK_POLICY, page, pretty, templates
from opslib.errors import NotFound
from opslib.record import archive, held, journal, remote
from opslib.runs import html
from opslib.runs.formats import nbformat
from opslib.sql import queries

_MOST_ROWS = 60
_MOST_TEXT = 400_000


def mount(root: APIRouter, desk: Desk) -> None:
    """Add the files to the console."""

    @root.get("/incidents/{incident}/runs/{number}/notebook.html")
    def notebook(request: Request, incident: str, number: int) -> Response:
        """A run's notebook, sanitised, for a frame in which nothing runs."""
        with desk.visit(request) as visit:
            row = views.find(visit.connection, incident)
            remote.fetch_shown(desk.settings, row)
            key = {"incident": incident, "number": number}
            run = visit.connection.execute(queries("console").run, key).fetchone()
            if run is None:
                raise NotFound(f"{incident} has no run {number}")
            source = views.notebook_file(desk.settings, row, run)
            entries = journal.entries(visit.connection, incident)
        headers = {"Content-Security-Policy": NOTEBOOK_POLICY}
        if source is None:
            waiting = templates().get_template("no_notebook.html").render({"run": run})
            return HTMLResponse(waiting, headers=headers)
        final = source.with_suffix(".html")
        if run["state"] not in ("waiting", "running"):
            whole = final.is_file() and not final.is_symlink()
            shown = final if whole else source
            if _is_altered(shown, entries):
                told = (
                    templates().get_template("altered_notebook.html").render({"incident": incident, "file": shown.name})
                )
                return HTMLResponse(told, headers=headers)
            if whole:
                return HTMLResponse(final.read_bytes(), headers=headers)
        return HTMLResponse(_rendered(str(source), source.stat().st_mtime_ns), headers=headers)

    @root.get("/incidents/{incident}/evidence/{identifier}")
    def evidence(request: Request, incident: str, identifier: str) -> Response:
        """One look at the platform: what was asked, what came back, and whether the file is as the journal says."""
        with desk.visit(request) as visit:
            view = views.incident(visit.connection, desk.settings, incident, visit.person)
        entry = next((one for one in view.evidence if one.get("id") == identifier), None)
        if entry is None:
            raise NotFound(f"{incident} has no evidence {identifier[:20]}")
        context: dict[str, Any] = {"incident": view.incident, "entry": entry, "person": visit.person}
        context |= {"form_key": visit.session.form_key, "holds": view.holds}
        path = _inside(desk, view.incident, str(entry.get("file", "")))
        context["intact"] = file_digest(path) == entry.get("sha256")
        return page("evidence.html", context | _contents(path))

    @root.get("/incidents/{incident}/files/{name:path}")
    def file(request: Request, incident: str, name: str) -> Response:
        """A file of the record, to be kept and not to be opened here."""
        with desk.visit(request) as visit:
            row = views.find(visit.connection, incident)
            remote.fetch_shown(desk.settings, row)
        path = _inside(desk, row, name)
        headers = {"Content-Security-Policy": "sandbox; default-src 'none'"}
        return FileResponse(path, filename=path.name, media_type="application/octet-stream", headers=headers)


def _is_altered(path: Path, entries: list[dict[str, Any]]) -> bool:
    """Whether the journal knows a file of the record, and with another digest; until it is told of, nobody can say."""
    expected = held.known_files(entries).get(path.name)
    return expected is not None and expected != file_digest(path)


def _inside(desk: Desk, incident: dict[str, Any], name: str) -> Path:
    """A plain file in the incident's folder.

    Raises
    ------
    NotFound
        For anything else: a file that is not there, a link, a way out of the folder.
    """
    folder = archive.folder(desk.settings, incident)
    if name not in archive.files(folder) or any(part.startswith(".") for part in PurePosixPath(name).parts):
        raise NotFound(f"the record of {incident['id']} has no such file")
    return folder / name


@lru_cache(maxsize=32)
def _rendered(path: str, changed_ns: int) -> str:  # noqa: ARG001 - part of the key: a notebook is saved again and again
    """The page of a notebook as saved at that moment."""
    return html.render(nbformat.read(path, as_version=4))


def _contents(path: Path) -> dict[str, Any]:
    """A file laid out for reading: a table for Parquet, text for the rest."""
    if path.suffix == ".parquet":
        try:
            return _table(path)
        except (pyarrow.ArrowException, OSError):
            return {"text": "It cannot be read as a table.", "columns": [], "rows": [], "more": 0, "request": ""}
    with path.open("rb") as file:
        text = pretty(file.read(_MOST_TEXT))
    return {"text": text, "columns": [], "rows": [], "more": max(0, path.stat().st_size - _MOST_TEXT), "request": ""}


def _table(path: Path) -> dict[str, Any]:
    """The newest rows of a Parquet file, which are its last, and what its metadata say about the request."""
    file = pyarrow.parquet.ParquetFile(path)
    groups = range(file.num_row_groups)
    last = file.read_row_group(groups[-1]) if groups else None
    rows = last.slice(max(0, last.num_rows - _MOST_ROWS)).to_pylist()[::-1] if last is not None else []
    facts = file.schema_arrow.metadata or {}
    told = {key.decode(): value.decode("utf-8", "replace") for key, value in facts.items() if key != b"pandas"}
    request = {key: pretty(value.encode()) for key, value in told.items() if not key.startswith("ARROW")}
    return {
        "columns": file.schema_arrow.names,
        "rows": [list(row.values()) for row in rows],
        "more": max(0, file.metadata.num_rows - len(rows)),
        "text": "",
        "request": json.dumps(request, indent=2, ensure_ascii=False) if request else "",
    }
