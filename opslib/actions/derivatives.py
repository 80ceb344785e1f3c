"""Actions on the derivatives platform itself: its switches of new risk and of hedging, each leaving the other alone."""

from __future__ import annotations

from typing import Any, ClassVar

from opslib.actions import firing
from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.crypto import Reason
from opslib.actions.documents import Target, Undo
from opslib.errors import PlanError, ProbeError

_GREEKS = {
    "net_delta_usd": ("delta", "USD"),
    "gamma_usd_per_pct": ("gamma", "USD per 1 %"),
    "vega_usd_per_point": ("vega", "USD per point"),
}


class SwitchArguments(ActionArguments):
    """Why it is done."""

    reason: Reason = "set by plan"


class _Switch(Action):
    """What stopping and starting have in common.

    Attributes
    ----------
    setting : str
        Its name, which is also that of its address.
    fact : str
        What the observation calls it.
    measure : str
        What it shows, 1 or 0.
    enables : bool
        Whether the action switches it on.
    other, back : str
        The action that takes it back, and what that does.
    """

    effect_within_s = 15.0
    Arguments = SwitchArguments
    arguments: SwitchArguments
    setting: ClassVar[str]
    fact: ClassVar[str]
    measure: ClassVar[str]
    enables: ClassVar[bool]
    other: ClassVar[str]
    back: ClassVar[str]

    def observe(self, context: Context) -> Observation:
        """Read the switch."""
        told = self._told(context)
        target = Target(
            kind=self.setting,
            name=context.platform,
            uid=context.platform,
            generation=str(told.get("since") or ""),
            fields={"enabled": bool(told["enabled"])},
        )
        return Observation(target, {self.fact: bool(told["enabled"]), "reason": str(told.get("reason") or "")})

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask the service for it."""
        verb = "start" if self.enables else "stop"
        return context.post("api", f"/{self.setting}/{verb}", {"reason": self.arguments.reason}, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the switch is so now, and was not before."""
        return before.target.fields["enabled"] != self.enables and bool(self._told(context)["enabled"]) == self.enables

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the service follows the switch."""
        del before
        enabled = bool(self._told(context)["enabled"])
        return None if enabled == self.enables else f"{self.setting} is {'on' if enabled else 'stopped'}"

    def check(self, context: Context) -> Check | None:
        """The alert's own rule; of stopping what it is to end, since a loss that has been made does not end by it."""
        return firing.check(context) if self.enables else self._ended(context)

    def _described(self, context: Context, seen: Observation, effect: str, risk: str) -> Description:
        word = "on" if self.enables else "stopped"
        if bool(seen.target.fields["enabled"]) == self.enables:
            since = f" since {seen.target.generation}" if seen.target.generation else ""
            raise PlanError(
                f"{self.setting} of {context.platform} is {word} already{since}; there is nothing to change"
            )
        return Description(
            summary=f"{'Start' if self.enables else 'Stop'} the {self.setting} of {context.platform}",
            preview={
                "measure": self.measure,
                "unit": "",
                "before": float(not self.enables),
                "after": float(self.enables),
                "rows": [{"setting": self.setting, "value": "stopped" if self.enables else "on", "value_after": word}],
            },
            expected_effect=effect,
            blast_radius={"auto_trading_switches": 1},
            residual_risk=risk,
            undo=Undo(kind="inverse", reason=self.back, action=self.other, arguments={"reason": "undo"}),
        )

    def _told(self, context: Context) -> dict[str, Any]:
        path = f"/{self.setting}"
        try:
            told = context.get("api", path).json()
            bool(told["enabled"])
        except (ValueError, KeyError, TypeError) as error:
            message = f"{path} of {context.platform} does not tell whether {self.setting} is enabled"
            raise ProbeError(message) from error
        found: dict[str, Any] = told
        return found

    def _ended(self, context: Context) -> Check:
        """That the switch is off."""
        value = float(bool(self._told(context)["enabled"]))
        return Check(value > 0.0, self.measure, value, 0.0, "", {"enabled": value})


class _AutoTrading(_Switch):
    """The switch of new risk."""

    setting = "auto-trading"
    fact = "trading"
    measure = "auto-trading (1: it takes new risk)"


class StopAutoTrading(_AutoTrading):
    """Stop new risk: automatic trades are refused; hedges go on, and so does what people trade."""

    name = "derivatives.stop-auto-trading"
    kind = "stop-new-risk"
    stops_new_risk = True
    enables = False
    other = "derivatives.start-auto-trading"
    back = "allows new risk again; a plan of its own, never automatic, since it adds risk"

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it."""
        return self._described(
            context,
            seen,
            "automatic trades are refused within a second; the auto-hedger and trades by people go on",
            "the book keeps what it has: its loss, gamma and vega go on moving with the market, and the alert of a "
            f"loss that has really been made goes on. {_open(context)}",
        )


class StartAutoTrading(_AutoTrading):
    """Allow automatic trades again."""

    name = "derivatives.start-auto-trading"
    kind = "allow-new-risk"
    lifts = "trading"
    enables = True
    calm_s = 5.0
    other = "derivatives.stop-auto-trading"
    back = "stops new risk again"

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it."""
        return self._described(
            context,
            seen,
            "automatic trades are taken again within a second",
            "the book takes new risk again",
        )


class _Hedging(_Switch):
    """The switch of the auto-hedger."""

    setting = "auto-hedger"
    fact = "hedging"
    measure = "auto-hedger (1: it trades hedges)"
    kind = "hedging"


class StopHedging(_Hedging):
    """Have the auto-hedger only watch; new risk goes on being taken where it is, and nothing is sold or bought back."""

    name = "derivatives.stop-hedging"
    enables = False
    mitigates = False
    other = "derivatives.start-hedging"
    back = "hedges again: at once, all the delta that is open then"

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it, with what stays unhedged."""
        return self._described(
            context,
            seen,
            "the auto-hedger trades nothing from its next step on, within seconds; hedges that it holds stay, and new "
            "risk is not stopped by it",
            f"nobody hedges what the market and new trades open from now on. {_open(context)}",
        )


class StartHedging(_Hedging):
    """Have the auto-hedger trade again."""

    name = "derivatives.start-hedging"
    enables = True
    calm_s = 5.0
    other = "derivatives.stop-hedging"
    back = "stops hedging again; what was traded until then stays"

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it, with what it will hedge."""
        return self._described(
            context,
            seen,
            "the auto-hedger trades all the delta that is open beyond its band with its next step, within seconds",
            f"it hedges by the Greeks that are served, at the market as it is: wrong Greeks make wrong hedges. "
            f"{_open(context)}",
        )


def _open(context: Context) -> str:
    """What the book has open now, as far as the platform tells it."""
    try:
        book = context.get("api", "/stats/engines").json()["book"]
        told = [f"{name} {float(book[key]):+,.0f} {unit}" for key, (name, unit) in _GREEKS.items() if key in book]
    except (ProbeError, ValueError, KeyError, TypeError):
        told = []
    if not told:
        return "Open now: the platform does not tell its delta and vega"
    return f"Open now: {', '.join(told)}"
