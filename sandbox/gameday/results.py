"""The results of a game day, kept round by round, so that one that was cut off goes on where it was."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opslib.record import archive
from opslib.settings import PROJECT, Settings
from sandbox.gameday.rounds import Round

__all__ = ["Results", "begin", "code"]


@dataclass
class Results:
    """What was asked for and what came of it.

    Attributes
    ----------
    path : Path
    asked : dict
        only, seeds, decoys, healthy, faults, code: a game day goes on only where all of these are the same.
    begun_at : str
        RFC 3339.
    rounds : dict
        Score by the name of the round.
    ended : bool
        Whether every round was played.
    """

    path: Path
    asked: dict[str, Any]
    begun_at: str
    rounds: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: bool = False

    def keep(self, one: Round, told: Mapping[str, Any]) -> None:
        """Keep the score of a round."""
        self.rounds[one.name] = dict(told)
        self.save()

    def save(self) -> None:
        """Write the file."""
        facts = {name: getattr(self, name) for name in ("asked", "begun_at", "rounds", "ended")}
        archive.write_atomic(self.path, json.dumps(facts, indent=1).encode(), mode=0o600)


def begin(path: Path, asked: Mapping[str, Any], *, anew: bool = False) -> Results:
    """The results of a game day that was cut off and asked for the same, else of a new one.

    Where no seed is asked for, that of the one that was cut off counts as the same.
    """
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    found = None if anew else _read(path)
    if found is None or found["ended"]:
        return Results(path, dict(asked), now)
    before: dict[str, Any] = found["asked"]
    same = all(before.get(name) == value for name, value in asked.items() if name not in ("seeds", "any_seed"))
    if not same or (before.get("seeds") != asked["seeds"] and not (asked["any_seed"] and before.get("any_seed"))):
        return Results(path, dict(asked), now)
    return Results(path, before, found["begun_at"], found["rounds"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if {"asked", "begun_at", "rounds", "ended"} <= found.keys() else None


def code(settings: Settings) -> str:
    """A digest of all that a score depends on: playbooks, parameters, and the code."""
    digest = hashlib.sha256()
    folders = (settings.notebooks, settings.params, *(PROJECT / name for name in ("opslib", "engine", "sandbox")))
    for folder in folders:
        for path in sorted(_sources(folder)):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(folder: Path) -> Sequence[Path]:
    kinds = (".py", ".ipynb", ".yaml", ".yml", ".sql")
    return [path for path in folder.rglob("*") if path.suffix in kinds and "__pycache__" not in path.parts]
