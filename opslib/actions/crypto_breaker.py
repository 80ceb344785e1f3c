"""Actions around the circuit breaker of the crypto platform: reset it, stop and start new risk, scenarios of a step."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from opslib.actions.action import Check, Context, MayGoBack, Observation
from opslib.actions.crypto import var_check
from opslib.actions.crypto_settings import Document, Reasoned, Setting, breaker_check, document, inverse, largest_var
from opslib.actions.documents import Bounds, Undo
from opslib.errors import ActionFailed

POLL_S = 0.5


class ResetArguments(Reasoned):
    """How long to wait for both triggers to come under their limits [s]; 0: they are under them already."""

    wait_s: Annotated[float, Field(ge=0, le=45)] = 0.0


class ResetBreaker(Setting):
    """Reset an open circuit breaker to HALF_OPEN, once neither of its triggers is over its limit."""

    name = "crypto.reset-breaker"
    kind = "configuration"
    part = "circuit-breaker"
    needs = ("circuit_breaker", "limits")
    changes = ("circuit_breaker",)
    path = "/api/circuit-breaker/reset"
    expected = "trading goes on with a share of the usual size; after enough clean trades the breaker closes by itself"
    residual = "new positions are taken again, small ones first; a breach opens the breaker again"
    calm_s = 5.0
    Arguments = ResetArguments
    arguments: ResetArguments

    def now(self, told: Document) -> dict[str, Any]:
        """Its state."""
        return {"state": str(told["circuit_breaker"]["state"])}

    def wanted(self) -> dict[str, Any]:
        """Half open."""
        return {"state": "HALF_OPEN"}

    def body(self) -> dict[str, Any]:
        """Why."""
        return {"reason": self.arguments.reason}

    def refuse(self, told: Document) -> str:
        """A breaker that is not open, or whose cause is still there."""
        if told["circuit_breaker"]["state"] != "OPEN":
            return f"the circuit breaker is {told['circuit_breaker']['state']}; only an open one is reset"
        over = over_limit(told)
        if over and not self.arguments.wait_s:
            return f"the cause is still there: {' and '.join(over)} over the limit; remove it first"
        return ""

    def live(self, told: Document) -> dict[str, Bounds]:
        """Both triggers must stay under their limits until it is applied, unless it waits for that itself."""
        if self.arguments.wait_s:
            return {}
        limits, latency = told["limits"], float(told["circuit_breaker"]["latency_ms"])
        return {
            "max_var_pct": Bounds(previewed=largest_var(told), high=float(limits["var_breaker_pct"])),
            "latency_ms": Bounds(previewed=latency, high=float(limits["latency_ms"])),
        }

    def back(self, _before: dict[str, Any]) -> Undo:
        """Not at all: stopping new risk comes nearest."""
        return inverse(StopTrading, "a breaker is not opened by hand; stopping new risk has the same effect")

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Wait until both triggers are under their limits, then ask the platform for it."""
        deadline = time.monotonic() + self.arguments.wait_s
        while over := over_limit(document(context, *self.needs, "symbols")):
            if time.monotonic() >= deadline:
                told = (
                    f"the cause is still there after {self.arguments.wait_s:g} s: {' and '.join(over)} over the limit"
                )
                raise ActionFailed(f"{told}; the breaker was not reset", sent=False)
            time.sleep(POLL_S)
        return super().apply(context, key)

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """That it is not open: it closes by itself."""
        return {"uid": seen.target.uid, "open": seen.target.fields["state"] == "OPEN"}

    def done(self, context: Any, before: Any) -> bool:
        """Whether it is no longer open."""
        state = document(context, "circuit_breaker")["circuit_breaker"]["state"]
        return before.target.fields["state"] == "OPEN" and state in ("HALF_OPEN", "CLOSED")

    def check(self, context: Context) -> Check:
        """The alert's own condition: the breaker is open."""
        return breaker_check(context)


def over_limit(told: Document) -> list[str]:
    """Which triggers of the breaker are over their limits."""
    limits, latency = told["limits"], float(told["circuit_breaker"]["latency_ms"])
    over = {
        "max_var_pct": largest_var(told) > float(limits["var_breaker_pct"]),
        "latency_ms": latency > float(limits["latency_ms"]),
    }
    return [name for name, true in over.items() if true]


class _Trading(Setting):
    """What stopping and starting have in common."""

    part = "trading"
    needs = ()
    changes = ("trading",)

    def now(self, told: Document) -> dict[str, Any]:
        """Whether new risk is allowed."""
        return {"trading": bool(told["trading"])}

    def check(self, context: Context) -> Check:
        """The largest VaR of a symbol."""
        return var_check(context)


class StopTrading(_Trading):
    """Stop new risk; positions are kept, and may shrink."""

    name = "crypto.stop-trading"
    kind = "stop-new-risk"
    stops_new_risk = True
    path = "/api/stop-trading"
    expected = "no position grows any more"
    residual = "what is held stays exposed to the market"
    Arguments = Reasoned

    def wanted(self) -> dict[str, Any]:
        """No new risk."""
        return {"trading": False}

    def back(self, _before: dict[str, Any]) -> Undo:
        """By starting."""
        return inverse(StartTrading, "allows new risk again; a plan of its own, since it adds risk")


class StartTrading(_Trading):
    """Allow new risk again."""

    name = "crypto.start-trading"
    kind = "allow-new-risk"
    lifts = "trading"
    path = "/api/start-trading"
    expected = "positions go to their targets again"
    residual = "positions grow"
    calm_s = 15.0
    Arguments = Reasoned

    def wanted(self) -> dict[str, Any]:
        """New risk."""
        return {"trading": True}

    def back(self, _before: dict[str, Any]) -> Undo:
        """By stopping."""
        return inverse(StopTrading, "stops new risk again")


class ScenariosArguments(Reasoned, MayGoBack):
    """How many scenarios a step simulates."""

    scenarios: Annotated[int, Field(ge=100, le=50_000_000)]


class SetScenarios(Setting):
    """Set how many scenarios every step simulates for the stressed VaR; they take time."""

    name = "crypto.set-scenarios"
    kind = "configuration"
    part = "stress-scenarios"
    needs = ("stress", "circuit_breaker", "limits")
    changes = ("stress_scenarios",)
    path = "/api/risk/scenarios"
    expected = "a step takes less time; the median latency falls under the breaker's limit within seconds"
    residual = "the stressed VaR is known less exactly; the breaker stays open until it is reset"
    Arguments = ScenariosArguments
    arguments: ScenariosArguments

    def now(self, told: Document) -> dict[str, Any]:
        """How many they are."""
        return {"scenarios": int(told["stress"]["scenarios"])}

    def wanted(self) -> dict[str, Any]:
        """As many as asked."""
        return {"scenarios": self.arguments.scenarios}

    def back(self, before: dict[str, Any]) -> Undo:
        """By setting what was."""
        return inverse(SetScenarios, "sets the number that was in force", scenarios=before["scenarios"])

    def check(self, context: Context) -> Check:
        """The breaker's own condition: the median latency of a step [ms]."""
        told = document(context, "circuit_breaker", "limits")
        value, limit = float(told["circuit_breaker"]["latency_ms"]), float(told["limits"]["latency_ms"])
        return Check(value > limit, "median latency of a step", value, limit, "ms", {"platform": value})
