"""Actions on the model router of the crypto platform: pause it, set its rules, market hours, model instances."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from opslib.actions.action import Check, Context, MayGoBack
from opslib.actions.crypto_settings import Document, Figure, Reasoned, Setting, inverse, switch_check
from opslib.actions.documents import Undo


class _Router(Setting):
    """What the actions on the router have in common: they are checked by the rate of switches."""

    part = "model-router"
    needs: ClassVar[tuple[str, ...]] = ("router",)
    changes = ("router.",)
    expected = "model switches fall under the alert's level as the window of its rate passes"

    def check(self, context: Context) -> Check:
        """The alert's own condition: switches a minute."""
        return switch_check(context)


class PauseRouter(_Router):
    """Pause the model router: every symbol keeps the model that it has."""

    name = "crypto.pause-router"
    kind = "basic-fix"
    path = "/api/router/pause"
    residual = "a symbol keeps its model even if that turns bad; the cause is not removed"
    Arguments = Reasoned

    def now(self, told: Document) -> dict[str, Any]:
        """Whether it is paused."""
        return {"paused": bool(told["router"]["paused"])}

    def wanted(self) -> dict[str, Any]:
        """Paused."""
        return {"paused": True}

    def back(self, _before: dict[str, Any]) -> Undo:
        """By resuming."""
        return inverse(ResumeRouter, "lets the router switch again")


class ResumeRouter(_Router):
    """Let a paused model router switch again."""

    name = "crypto.resume-router"
    kind = "basic-fix"
    path = "/api/router/resume"
    calm_s = 15.0  # switches that come back come back by then
    residual = "where the cause is still there, the switches come back"
    Arguments = Reasoned

    def now(self, told: Document) -> dict[str, Any]:
        """Whether it is paused."""
        return {"paused": bool(told["router"]["paused"])}

    def wanted(self) -> dict[str, Any]:
        """Not paused."""
        return {"paused": False}

    def back(self, _before: dict[str, Any]) -> Undo:
        """By pausing."""
        return inverse(PauseRouter, "pauses the router again")


class RouterRulesArguments(Reasoned, MayGoBack):
    """What to set: the least confidence, the hysteresis, or threshold and band of one pair rule."""

    min_confidence: Figure | None = None
    switch_hysteresis: Figure | None = None
    rule: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    threshold: Figure | None = None
    band: Figure | None = None


class SetRouterRules(_Router):
    """Set rules of the model router; what is not named stays as it is."""

    name = "crypto.set-router-rules"
    kind = "configuration"
    hot_reload = True
    path = "/api/router/rules"
    residual = "models are chosen by other rules from now on; watch the next switches"
    Arguments = RouterRulesArguments
    arguments: RouterRulesArguments

    def refuse(self, told: Document) -> str:
        """A rule that is not there, or nothing to set."""
        names = [rule["name"] for rule in told["router"].get("pair_rules", [])]
        own = self.arguments
        if (own.threshold is not None or own.band is not None) and own.rule not in names:
            return f"the router has no pair rule {own.rule}; it has {', '.join(names) or 'none'}"
        return "" if self.wanted() else "name at least one rule to set"

    def now(self, told: Document) -> dict[str, Any]:
        """The rules that it would set, as they are."""
        router = told["router"]
        rules = {rule["name"]: rule for rule in router.get("pair_rules", [])}
        pair = rules.get(self.arguments.rule, {})
        return {name: pair.get(name) if name in ("threshold", "band") else router[name] for name in self.wanted()}

    def wanted(self) -> dict[str, Any]:
        """The rules that are named."""
        return self.arguments.model_dump(exclude_none=True, exclude={"reason", "rule", "undo_if_ineffective"})

    def back(self, before: dict[str, Any]) -> Undo:
        """By setting what was."""
        rule = {} if self.arguments.rule is None else {"rule": self.arguments.rule}
        return inverse(SetRouterRules, "sets the rules that were in force", **rule, **before)


class MarketHoursArguments(Reasoned, MayGoBack):
    """Whether models are switched in market hours only."""

    on: bool


class MarketHours(_Router):
    """Switch models of a symbol only while its market is open: while it trades a usual share of its volume."""

    name = "crypto.market-hours"
    kind = "configuration"
    path = "/api/router/market-hours"
    residual = "while its market stands still, a symbol keeps the model that it has"
    Arguments = MarketHoursArguments
    arguments: MarketHoursArguments

    def now(self, told: Document) -> dict[str, Any]:
        """Whether it is on."""
        return {"market_hours_only": bool(told["router"]["market_hours_only"])}

    def wanted(self) -> dict[str, Any]:
        """As asked."""
        return {"market_hours_only": self.arguments.on}

    def back(self, before: dict[str, Any]) -> Undo:
        """By setting it as it was."""
        return inverse(MarketHours, "sets the mode that was in force", on=before["market_hours_only"])


class ScaleModelsArguments(Reasoned, MayGoBack):
    """How many instances of the model server to run."""

    instances: Annotated[int, Field(ge=1, le=16)]


class ScaleModels(_Router):
    """Run another number of instances of the model server; each holds a few models in memory."""

    name = "crypto.scale-models"
    kind = "scale"
    part = "model-server"
    needs: ClassVar[tuple[str, ...]] = ("model_server", "router")
    changes = ("model_server.",)
    path = "/api/models/instances"
    expected = "models stay in memory, answers come in time, and switches for want of an answer end"
    residual = "each instance loads its models once more; more instances cost more memory"
    Arguments = ScaleModelsArguments
    arguments: ScaleModelsArguments

    def now(self, told: Document) -> dict[str, Any]:
        """How many run."""
        return {"instances": int(told["model_server"]["instances"])}

    def wanted(self) -> dict[str, Any]:
        """As many as asked."""
        return {"instances": self.arguments.instances}

    def back(self, before: dict[str, Any]) -> Undo:
        """By scaling back."""
        return inverse(ScaleModels, "scales back", instances=before["instances"])
