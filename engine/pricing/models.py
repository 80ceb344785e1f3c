"""How an underlying moves under the risk-neutral measure, for `engine.pricing.monte_carlo`.

Rate and dividend yield are constant and continuously compounded; time is in years.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from engine._checks import positive
from engine.errors import InvalidInput
from engine.pricing.payoffs import number

__all__ = ["GBM", "Heston", "Model"]


@dataclass(frozen=True, slots=True)
class GBM:
    """Geometric Brownian motion, ``dS/S = (rate - dividend) dt + volatility dW``.

    Attributes
    ----------
    spot : float
        Above 0 [currency].
    rate, dividend : float
        Per year, any sign.
    volatility : float
        Per square root of a year, at least 0.

    Examples
    --------
    >>> from engine.pricing import GBM
    >>> GBM(spot=100.0, rate=0.03, dividend=0.0, volatility=0.2).volatility
    0.2
    """

    spot: float
    rate: float
    dividend: float
    volatility: float

    def __post_init__(self) -> None:
        _check(self)
        _at_least_zero("volatility", self.volatility)


@dataclass(frozen=True, slots=True)
class Heston:
    """Heston's model, ``dv = kappa (theta - v) dt + sigma sqrt(v) dZ`` with ``dW dZ = rho dt``.

    Attributes
    ----------
    spot : float
        Above 0 [currency].
    rate, dividend : float
        Per year, any sign.
    v0 : float
        Variance now, at least 0 [1/year].
    kappa : float
        Speed of its return to `theta`, above 0 [1/year].
    theta : float
        Variance in the long run, above 0 [1/year].
    sigma : float
        Volatility of the variance, above 0.
    rho : float
        Correlation of spot and variance, from -1 to 1.

    Examples
    --------
    >>> from engine.pricing import Heston
    >>> Heston(100.0, 0.0319, 0.0, v0=0.010201, kappa=6.21, theta=0.019, sigma=0.61, rho=-0.7).rho
    -0.7
    """

    spot: float
    rate: float
    dividend: float
    v0: float
    kappa: float
    theta: float
    sigma: float
    rho: float

    def __post_init__(self) -> None:
        _check(self)
        _at_least_zero("v0", self.v0)
        for name in ("kappa", "theta", "sigma"):
            positive(name, number(name, getattr(self, name)))
        if not -1.0 <= number("rho", self.rho) <= 1.0:
            raise InvalidInput("rho", f"is {self.rho}; must lie from -1 to 1")


Model = GBM | Heston


def _check(model: Model) -> None:
    positive("spot", number("spot", model.spot))
    for name in ("rate", "dividend"):
        if not math.isfinite(number(name, getattr(model, name))):
            raise InvalidInput(name, f"is {getattr(model, name)}; must be a finite number")


def _at_least_zero(name: str, value: Any) -> None:
    if not 0.0 <= number(name, value) < math.inf:
        raise InvalidInput(name, f"is {value}; must be a finite number, at least 0")
