"""Prices, sensitivities and implied volatilities of options."""

from engine.pricing.calibration import HestonFit, calibrate_heston
from engine.pricing.closed_form import Greeks, european
from engine.pricing.early_exercise import American, american
from engine.pricing.heston import HestonGreeks, heston_greeks, heston_price
from engine.pricing.implied import implied_volatility, implied_volatility_reason
from engine.pricing.models import GBM, Heston
from engine.pricing.payoffs import Asian, Barrier, European, PathPayoff
from engine.pricing.simulation import MonteCarlo, monte_carlo
from engine.pricing.verification import GreekCheck, Verification, verify_greeks

__all__ = [
    "GBM",
    "American",
    "Asian",
    "Barrier",
    "European",
    "GreekCheck",
    "Greeks",
    "Heston",
    "HestonFit",
    "HestonGreeks",
    "MonteCarlo",
    "PathPayoff",
    "Verification",
    "american",
    "calibrate_heston",
    "european",
    "heston_greeks",
    "heston_price",
    "implied_volatility",
    "implied_volatility_reason",
    "monte_carlo",
    "verify_greeks",
]
