"""Every action that there is, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opslib.actions.action import Action
from opslib.actions.crypto import EmergencyReduce, RefreshVolatility, SetKelly
from opslib.actions.redis import FailOver, KillClients, SetConfiguration
from opslib.actions.redis_keys import FlushPattern, TrimSeries
from opslib.errors import ParameterError

_CRYPTO: tuple[type[Action], ...] = (EmergencyReduce, RefreshVolatility, SetKelly)
_REDIS: tuple[type[Action], ...] = (FailOver, FlushPattern, KillClients, SetConfiguration, TrimSeries)
ACTIONS: dict[str, type[Action]] = {action.name: action for action in (*_CRYPTO, *_REDIS)}


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
