"""What a seal states: every file of the record, the journal's head, and what it all came from."""

from __future__ import annotations

import datetime as dt
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opslib import store
from opslib.canonical import canonical, digest, file_digest
from opslib.record import archive, redaction, signing
from opslib.settings import PROJECT, Settings
from opslib.sql import queries

_GIT_S = 5.0


def build(
    settings: Settings,
    connection: store.Connection,
    incident: dict[str, Any],
    files: dict[str, str],
    *,
    number: int,
    previous: str | None,
    at: dt.datetime,
) -> dict[str, Any]:
    """The in-toto statement about an incident, whose journal has been exported up to its head.

    Parameters
    ----------
    settings : Settings
    connection : Connection
        Its transaction holds the incident's row.
    incident : dict
        A row of `incidents`.
    files : dict
        Digest by name of every file but the journal and the seals, as the journal knows them.
    number : int
        The how many-th seal of the incident this is.
    previous : str or None
        SHA-256 of the seal before.
    at : datetime
        When it is sealed.
    """
    folder = archive.folder(settings, incident)
    facts = {"incident": incident["id"]}
    sql = queries("log")
    runs = connection.execute(sql.runs, facts).fetchall()
    alerts = connection.execute(sql.alerts, facts).fetchall()
    data = (folder / archive.JOURNAL).read_bytes()
    journal = {
        "seq": incident["journal_seq"],
        "head": incident["journal_head"],
        "bytes": len(data),
        "sha256": digest(data),
    }
    return {
        "_type": signing.STATEMENT,
        "predicateType": signing.PREDICATE,
        "subject": [
            {"name": archive.JOURNAL, "digest": {"sha256": journal["sha256"]}},
            *({"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(files.items())),
        ],
        "predicate": {
            "incident": incident["id"],
            "folder": incident["folder"],
            "state": incident["state"],
            "number": number,
            "previous": previous,
            "at": at,
            "journal": journal,
            "alerts": {
                "count": len(alerts),
                "sha256": digest(canonical([alert["payload"] for alert in alerts])),
            },
            "runs": [_run(settings, run) for run in runs],
            "plans": connection.execute(sql.plans, facts).fetchall(),
            "approvals": connection.execute(sql.decisions, facts).fetchall(),
            "policy": _digest_of(settings.params / "policy.yaml"),
            "lock": _digest_of(PROJECT / "requirements.lock"),
            "code": code(),
        },
    }


def _run(settings: Settings, run: dict[str, Any]) -> dict[str, Any]:
    parameters = run.pop("parameters")
    return {**run, "parameters": redaction.default(settings)(parameters)}


def _digest_of(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": file_digest(path) if path.is_file() else None}


@cache
def code() -> dict[str, Any]:
    """The version of this project, and, in a git checkout, its commit and whether files differ from it."""
    facts: dict[str, Any] = {"version": version("runbooks"), "commit": None, "changed": None}
    if (PROJECT / ".git").exists():
        commit = _git("rev-parse", "HEAD")
        if commit:
            facts["commit"] = commit
            facts["changed"] = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return facts


def _git(*words: str) -> str | None:
    """What git answers, or None where it does not."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(PROJECT), *words], capture_output=True, text=True, timeout=_GIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
