"""The scoreboard of a game day as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from opslib.record import archive

__all__ = ["matrices", "matrix", "words", "write"]

NOTHING = "nothing"


def write(path: Path, document: Mapping[str, Any]) -> Path:
    """Write the page of a game day's document."""
    template = files("sandbox.gameday").joinpath("scoreboard.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["words"] = words
    single = [*document["faults"], *document["unlisted"]]
    page = environment.from_string(template).render(
        matrices=matrices(single), broken=[*single, *document["pairs"]], **document
    )
    return archive.write_atomic(path, page.encode(), mode=0o600)


def words(named: str | Sequence[str] | None, nothing: str = NOTHING) -> str:
    """A cause, or several, in words."""
    return named if isinstance(named, str) and named else " + ".join(named or ()) or nothing


def matrices(faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One matrix for each playbook, sorted by name."""
    names = sorted({one["fault"].partition("/")[0] for one in faults})
    return [matrix(name, [one for one in faults if one["fault"].startswith(f"{name}/")]) for name in names]


def matrix(runbook: str, faults: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often each cause was named for each that was made.

    Returns
    -------
    dict
        `runbook`; `columns`: causes, those that were expected first; `rows`: (expected, counts by column).
    """
    expected = list(dict.fromkeys(one["expected"] for one in faults))
    named = [one["named"] or NOTHING for one in faults]
    columns = [*expected, *sorted(set(named) - set(expected) - {NOTHING}), NOTHING]
    rows = [
        (
            cause,
            [
                sum(one["expected"] == cause and (one["named"] or NOTHING) == column for one in faults)
                for column in columns
            ],
        )
        for cause in expected
    ]
    return {"runbook": runbook, "columns": columns, "rows": rows, "missing": all(one["missing"] for one in faults)}
