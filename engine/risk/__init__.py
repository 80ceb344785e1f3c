"""Risk of a book: value at risk, expected shortfall, sizing and trends."""

from engine.risk.kelly import kelly_for_var, kelly_fraction
from engine.risk.measures import RiskMeasure, expected_shortfall, value_at_risk
from engine.volatility import ChangePoint, Trend, change_point, trend

__all__ = [
    "ChangePoint",
    "RiskMeasure",
    "Trend",
    "change_point",
    "expected_shortfall",
    "kelly_for_var",
    "kelly_fraction",
    "trend",
    "value_at_risk",
]
