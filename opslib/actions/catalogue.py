"""Every action that there is, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opslib.actions.action import Action
from opslib.actions.crypto import EmergencyReduce, RefreshVolatility, SetKelly
from opslib.actions.kubernetes_access import RotateSecret, SetAllowList
from opslib.actions.kubernetes_nodes import Cordon, DeletePod, Drain, Uncordon
from opslib.actions.kubernetes_rollouts import (
    Restart,
    RestartWithOutage,
    SetEnv,
    SetImage,
    SetResources,
    UndoRollout,
)
from opslib.actions.kubernetes_scale import Scale, SetAutoscaler, Stop
from opslib.errors import ParameterError

_CRYPTO: tuple[type[Action], ...] = (EmergencyReduce, RefreshVolatility, SetKelly)
_KUBERNETES: tuple[type[Action], ...] = (
    *(Scale, Stop, SetAutoscaler),
    *(Restart, RestartWithOutage, SetImage, SetResources, SetEnv, UndoRollout),
    *(DeletePod, Cordon, Uncordon, Drain),
    *(SetAllowList, RotateSecret),
)
ACTIONS: dict[str, type[Action]] = {action.name: action for action in (*_CRYPTO, *_KUBERNETES)}


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
