"""What an action is: it is previewed with one identity, applied with another, and checked afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import httpx
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from opslib import web
from opslib.actions.documents import Target, Undo
from opslib.canonical import kept
from opslib.clusters import Cluster, connect
from opslib.errors import ActionFailed, ParameterError, ProbeError

Identity = Literal["recorder", "applier"]
_OPPOSITE = {">": "<=", "<": ">=", ">=": "<", "<=": ">", "==": "!=", "!=": "=="}
TIMEOUT = httpx.Timeout(5.0, connect=2.0)


@dataclass
class Context:
    """A platform as one identity sees it. Close it after use, or use it in a `with` block.

    Attributes
    ----------
    platform, environment : str
    identity : {"recorder", "applier"}
        `recorder` may only read; `applier` may change.
    endpoint : callable
        From the name of a system (`api`) to its address, for this identity.
    limits : mapping
        The platform's limits, such as `var_alert_pct`.
    alerts : tuple of mapping
        The labels of the alerts that the incident is about; of a run without one, the alerts of its runbook by name.
    approved : Target or None
        While an action is applied: its target as it was approved, with the bounds of what it may change.
    incident : str
        The incident that it is for; empty where there is none.
    charts : mapping
        The Helm charts that the platform declares, by name.
    """

    platform: str
    environment: str
    identity: Identity
    endpoint: Callable[[str], str]
    limits: Mapping[str, float] = field(default_factory=dict)
    alerts: tuple[Mapping[str, str], ...] = ()
    approved: Target | None = None
    incident: str = ""
    charts: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _client(self) -> httpx.Client:
        return web.client(timeout=TIMEOUT, follow_redirects=False)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    @property
    def cluster(self) -> Cluster:
        """The platform's Kubernetes cluster, as this identity sees it.

        Raises
        ------
        ProbeError, ConfigurationError
            When the platform has none, or its kubeconfig cannot be read.
        """
        return connect(self.endpoint("kubernetes"))

    def get(self, system: str, path: str) -> httpx.Response:
        """Read from a system of the platform.

        Raises
        ------
        ProbeError
            When it cannot be reached or answers with an error.
        """
        url = self.endpoint(system).rstrip("/") + path
        try:
            answer = self._client.get(url)
        except httpx.HTTPError as error:
            raise ProbeError(f"{system} of {self.platform}, {path}: {_why(error)}") from error
        if answer.status_code >= 400:
            raise ProbeError(f"{system} of {self.platform}, {path}: answered {answer.status_code}")
        return answer

    def post(
        self,
        system: str,
        path: str,
        body: dict[str, Any],
        *,
        key: str,
        method: Literal["POST", "PUT", "DELETE"] = "POST",
    ) -> dict[str, Any]:
        """Change something; the applier's identity alone may.

        Parameters
        ----------
        system, path : str
        body : dict
        key : str
            Sent as `Idempotency-Key`: the same for the same step of the same plan.
        method : {"POST", "PUT", "DELETE"}

        Raises
        ------
        ActionFailed
            When it is refused or fails; `sent` tells whether the request may have reached the platform.
        """
        if self.identity != "applier":
            raise ActionFailed(f"the {self.identity} may not change {self.platform}", sent=False)
        url = self.endpoint(system).rstrip("/") + path
        try:
            answer = self._client.request(method, url, json=body, headers={"Idempotency-Key": key})
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ActionFailed(f"{system} of {self.platform}, {path}: {_why(error)}", sent=False) from error
        except httpx.HTTPError as error:
            raise ActionFailed(f"{system} of {self.platform}, {path}: {_why(error)}", sent=True) from error
        if answer.status_code >= 400:
            message = f"{system} of {self.platform}, {path}: answered {answer.status_code} {answer.text[:300]}"
            raise ActionFailed(message, sent=answer.status_code >= 500)
        try:
            told = answer.json()
        except ValueError:
            told = {"text": answer.text[:2000]}
        return told if isinstance(told, dict) else {"answer": told}


@dataclass(frozen=True)
class Observation:
    """What an action depends on, as it is now.

    Attributes
    ----------
    target : Target
    facts : dict
        What guards ask for: `trading` (bool), `max_var_pct` [%].
    measures : dict of dict
        Series shown before and after, by name and item, such as `{"var_pct": {"BTC-USD": 1.2}}`.
    """

    target: Target
    facts: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, dict[str, float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As the record keeps it."""
        return {"target": self.target.model_dump(mode="json"), "facts": self.facts, "measures": self.measures}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Observation:
        """What `as_json` kept."""
        return cls(Target.model_validate(told["target"]), dict(told["facts"]), dict(told["measures"]))


@dataclass(frozen=True)
class Description:
    """An action in words and numbers, as a plan shows it."""

    summary: str
    preview: dict[str, Any]
    expected_effect: str
    blast_radius: dict[str, Any]
    residual_risk: str
    undo: Undo


