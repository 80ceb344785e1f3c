"""Quotes as a least-squares problem in the five parameters of Heston's model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine.pricing._heston_contour import GRADIENT
from engine.pricing._heston_slices import Options, Slices, integrate, run, sliced

__all__ = ["Surface", "surface"]


class Surface(NamedTuple):
    """Quotes by expiry, everything that does not depend on the parameters worked out.

    Attributes
    ----------
    slices : Slices
        One for each expiry; its models are overwritten at each evaluation.
    scale : ndarray
        Root of discounted spot times discounted strike [currency].
    time_value : ndarray
        Price less payoff of the discounted forward [currency].
    weights : ndarray
        What each residual is multiplied with.
    floor : float
        Sum of squares that rounding alone can leave.
    on_card : bool
        Where the integrals are computed; those of another contour, which check them, are not.
    """

    slices: Slices
    scale: FloatArray
    time_value: FloatArray
    weights: FloatArray
    floor: float
    on_card: bool

    def residuals(self, model: FloatArray, *, another: bool = False) -> tuple[FloatArray, FloatArray]:
        """Return the weighted residuals, and their derivatives to the parameters, of shape (n, 5)."""
        values = self._rows(model, another)
        factor = self.weights * self.scale
        return factor * values[0] - self.weights * self.time_value, (factor * values[1:]).T

    def disagreement(self, model: FloatArray) -> float:
        """Return the largest difference in price between two contours, the second with half the step [currency]."""
        one, other = self._rows(model, another=False)[0], self._rows(model, another=True)[0]
        return float(np.max(self.scale * np.abs(one - other)))

    def _rows(self, model: FloatArray, another: bool) -> FloatArray:
        self.slices.models[1:] = model[:, None]
        values = np.empty((GRADIENT, self.slices.x.size))
        gaps = np.empty(self.slices.models.shape[1])
        if another:
            run(self.slices, GRADIENT, values, gaps, another)
        else:
            integrate(self.slices, GRADIENT, values, gaps, on_card=self.on_card)
        return values


def surface(options: Options, price: FloatArray, weights: FloatArray) -> Surface:
    """Return the quotes whose weight is not zero, by expiry."""
    kept = np.flatnonzero((weights > 0.0) & ~np.broadcast_to(options.trivial, weights.shape))

    def column(values: Any) -> Any:
        return np.broadcast_to(values, weights.shape)[kept]

    used = options._replace(
        shape=(kept.size,),
        spot=column(options.spot),
        expiry=column(options.expiry),
        sign=column(options.sign),
        own=column(options.own),
        owed=column(options.owed),
        x=column(options.x),
        trivial=column(options.trivial),
    )
    slices = sliced(used)
    order = slices.order
    own, owed, weight = used.own[order], used.owed[order], weights[kept][order]
    payoff = np.maximum(used.sign[order] * (own - owed), 0.0)
    floor = float(np.sum((1e-14 * weight * (own + owed)) ** 2))
    return Surface(slices, used.scale[order], price[kept][order] - payoff, weight, floor, used.where != "main memory")
