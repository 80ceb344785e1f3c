"""What the actions that change a setting of the crypto platform have in common: seen, previewed as a diff, shown."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import Field

from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.crypto import Reason
from opslib.actions.documents import Bounds, Target, Undo
from opslib.errors import PlanError, ProbeError

Document = dict[str, Any]
Figure = Annotated[float, Field(ge=0, le=1)]


class Reasoned(ActionArguments):
    """Why it is done."""

    reason: Reason = "set by plan"


def document(context: Context, *keys: str) -> Document:
    """The document of `/api/status`.

    Raises
    ------
    ProbeError
        When it cannot be read, or has none of the keys that an action depends on.
    """
    try:
        told = context.get("api", "/api/status").json()
    except ValueError as error:
        raise ProbeError(f"/api/status of {context.platform} is no JSON") from error
    lacking = [key for key in keys if not isinstance(told, dict) or key not in told]
    if lacking:
        raise ProbeError(f"/api/status of {context.platform} does not tell {', '.join(lacking)}")
    found: Document = told
    return found


def largest_var(told: Document) -> float:
    """The largest VaR of a symbol [% of NAV]."""
    return max((float(symbol["var_pct"]) for symbol in told["symbols"].values()), default=0.0)


def switch_check(context: Context) -> Check:
    """Whether the router switches more often than the alert allows [1/min]."""
    value = float(document(context, "router")["router"]["switches_per_minute"])
    limit = float(context.limits.get("model_switches_per_minute", 20.0))
    return Check(value > limit, "model switches", value, limit, "a minute", {"all symbols": value})


def breaker_check(context: Context) -> Check:
    """Whether the circuit breaker is open."""
    state = str(document(context, "circuit_breaker")["circuit_breaker"]["state"])
    value = {"CLOSED": 0.0, "HALF_OPEN": 1.0, "OPEN": 2.0}.get(state, 2.0)
    return Check(state == "OPEN", "circuit breaker (2 is OPEN)", value, 1.0, "", {"state": value})


class Setting(Action):
    """An action that brings some settings from what they are to what they shall be.

    Attributes
    ----------
    path : str
        Where the platform takes the change.
    needs : tuple of str
        Parts of `/api/status` that it reads.
    part : str
        What is changed, in a word; with the platform it makes the target.
    changes : tuple of str
        Beginnings of the keys of `config_changes` that make the plan void when they change.
    expected, residual : str
        The effect to be expected, and what stays at risk.
    """

    path: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    part: ClassVar[str]
    changes: ClassVar[tuple[str, ...]]
    expected: ClassVar[str]
    residual: ClassVar[str]
    effect_within_s = 60.0
    arguments: Reasoned

    @abstractmethod
    def now(self, told: Document) -> dict[str, Any]:
        """The settings as they are."""

    @abstractmethod
    def wanted(self) -> dict[str, Any]:
        """The settings as they shall be, under the same names."""

    @abstractmethod
    def check(self, context: Context) -> Check:
        """The firing check, now; reads only."""

    @abstractmethod
    def back(self, before: dict[str, Any]) -> Undo:
        """How it is taken back."""

    def body(self) -> dict[str, Any]:
        """What is sent."""
        return self.arguments.model_dump(mode="json", exclude_none=True, exclude={"undo_if_ineffective"})

    def refuse(self, _told: Document) -> str:
        """Why it makes no sense as the platform is; empty where it does."""
        return ""

    def live(self, _told: Document) -> dict[str, Bounds]:
        """Quantities that may move only so far before it is applied."""
        return {}

    def observe(self, context: Context) -> Observation:
        """Read `/api/status`."""
        told = document(context, "symbols", "trading", *self.needs)
        made = [change for change in told.get("config_changes", []) if str(change["key"]).startswith(self.changes)]
        target = Target(
            kind=self.part,
            name=context.platform,
            uid=str(told.get("sandbox_id") or context.platform),
            generation=max((str(change["at"]) for change in made), default=""),
            fields=self.now(told),
            live=self.live(told),
        )
        facts = {"trading": bool(told["trading"]), "max_var_pct": largest_var(told), "refused": self.refuse(told)}
        var = {name: float(symbol["var_pct"]) for name, symbol in told["symbols"].items()}
        return Observation(target, facts, {"var_pct": var})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it as a diff of the settings."""
        before, after = seen.target.fields, self.wanted()
        if seen.facts["refused"]:
            raise PlanError(str(seen.facts["refused"]))
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        if not changed:
            raise PlanError(f"{self.part} of {context.platform} is so already; there is nothing to change")
        check = self.check(context)
        told = ", ".join(f"{name} {_told(before.get(name))} → {_told(value)}" for name, value in changed.items())
        return Description(
            summary=f"{self.part.replace('-', ' ').capitalize()} of {context.platform}: {told}",
            preview={
                "measure": check.measure,
                "unit": check.unit,
                "before": round(check.value, 4),
                "after": None,
                "limit": check.limit,
                "rows": [
                    {"setting": name, "value": _told(before.get(name)), "value_after": _told(value)}
                    for name, value in changed.items()
                ],
            },
            expected_effect=self.expected,
            blast_radius={"settings": len(changed)},
            residual_risk=self.residual,
            undo=self.back(before),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask the platform for it."""
        return context.post("api", self.path, self.body(), key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether `/api/status` shows the settings, which it did not show before."""
        wanted = self.wanted()
        was = {name: before.target.fields.get(name) for name in wanted}
        told = self.now(document(context, *self.needs))
        return was != wanted and {name: told.get(name) for name in wanted} == wanted


def inverse(action: type[Action], reason: str, **arguments: Any) -> Undo:
    """An undo by another action."""
    return Undo(kind="inverse", reason=reason, action=action.name, arguments={**arguments, "reason": "undo"})


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
