"""Prices, sensitivities and implied volatilities of options."""

from engine.pricing.closed_form import Greeks, european
from engine.pricing.implied import implied_volatility, implied_volatility_reason

__all__ = ["Greeks", "european", "implied_volatility", "implied_volatility_reason"]
