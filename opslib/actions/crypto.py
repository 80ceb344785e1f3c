"""Actions on the crypto platform: reduce the Kelly fraction, set it, refresh the volatility estimates."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.documents import Bounds, Target, Undo
from opslib.errors import PlanError, ProbeError
from opslib.figures import amount

SEED_ALERT_PCT = 1.8  # 90 % of the VaR limit of 2.0 %, where the platform's file names no other
_GROWTH_S = 15.0  # positions that may grow have grown by then
_SIZING = ("kelly_fraction", "position_limits_usd", "trading")
EFFECT_S = 60.0  # the platform shrinks positions within seconds; the first two minutes are on-call's
Kelly = Annotated[float, Field(gt=0, le=1)]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Breaker(BaseModel):
    model_config = ConfigDict(extra="ignore")

    state: str


class _Symbol(BaseModel):
    model_config = ConfigDict(extra="ignore")

    volatility_updated_at: str


class _ConfigChange(BaseModel):
    model_config = ConfigDict(extra="ignore")

    at: str
    key: str


class Status(BaseModel):
    """What `/api/status` tells that an action depends on."""

    model_config = ConfigDict(extra="ignore")

    sandbox_id: str = ""
    kelly_fraction: float
    trading: bool
    nav_usd: float
    circuit_breaker: _Breaker
    symbols: dict[str, _Symbol]
    config_changes: list[_ConfigChange]

    @property
    def sizing_changed_at(self) -> str:
        """When the Kelly fraction, a position limit or the trading switch was last changed; empty: never."""
        return max((c.at for c in self.config_changes if c.key.startswith(_SIZING)), default="")

    @property
    def volatility_updated_at(self) -> str:
        """When the oldest volatility estimate was computed."""
        return min((symbol.volatility_updated_at for symbol in self.symbols.values()), default="")


def status(context: Context) -> Status:
    """The platform's own account of itself.

    Raises
    ------
    ProbeError
        When it cannot be reached or does not say what an action depends on.
    """
    answer = context.get("api", "/api/status")
    try:
        return Status.model_validate(answer.json())
    except ValidationError as error:
        lacking = ", ".join(".".join(map(str, fact["loc"])) for fact in error.errors())
        raise ProbeError(f"/api/status of {context.platform} does not tell {lacking}") from error
    except ValueError as error:
        raise ProbeError(f"/api/status of {context.platform} is no JSON") from error


def gauges(context: Context, *names: str) -> dict[str, dict[str, float]]:
    """Gauges of `/metrics` by name and symbol.

    Raises
    ------
    ProbeError
        When the page cannot be read or a gauge is not on it.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    text = context.get("api", "/metrics").text
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in found and "symbol" in sample.labels:
                    found[sample.name][sample.labels["symbol"]] = float(sample.value)
    except ValueError as error:
        raise ProbeError(f"/metrics of {context.platform} cannot be read: {error}") from error
    lacking = [name for name, values in found.items() if not values]
    if lacking:
        raise ProbeError(f"/metrics of {context.platform} does not show {', '.join(lacking)}")
    return found


def var_check(context: Context) -> Check:
    """Whether the largest VaR of a symbol is above the alert's limit [% of NAV]."""
    by = gauges(context, "var_pct")["var_pct"]
    limit = float(context.limits.get("var_pct_alert", SEED_ALERT_PCT))
    value = max(by.values())
    return Check(value > limit, "largest VaR of a symbol", value, limit, "% of NAV", by)