@dataclass(frozen=True)
class Check:
    """The condition that the alert fires on, evaluated now.

    Attributes
    ----------
    firing : bool
    measure, unit : str
    value, limit : float
    by : dict
        The value per item.
    sign : str
        The alert fires where the value is so against the limit: `>`, `<`, `>=`, `<=`, `==` or `!=`.
    """

    firing: bool
    measure: str
    value: float
    limit: float
    unit: str
    by: dict[str, float]
    sign: str = ">"

    def as_json(self) -> dict[str, Any]:
        """As the record keeps it."""
        return dict(vars(self))

    def __str__(self) -> str:
        sign = self.sign if self.firing else _OPPOSITE[self.sign]
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.measure} {self.value:.3g}{unit} {sign} {self.limit:.3g}{unit}"


class ActionArguments(BaseModel):
    """An action's arguments: strict, and nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class MayGoBack(ActionArguments):
    """Arguments of what may be taken back by itself where its effect does not show in time, if that is asked for.

    Only what changes how a platform runs takes this. What lets risk, people or pods in again, and what limited or
    stopped them, is taken back by a person alone.
    """

    undo_if_ineffective: bool = False

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not asked for."""
        told: dict[str, Any] = handler(self)
        if not self.undo_if_ineffective:
            told.pop("undo_if_ineffective", None)
        return told


class Action(ABC):
    """A change that can be planned.

    Subclasses say in class attributes what they are; only `apply` changes anything.

    Attributes
    ----------
    name : str
        `<platform or system>.<verb>`, as plans and the policy name it.
    kind : str
        What the policy's `levels` name: `reduce-risk`, `basic-fix`, `configuration`, ...
    risk_reducing : bool
        It can only make the platform's risk smaller. Such actions may have a standing approval, and restarts.
    stops_new_risk : bool
        It only stops new risk; allowed even on hold.
    lifts : {"", "trading", "kill-switch"}
        What stops new risk and is taken away by it; that alone does not forbid it.
    hot_reload : bool
        It changes parameters of a running trading system.
    undo_if_ineffective : bool
        It is taken back by itself where its effect does not show in time; never where it reduces or stops new risk.
    mitigates : bool
        It may end what the alert is about. An incident is not mitigated by a plan of which no action does.
    effect_within_s : float
        By when the effect must be seen [s].
    calm_s : float
        How long the firing check must stay false [s]: longer where an action may add risk, which shows only in time.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    risk_reducing: ClassVar[bool] = False
    stops_new_risk: ClassVar[bool] = False
    lifts: ClassVar[Literal["", "trading", "kill-switch"]] = ""
    hot_reload: ClassVar[bool] = False
    undo_if_ineffective: bool = False
    mitigates: ClassVar[bool] = True
    effect_within_s: float
    calm_s: ClassVar[float] = 1.0
    Arguments: ClassVar[type[ActionArguments]]

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        try:
            self.arguments = self.Arguments.model_validate(dict(arguments))
        except RecursionError as error:
            raise ParameterError(f"{self.name}: the arguments are too deep") from error
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()]
            raise ParameterError(f"{self.name}: " + "; ".join(lines), mistakes=lines) from error
        if not kept(self.arguments.model_dump()):
            message = (
                "a letter (NUL), number (over 2^53) or depth (over 100) in the arguments is none that a plan keeps"
            )
            raise ParameterError(f"{self.name}: {message}", mistakes=[message])
        if isinstance(self.arguments, MayGoBack):
            self.undo_if_ineffective = self.arguments.undo_if_ineffective

    @classmethod
    def may_stand(cls) -> bool:
        """Whether a standing approval may be given for it: it reduces risk, stops new risk, or restarts."""
        return cls.risk_reducing or cls.stops_new_risk or cls.kind == "restart"

    @abstractmethod
    def observe(self, context: Context) -> Observation:
        """The target and what the plan depends on, as they are now; reads only."""

    @abstractmethod
    def describe(self, context: Context, seen: Observation) -> Description:
        """The preview; reads only.

        Raises
        ------
        PlanError
            When the action makes no sense in the state seen.
        """

    @abstractmethod
    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Do it; returns what the platform answered.

        Raises
        ------
        ActionFailed
            When it was refused or failed.
        """

    @abstractmethod
    def done(self, context: Context, before: Observation) -> bool:
        """Whether the platform shows that the change was made since it was as in `before`; reads only."""

    @abstractmethod
    def check(self, context: Context) -> Check | None:
        """The firing check, now; reads only. None where there is no alert whose condition could be evaluated."""

    def effect(self, context: Context, before: Observation) -> str | None:
        """What is still missing of the effect, in words; None when it shows. Reads only."""
        del context, before
        return None

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """What must still be as this action left it for a plan to take it back; what else moved does not matter."""
        return {"uid": seen.target.uid, **seen.target.fields}


def _why(error: httpx.HTTPError) -> str:
    """A transport error in words."""
    if isinstance(error, httpx.TimeoutException):
        return f"no answer in time ({type(error).__name__})"
    return str(error) or type(error).__name__
