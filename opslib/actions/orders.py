"""Cancelling working orders: a step of its own beside stopping new risk and stopping hedges, and it needs authority.

For platforms that work orders and tell them at `/api/orders`: a list of objects, each with the name of an `order`. They
cancel those named in a POST to `/api/orders/cancel`, `{"orders": [...], "reason": ...}`. An order may be a hedge, and
its place in the queue does not come back; so a plan names each order, and none that is not named is touched.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.documents import Bounds, Target, Undo
from opslib.canonical import storable
from opslib.errors import PlanError, ProbeError
from opslib.record import redaction
from opslib.record.redaction import Redactor

_TOLD, _CANCELLED = "/api/orders", "/api/orders/cancel"
_SHOWN = 5
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


class CancelArguments(ActionArguments):
    """The orders to cancel, as the platform names them, the system that works them, and why."""

    orders: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100, strict=False)]
    system: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = "api"
    reason: Reason = "cancelled by plan"

    @field_validator("orders")
    @classmethod
    def _once(cls, orders: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(orders)) < len(orders):
            raise ValueError("name each order once")
        return orders


class CancelWorking(Action):
    """Cancel orders that work: what is filled stays, and nothing else is stopped by it."""

    name = "orders.cancel-working"
    kind = "orders"
    mitigates = False
    effect_within_s = 30.0
    Arguments = CancelArguments
    arguments: CancelArguments

    def observe(self, context: Context) -> Observation:
        """Which of the orders still work."""
        all_, redact = self._working(context), redaction.default()
        found = [_plain(redact, all_[name]) for name in self.arguments.orders if name in all_]
        target = Target(
            kind="working-orders",
            name=self.arguments.system,
            uid=f"{context.platform}/{self.arguments.system}",
            live={"orders": Bounds(previewed=len(found), low=1, high=len(self.arguments.orders))},
        )
        return Observation(target, {"rows": found, "working": len(all_)})

    def describe(self, context: Context, seen: Observation) -> Description:
        """The orders, each with what the platform tells of it."""
        rows, count, all_ = seen.facts["rows"], len(seen.facts["rows"]), seen.facts["working"]
        if not rows:
            raise PlanError("none of these orders works any more; there is nothing to cancel")
        names = ", ".join(str(row["order"]) for row in rows[:_SHOWN]) + (" ..." if count > _SHOWN else "")
        return Description(
            summary=f"Cancel {count} working order{'s' * (count > 1)} of {context.platform}: {names}",
            preview={"count": count, "of": all_, "rows": rows, "gone_already": len(self.arguments.orders) - count},
            expected_effect=f"they work no longer within seconds; {all_ - count} others go on, and so does what "
            "enters new ones",
            blast_radius={"orders": count},
            residual_risk="what was filled stays; what an order was to hedge or to close stays open, and one that is "
            "entered again is the last in its queue",
            undo=Undo(kind="none", reason="an order that is entered again has lost its place in the queue"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Have them cancelled; those that are gone by now are gone."""
        body = {"orders": list(self.arguments.orders), "reason": self.arguments.reason}
        return context.post(self.arguments.system, _CANCELLED, body, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether some of them worked, and none does now."""
        return bool(before.facts["rows"]) and not self._left(context)

    def effect(self, context: Context, before: Observation) -> str | None:
        """Which of them work still."""
        del before
        left = self._left(context)
        return f"{len(left)} of the orders work still: {', '.join(left[:_SHOWN])}" if left else None

    def check(self, context: Context) -> Check | None:
        """That none of them works: an alert does not end by it."""
        left = self._left(context)
        return Check(bool(left), "orders of the plan that work", len(left), 0.0, "", dict.fromkeys(left, 1.0))

    def _left(self, context: Context) -> list[str]:
        all_ = self._working(context)
        return [name for name in self.arguments.orders if name in all_]

    def _working(self, context: Context) -> dict[str, dict[str, Any]]:
        """The working orders by name."""
        try:
            told = context.get(self.arguments.system, _TOLD).json()
            return {str(row["order"]): {str(name): row[name] for name in row} for row in told}
        except (ValueError, KeyError, TypeError) as error:
            message = f"{_TOLD} of {self.arguments.system} of {context.platform} is no list of orders with their names"
            raise ProbeError(message) from error


def _plain(redact: Redactor, order: dict[str, Any]) -> dict[str, Any]:
    """The facts of an order as a plan shows them."""
    plain: dict[str, Any] = storable(order)
    return {
        name: value if isinstance(value, int | float) or value is None else redact(str(value))[:80]
        for name, value in plain.items()
    }
