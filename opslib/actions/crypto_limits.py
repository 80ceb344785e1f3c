"""The lasting fixes of a VaR breach on the crypto platform: the limit of one symbol, a penalty on one model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from opslib.actions.action import Check, Context
from opslib.actions.crypto import var_check
from opslib.actions.crypto_settings import Document, Figure, Reasoned, Setting, inverse
from opslib.actions.documents import Undo

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}$")]


class PositionLimitArguments(Reasoned):
    """Which symbol, and its limit [USD]."""

    symbol: Name
    limit_usd: Annotated[float, Field(gt=0, le=1e9)]


class _PositionLimit(Setting):
    """What lowering and setting a position limit have in common."""

    part = "position-limit"
    needs = ()
    changes = ("position_limits_usd",)
    path = "/api/risk/position-limit"
    Arguments = PositionLimitArguments
    arguments: PositionLimitArguments

    def refuse(self, told: Document) -> str:
        """A symbol that the book does not have."""
        known = told["symbols"]
        return "" if self.arguments.symbol in known else f"there is no symbol {self.arguments.symbol}"

    def now(self, told: Document) -> dict[str, Any]:
        """The limit in force [USD]."""
        symbol = told["symbols"].get(self.arguments.symbol, {})
        return {self.arguments.symbol: float(symbol.get("position_limit_usd", 0.0))}

    def wanted(self) -> dict[str, Any]:
        """The limit as asked [USD]."""
        return {self.arguments.symbol: self.arguments.limit_usd}

    def back(self, before: dict[str, Any]) -> Undo:
        """By setting what was."""
        symbol = self.arguments.symbol
        return inverse(SetPositionLimit, "sets the limit that was in force", symbol=symbol, limit_usd=before[symbol])

    def check(self, context: Context) -> Check:
        """The largest VaR of a symbol."""
        return var_check(context)


class LowerPositionLimit(_PositionLimit):
    """Lower the position limit of one symbol; its position shrinks to it."""

    name = "crypto.lower-position-limit"
    kind = "reduce-risk"
    risk_reducing = True
    expected = "the position of the symbol shrinks to its limit within seconds"
    residual = "what is above the limit is sold at the market"

    def refuse(self, told: Document) -> str:
        """A limit that would not be lower."""
        before = self.now(told)[self.arguments.symbol]
        refused = super().refuse(told)
        if not refused and self.arguments.limit_usd >= before:
            return (
                f"the limit of {self.arguments.symbol} is {before:.0f} USD; {self.arguments.limit_usd:.0f} is no lower"
            )
        return refused


class SetPositionLimit(_PositionLimit):
    """Set the position limit of one symbol, also to a higher one."""

    name = "crypto.set-position-limit"
    kind = "configuration"
    hot_reload = True
    expected = "the position of the symbol goes to its target within the limit"
    residual = "the position of the symbol may grow"
    calm_s = 15.0


class PenaltyArguments(Reasoned):
    """Which model, and what is taken off its confidence."""

    model: Name
    penalty: Figure


class PenaliseModel(Setting):
    """Take something off what one model states of its confidence."""

    name = "crypto.penalise-model"
    kind = "configuration"
    part = "model-penalty"
    needs = ("models",)
    changes = ("confidence_penalty",)
    path = "/api/models/penalty"
    expected = "positions of its symbols shrink, or go to another model, within seconds"
    residual = "the edge of a model that was right after all is given up"
    Arguments = PenaltyArguments
    arguments: PenaltyArguments

    def refuse(self, told: Document) -> str:
        """A model that is not deployed."""
        known = [model["name"] for model in told["models"]]
        return "" if self.arguments.model in known else f"no model {self.arguments.model} is deployed"

    def now(self, told: Document) -> dict[str, Any]:
        """The penalty in force."""
        found = {model["name"]: float(model["penalty"]) for model in told["models"]}
        return {self.arguments.model: found.get(self.arguments.model, 0.0)}

    def wanted(self) -> dict[str, Any]:
        """The penalty as asked."""
        return {self.arguments.model: self.arguments.penalty}

    def back(self, before: dict[str, Any]) -> Undo:
        """By setting what was."""
        model = self.arguments.model
        return inverse(PenaliseModel, "sets the penalty that was in force", model=model, penalty=before[model])

    def check(self, context: Context) -> Check:
        """The largest VaR of a symbol."""
        return var_check(context)
