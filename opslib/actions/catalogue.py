"""Every action that there is, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opslib.actions.action import Action
from opslib.actions.alertmanager import ExpireSilence, Silence
from opslib.actions.crypto import EmergencyReduce, RefreshVolatility, SetKelly
from opslib.actions.crypto_breaker import ResetBreaker, SetScenarios, StartTrading, StopTrading
from opslib.actions.crypto_limits import LowerPositionLimit, PenaliseModel, SetPositionLimit
from opslib.actions.crypto_router import MarketHours, PauseRouter, ResumeRouter, ScaleModels, SetRouterRules
from opslib.actions.dashboards import RestoreVersion, SetDatasource, SetSeriesWriter
from opslib.actions.derivatives import StartAutoTrading, StartHedging, StopAutoTrading, StopHedging
from opslib.actions.files import KillSwitchOff, KillSwitchOn, RemoveFile, WriteJson
from opslib.actions.helm import Rollback, Upgrade
from opslib.actions.kubernetes_access import RotateSecret, SetAllowList
from opslib.actions.kubernetes_arguments import SetArgument
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
from opslib.actions.orders import CancelWorking
from opslib.actions.postgres_indexes import CreateIndex, DropIndex
from opslib.actions.postgres_rows import DeleteOldRows
from opslib.actions.postgres_sessions import TerminateSessions
from opslib.actions.postgres_settings import SetSetting
from opslib.actions.postgres_upkeep import Analyze, Reindex, Vacuum
from opslib.actions.redis import FailOver, KillClients, SetConfiguration
from opslib.actions.redis_keys import FlushPattern, TrimSeries
from opslib.errors import ParameterError

_ALERTMANAGER: tuple[type[Action], ...] = (ExpireSilence, Silence)
_CRYPTO: tuple[type[Action], ...] = (
    *(EmergencyReduce, LowerPositionLimit, RefreshVolatility, SetKelly, SetPositionLimit, PenaliseModel),
    *(MarketHours, PauseRouter, ResumeRouter, ScaleModels, SetRouterRules),
    *(ResetBreaker, SetScenarios, StartTrading, StopTrading),
)
_DASHBOARDS: tuple[type[Action], ...] = (RestoreVersion, SetDatasource, SetSeriesWriter)
_DERIVATIVES: tuple[type[Action], ...] = (StartAutoTrading, StopAutoTrading, StartHedging, StopHedging)
_FILES: tuple[type[Action], ...] = (KillSwitchOff, KillSwitchOn, RemoveFile, WriteJson)
_HELM: tuple[type[Action], ...] = (Rollback, Upgrade)
_KUBERNETES: tuple[type[Action], ...] = (
    *(Scale, Stop, SetAutoscaler),
    *(Restart, RestartWithOutage, SetImage, SetResources, SetEnv, SetArgument, UndoRollout),
    *(DeletePod, Cordon, Uncordon, Drain),
    *(SetAllowList, RotateSecret),
)
_ORDERS: tuple[type[Action], ...] = (CancelWorking,)
_POSTGRES: tuple[type[Action], ...] = (
    *(Analyze, Reindex, Vacuum, CreateIndex, DropIndex),
    *(DeleteOldRows, TerminateSessions, SetSetting),
)
_REDIS: tuple[type[Action], ...] = (FailOver, FlushPattern, KillClients, SetConfiguration, TrimSeries)
ACTIONS: dict[str, type[Action]] = {
    action.name: action
    for action in (
        *(*_ALERTMANAGER, *_CRYPTO, *_DASHBOARDS, *_DERIVATIVES),
        *(*_FILES, *_HELM, *_KUBERNETES, *_ORDERS, *_POSTGRES, *_REDIS),
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