class _Crypto(Action):
    """What the actions of this platform have in common: they change its one risk engine."""

    effect_within_s = EFFECT_S
    depends_on: ClassVar[tuple[str, ...]] = ("kelly_fraction", "trading")
    bounded: ClassVar[bool] = False  # whether positions may move only so far between preview and apply

    def observe(self, context: Context) -> Observation:
        """Read `/api/status` and `/metrics`."""
        now = status(context)
        seen = gauges(context, "var_pct", "position_size_usd")
        gross = sum(abs(value) for value in seen["position_size_usd"].values())
        fields = {
            "kelly_fraction": now.kelly_fraction,
            "trading": now.trading,
            "circuit_breaker": now.circuit_breaker.state,
        }
        target = Target(
            kind="risk-engine",
            name=context.platform,
            uid=now.sandbox_id or context.platform,
            generation=now.sizing_changed_at,
            fields={name: value for name, value in fields.items() if name in self.depends_on},
            live={"gross_notional_usd": _half_to_half_more(gross)} if self.bounded else {},
        )
        facts = {
            "trading": now.trading,
            "max_var_pct": max(seen["var_pct"].values()),
            "nav_usd": now.nav_usd,
            "volatility_updated_at": now.volatility_updated_at,
            "gross_notional_usd": gross,
        }
        return Observation(target, facts, seen)

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """The Kelly fraction; trading may have been stopped since."""
        return {"uid": seen.target.uid, "kelly_fraction": seen.target.fields["kelly_fraction"]}

    def check(self, context: Context) -> Check:
        """The alert's own condition: the largest VaR of a symbol."""
        return var_check(context)

    def _scaled(self, context: Context, seen: Observation, kelly: float) -> dict[str, Any]:
        """The preview of another Kelly fraction: VaR and positions per symbol, scaled by new over old."""
        factor = kelly / seen.target.fields["kelly_fraction"]
        var, positions = seen.measures["var_pct"], seen.measures["position_size_usd"]
        rows = [
            {
                "symbol": symbol,
                "position_usd": round(positions[symbol], 2),
                "position_usd_after": round(positions[symbol] * factor, 2),
                "var_pct": round(var.get(symbol, 0.0), 4),
                "var_pct_after": round(var.get(symbol, 0.0) * factor, 4),
            }
            for symbol in sorted(positions, key=lambda name: -var.get(name, 0.0))
        ]
        largest = max(var.values())
        return {
            "measure": "largest VaR of a symbol",
            "unit": "% of NAV",
            "before": round(largest, 4),
            "after": round(largest * factor, 4),
            "limit": float(context.limits.get("var_pct_alert", SEED_ALERT_PCT)),
            "rows": rows,
        }


class EmergencyReduceArguments(ActionArguments):
    """The emergency Kelly fraction, and why."""

    kelly_fraction: Kelly = 0.1
    reason: Reason = "VaR breach"


