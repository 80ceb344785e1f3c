"""Risk mathematics of the playbooks; knows nothing of incidents."""

from engine.errors import DeviceMissing, EngineError, InvalidInput, NotFinite, TooFewObservations
from engine.pricing import Greeks, european, implied_volatility, implied_volatility_reason
from engine.risk import RiskMeasure, expected_shortfall, kelly_for_var, kelly_fraction, value_at_risk
from engine.volatility import ChangePoint, Trend, change_point, realised_volatility, trend

__all__ = [
    "ChangePoint",
    "DeviceMissing",
    "EngineError",
    "Greeks",
    "InvalidInput",
    "NotFinite",
    "RiskMeasure",
    "TooFewObservations",
    "Trend",
    "change_point",
    "european",
    "expected_shortfall",
    "implied_volatility",
    "implied_volatility_reason",
    "kelly_for_var",
    "kelly_fraction",
    "realised_volatility",
    "trend",
    "value_at_risk",
]
