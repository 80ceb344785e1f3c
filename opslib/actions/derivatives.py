"""Actions on the derivatives platform itself: stop new risk of the auto-trading, and allow it again."""

from __future__ import annotations

from typing import Any, ClassVar

from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.crypto import Reason
from opslib.actions.documents import Target, Undo
from opslib.errors import PlanError, ProbeError

_PATH = "/auto-trading"
_MEASURE = "auto-trading (1: it takes new risk)"


class AutoTradingArguments(ActionArguments):
    """Why it is done."""

    reason: Reason = "set by plan"


class _AutoTrading(Action):
    """What stopping and starting have in common."""

    effect_within_s = 15.0
    Arguments = AutoTradingArguments
    arguments: AutoTradingArguments
    enables: ClassVar[bool]

    def observe(self, context: Context) -> Observation:
        """Read the switch."""
        told = self._told(context)
        target = Target(
            kind="auto-trading",
            name=context.platform,
            uid=context.platform,
            generation=str(told.get("since") or ""),
            fields={"enabled": bool(told["enabled"])},
        )
        return Observation(target, {"trading": bool(told["enabled"]), "reason": str(told.get("reason") or "")})

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask the service for it."""
        verb = "start" if self.enables else "stop"
        return context.post("api", f"{_PATH}/{verb}", {"reason": self.arguments.reason}, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the switch is so now, and was not before."""
        return before.target.fields["enabled"] != self.enables and bool(self._told(context)["enabled"]) == self.enables

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the service follows the switch."""
        del before
        enabled = bool(self._told(context)["enabled"])
        return None if enabled == self.enables else f"auto-trading is {'on' if enabled else 'stopped'}"

    def _described(self, context: Context, seen: Observation, effect: str, risk: str, undo: Undo) -> Description:
        word = "on" if self.enables else "stopped"
        if bool(seen.target.fields["enabled"]) == self.enables:
            since = f" since {seen.target.generation}" if seen.target.generation else ""
            raise PlanError(f"auto-trading of {context.platform} is {word} already{since}; there is nothing to change")
        return Description(
            summary=f"{'Start' if self.enables else 'Stop'} the auto-trading of {context.platform}",
            preview={
                "measure": _MEASURE,
                "unit": "",
                "before": float(not self.enables),
                "after": float(self.enables),
                "rows": [
                    {"setting": "auto-trading", "value": "stopped" if self.enables else "on", "value_after": word}
                ],
            },
            expected_effect=effect,
            blast_radius={"auto_trading_switches": 1},
            residual_risk=risk,
            undo=undo,
        )

    def _told(self, context: Context) -> dict[str, Any]:
        try:
            told = context.get("api", _PATH).json()
            bool(told["enabled"])
        except (ValueError, KeyError, TypeError) as error:
            raise ProbeError(f"{_PATH} of {context.platform} does not tell whether auto-trading is enabled") from error
        found: dict[str, Any] = told
        return found


class StopAutoTrading(_AutoTrading):
    """Stop new risk: automatic trades are refused; hedges go on, and so does what people trade."""

    name = "derivatives.stop-auto-trading"
    kind = "stop-new-risk"
    stops_new_risk = True
    enables = False

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it."""
        return self._described(
            context,
            seen,
            "automatic trades are refused within a second; the auto-hedger and trades by people go on",
            "the book keeps what it has: its loss, gamma and vega go on moving with the market, and the alert of a "
            "loss that has really been made goes on",
            Undo(
                kind="inverse",
                reason="allows new risk again; a plan of its own, never automatic, since it adds risk",
                action=StartAutoTrading.name,
                arguments={"reason": "undo"},
            ),
        )

    def check(self, context: Context) -> Check:
        """What this action is to end: new risk. A loss that has been made does not end by it."""
        value = float(bool(self._told(context)["enabled"]))
        return Check(value > 0.0, _MEASURE, value, 0.0, "", {"enabled": value})


class StartAutoTrading(_AutoTrading):
    """Allow automatic trades again."""

    name = "derivatives.start-auto-trading"
    kind = "allow-new-risk"
    enables = True
    calm_s = 5.0

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it."""
        return self._described(
            context,
            seen,
            "automatic trades are taken again within a second",
            "the book takes new risk again",
            Undo(
                kind="inverse",
                reason="stops new risk again",
                action=StopAutoTrading.name,
                arguments={"reason": "undo"},
            ),
        )

    def check(self, context: Context) -> Check | None:
        """The alert's own rule."""
        from opslib.actions import firing

        return firing.check(context)
