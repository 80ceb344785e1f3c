"""Every action that there is, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opslib.actions.action import Action
from opslib.actions.crypto import EmergencyReduce, RefreshVolatility, SetKelly
from opslib.actions.files import KillSwitchOff, KillSwitchOn, RemoveFile, WriteJson
from opslib.actions.postgres_indexes import CreateIndex, DropIndex
from opslib.actions.postgres_rows import DeleteOldRows
from opslib.actions.postgres_sessions import TerminateSessions
from opslib.actions.postgres_settings import SetSetting
from opslib.actions.postgres_upkeep import Analyze, Reindex, Vacuum
from opslib.errors import ParameterError

ACTIONS: dict[str, type[Action]] = {
    action.name: action
    for action in (
        Analyze,
        CreateIndex,
        DeleteOldRows,
        DropIndex,
        EmergencyReduce,
        KillSwitchOff,
        KillSwitchOn,
        RefreshVolatility,
        Reindex,
        RemoveFile,
        SetKelly,
        SetSetting,
        TerminateSessions,
        Vacuum,
        WriteJson,
    )
}


def make(name: str, arguments: Mapping[str, Any]) -> Action:
    """The action of that name with its arguments.

    Raises
    ------
    ParameterError
        When there is no such action, or the arguments do not validate.
    """
    if name not in ACTIONS:
        raise ParameterError(f"there is no action {name!r}; known: {', '.join(sorted(ACTIONS))}")
    return ACTIONS[name](arguments)
