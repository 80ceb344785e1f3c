"""Risk of a book: value at risk, expected shortfall, explained profit, sizing, trends and capacity."""

from engine.risk.attribution import PnlExplanation, PnlTerms, explain_pnl
from engine.risk.backtest import Backtest, LikelihoodRatio, backtest_var
from engine.risk.book import Book
from engine.risk.capacity import CapacityForecast, forecast_capacity
from engine.risk.kelly import kelly_for_var, kelly_fraction
from engine.risk.market import Market, VolatilitySurface
from engine.risk.measures import RiskMeasure, expected_shortfall, value_at_risk
from engine.risk.revaluation import Revaluation, revalue
from engine.risk.scenarios import Scenarios
from engine.volatility import ChangePoint, Trend, change_point, trend

__all__ = [
    "Backtest",
    "Book",
    "CapacityForecast",
    "ChangePoint",
    "LikelihoodRatio",
    "Market",
    "PnlExplanation",
    "PnlTerms",
    "Revaluation",
    "RiskMeasure",
    "Scenarios",
    "Trend",
    "VolatilitySurface",
    "backtest_var",
    "change_point",
    "expected_shortfall",
    "explain_pnl",
    "forecast_capacity",
    "kelly_for_var",
    "kelly_fraction",
    "revalue",
    "trend",
    "value_at_risk",
]