class EmergencyReduce(_Crypto):
    """Lower the Kelly fraction of the whole book; every position shrinks in proportion."""

    name = "crypto.emergency-reduce"
    kind = "reduce-risk"
    risk_reducing = True
    Arguments = EmergencyReduceArguments
    arguments: EmergencyReduceArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it from the figures seen."""
        new, old = self.arguments.kelly_fraction, seen.target.fields["kelly_fraction"]
        if new >= old:
            raise PlanError(f"Kelly is {old:g} already; an emergency reduction to {new:g} would not reduce anything")
        preview = self._scaled(context, seen, new)
        gross = seen.facts["gross_notional_usd"]
        sold = gross * (1 - new / old)
        return Description(
            summary=f"Reduce the Kelly fraction of {context.platform} from {old:g} to {new:g}",
            preview=preview,
            expected_effect=f"largest VaR of a symbol falls from {preview['before']:.2f} % to about "
            f"{preview['after']:.2f} % of NAV (alert at {preview['limit']:g} %)",
            blast_radius={"positions": len(preview["rows"]), "notional_usd": round(sold, 2)},
            residual_risk=f"about {amount(sold)} USD of positions are sold at the market; the rest, about "
            f"{amount(gross - sold)} USD, stays exposed; the cause is not removed; "
            "new orders go on at the smaller size",
            undo=Undo(
                kind="inverse",
                reason="sets the Kelly fraction back; a plan of its own, never automatic, since it adds risk",
                action=SetKelly.name,
                arguments={"kelly_fraction": old, "reason": "undo of the emergency reduction"},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask the platform for it."""
        body = {"kelly_fraction": self.arguments.kelly_fraction, "reason": self.arguments.reason}
        return context.post("api", "/api/risk/emergency-reduce", body, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether `/api/status` shows a Kelly fraction that it did not show before."""
        asked = self.arguments.kelly_fraction
        return not _is(before.target.fields["kelly_fraction"], asked) and _is(status(context).kelly_fraction, asked)


class SetKellyArguments(ActionArguments):
    """The Kelly fraction to set, and why."""

    kelly_fraction: Kelly
    reason: Reason = "set by plan"


class SetKelly(_Crypto):
    """Set the Kelly fraction; the way back from an emergency reduction. It may add risk."""

    name = "crypto.set-kelly"
    kind = "configuration"
    hot_reload = True
    calm_s = _GROWTH_S
    depends_on = ("kelly_fraction", "trading", "circuit_breaker")
    bounded = True
    Arguments = SetKellyArguments
    arguments: SetKellyArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it from the figures seen."""
        new, old = self.arguments.kelly_fraction, seen.target.fields["kelly_fraction"]
        if _is(new, old):
            raise PlanError(f"Kelly is {old:g} already; there is nothing to set")
        preview = self._scaled(context, seen, new)
        gross = seen.facts["gross_notional_usd"]
        change = gross * (new / old - 1)
        return Description(
            summary=f"Set the Kelly fraction of {context.platform} from {old:g} to {new:g}",
            preview=preview,
            expected_effect=f"largest VaR of a symbol goes from {preview['before']:.2f} % to about "
            f"{preview['after']:.2f} % of NAV (alert at {preview['limit']:g} %)",
            blast_radius={"positions": len(preview["rows"]), "notional_usd": round(abs(change), 2)},
            residual_risk=f"positions {'grow' if change > 0 else 'shrink'} by about {amount(abs(change))} USD; "
            "if the cause of the alert is still there, VaR passes its limit again",
            undo=Undo(
                kind="inverse",
                reason="sets the previous Kelly fraction",
                action=self.name,
                arguments={"kelly_fraction": old, "reason": "undo"},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask the platform for it."""
        body = {"kelly_fraction": self.arguments.kelly_fraction, "reason": self.arguments.reason}
        return context.post("api", "/api/risk/kelly", body, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether `/api/status` shows a Kelly fraction that it did not show before."""
        asked = self.arguments.kelly_fraction
        return not _is(before.target.fields["kelly_fraction"], asked) and _is(status(context).kelly_fraction, asked)


class RefreshVolatilityArguments(ActionArguments):
    """Why the estimates are computed anew."""

    reason: Reason = "stale volatility estimates"


class RefreshVolatility(_Crypto):
    """Compute the volatility estimates anew from market data; positions follow the fresh figures."""

    name = "crypto.refresh-volatility"
    kind = "basic-fix"
    calm_s = _GROWTH_S
    Arguments = RefreshVolatilityArguments
    arguments: RefreshVolatilityArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it from the figures seen."""
        largest = seen.facts["max_var_pct"]
        limit = float(context.limits.get("var_pct_alert", SEED_ALERT_PCT))
        return Description(
            summary=f"Refresh the volatility estimates of {context.platform}",
            preview={
                "measure": "largest VaR of a symbol",
                "unit": "% of NAV",
                "before": round(largest, 4),
                "after": None,
                "limit": limit,
                "rows": [
                    {"symbol": symbol, "var_pct": round(value, 4)}
                    for symbol, value in sorted(seen.measures["var_pct"].items(), key=lambda item: -item[1])
                ],
            },
            expected_effect="positions follow the fresh estimates; how far VaR falls depends on how stale they were",
            blast_radius={
                "estimates": len(seen.measures["var_pct"]),
                "notional_usd": round(seen.facts["gross_notional_usd"], 2),
            },
            residual_risk="a position grows where the fresh estimate is lower than the stale one",
            undo=Undo(kind="none", reason="the platform does not keep the estimates that are replaced"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Ask the platform for it."""
        return context.post("api", "/api/risk/refresh-volatility", {"reason": self.arguments.reason}, key=key)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether `/api/status` shows it."""
        return status(context).volatility_updated_at > str(before.facts["volatility_updated_at"])


def _half_to_half_more(gross: float) -> Bounds:
    """Positions may move by half either way before a plan that adds risk is void."""
    return Bounds(previewed=gross, low=gross * 0.5, high=gross * 1.5)


def _is(one: float, other: float) -> bool:
    """Whether two Kelly fractions are the same figure."""
    return abs(one - other) < 1e-9
