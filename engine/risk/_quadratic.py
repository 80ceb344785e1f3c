"""The distribution of a quadratic function of normal variables: quantile, tail and what brings them about.

``L = constant + b . z + (curvature . z**2) / 2`` with independent standard normal z has a moment generating function
in closed form. Probability beyond v, density at v and mean excess over v are inverse Laplace integrals of it, taken by
the trapezoidal rule along a contour through the saddle point that bends away from the imaginary direction, where the
integrand falls off exponentially. Each is computed with two step lengths, whose difference is the error that is stated.

References
----------
.. [1] J. P. Imhof, "Computing the distribution of quadratic forms in normal variables", Biometrika 48 (1961), eq. 2.1
   and 3.2 (the distribution, by inversion of its characteristic function), doi:10.1093/biomet/48.3-4.419.
.. [2] S. O. Rice, "Distribution of quadratic forms in normal random variables", SIAM Journal on Scientific and
   Statistical Computing 1 (1980), section 3 (contours through the saddle point), doi:10.1137/0901032.
.. [3] C. Rouvinez, "Going Greek with VaR", Risk 10 (1997): delta-gamma VaR by this inversion.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray
from engine.errors import EngineError

__all__ = ["Quadratic", "Tail", "tail_of"]

_STEP, _REACH = 0.06, 45.0  # of the parameter of the contour; sinh(45) is beyond every scale of the integrand
_FINER = (0.03, 0.015, 0.0075)  # where a pole lies near every contour
_BENDS = (0.577, -0.577, 0.2, -0.2, 0.0)  # cotangent of the angle in the far field; the first is 60 degrees
_GOOD = 1e-14  # relative error at which no other contour is tried; the moments are then right to 1e-11
_ENOUGH = 1e-6  # relative error beyond which there is no answer
_ITERATIONS = 100


class Quadratic(NamedTuple):
    """The function.

    Attributes
    ----------
    constant : float
    slope, curvature : ndarray, shape (n,)
    """

    constant: float
    slope: FloatArray
    curvature: FloatArray


class Tail(NamedTuple):
    """The upper tail of a quadratic function.

    Attributes
    ----------
    quantile, shortfall : float
        Value exceeded with the stated probability, and mean of what exceeds it.
    error : float
        Relative error of the integrals.
    mean_at, moment_at : ndarray, shape (n,) and (n, n)
        Mean of z and of its products where the function equals the quantile.
    mean_beyond, moment_beyond : ndarray
        The same where it exceeds it.
    """

    quantile: float
    shortfall: float
    error: float
    mean_at: FloatArray
    moment_at: FloatArray
    mean_beyond: FloatArray
    moment_beyond: FloatArray


class _Contour(NamedTuple):
    """Integrals along a contour: nodes, weights of the density, their sums over 1, s and s squared, and the error."""

    nodes: NDArray[np.complex128]
    weights: NDArray[np.complex128]
    density: float
    beyond: float
    excess: float
    error: float


def tail_of(function: Quadratic, probability: float) -> Tail:
    """Return the upper tail that has the stated probability."""
    n = function.slope.size
    scale = math.sqrt(float((function.slope**2).sum() + 0.5 * (function.curvature**2).sum()))
    if scale <= 1e-13 * abs(function.constant) or scale == 0.0:
        # nothing moves, to rounding
        mean, moment = np.zeros(n), np.eye(n)
        return Tail(function.constant, function.constant, 0.0, mean, moment, mean, moment)
    # of mean 0 and variance 1
    slope, curvature = function.slope / scale, function.curvature / scale
    centre = function.constant + 0.5 * float(function.curvature.sum())
    shifted = Quadratic(-0.5 * float(curvature.sum()), slope, curvature)
    level, found = _solve(shifted, probability)
    mean_at, moment_at = _moments(shifted, found.nodes, found.weights / found.density)
    mean_beyond, moment_beyond = _moments(shifted, found.nodes, found.weights / found.nodes / found.beyond)
    quantile = centre + scale * level
    shortfall = quantile + scale * found.excess / found.beyond
    return Tail(quantile, shortfall, found.error, mean_at, moment_at, mean_beyond, moment_beyond)


def _solve(function: Quadratic, probability: float) -> tuple[float, _Contour]:
    """The quantile by Newton's method within a bracket, and the integrals there."""
    low, high = -math.inf, _supremum(function)
    level = NormalDist().inv_cdf(1.0 - probability)
    if level >= high:
        level = high - 0.1
    found, step = None, math.inf
    for _ in range(_ITERATIONS):
        found = _integrals(function, level)
        if found.beyond > probability:
            low = level
        else:
            high = level
        # Newton on the logarithm, which is nearly straight in a tail
        step = found.beyond / found.density * math.log(found.beyond / probability) if found.beyond > 0.0 else -1.0
        if abs(step) <= 1e-12 * max(1.0, abs(level)):
            break
        following = level + max(-3.0, min(step, 3.0))
        if not low < following < high:
            following = (
                0.5 * (low + high) if math.isfinite(low) and math.isfinite(high) else level + math.copysign(1.0, step)
            )
        if following == level:
            break
        level = following
    # a search that ended elsewhere is no answer either
    if found is None or not found.error <= _ENOUGH or not abs(step) <= _ENOUGH * max(1.0, abs(level)):
        problem = "the distribution of the delta-gamma profit could not be integrated"
        raise EngineError(f"{problem} (relative error {found.error if found else math.nan:.1g}); use full revaluation")
    return level, found


def _supremum(function: Quadratic) -> float:
    """The least upper bound of the function, infinite unless every factor bends downwards."""
    slope, curvature = function.slope, function.curvature
    if (curvature > 0.0).any() or ((curvature == 0.0) & (slope != 0.0)).any():
        return math.inf
    bent = curvature < 0.0
    return function.constant - float((slope[bent] ** 2 / (2.0 * curvature[bent])).sum())


def _integrals(function: Quadratic, level: float) -> _Contour:
    """Density at a level, probability beyond it, and mean excess; on the contour that does best."""
    saddle, width = _saddle(function, level)
    best, along = _along(function, level, saddle, width, _BENDS[0]), _BENDS[0]
    for bend in _BENDS[1:]:
        if best.error <= _GOOD:
            return best
        found = _along(function, level, saddle, width, bend)
        if not best.error <= found.error:
            best, along = found, bend
    for step in _FINER:
        if best.error <= _GOOD:
            return best
        found = _along(function, level, saddle, width, along, step)
        if not best.error <= found.error:
            best = found
    return best


def _saddle(function: Quadratic, level: float) -> tuple[float, float]:
    """Where the integrand of the probability is least on the positive axis, and how wide it is there."""
    constant, slope, curvature = function
    top = float(curvature.max(initial=0.0))

    def derivative(s: float) -> float:
        rest = 1.0 - curvature * s
        tilt = 0.5 * curvature / rest + slope**2 * s * (1.0 - 0.5 * curvature * s) / rest**2
        return constant - level - 1.0 / s + float(tilt.sum())

    low, high = 0.0, 1.0 / top if top > 0.0 else math.inf
    s = min(1.0, 0.5 * high)
    for _ in range(200):
        if derivative(s) > 0.0:
            high = s
        else:
            low = s
        # where it barely bends upwards the bound is far away: from its middle the search would not come back
        following = 0.5 * (low + high) if high <= 4.0 * s else 2.0 * s
        if following == s or s > 1e12 or high - low <= 1e-3 * low:
            break
        s = following
    rest = 1.0 - curvature * s
    bend = 0.5 * (curvature / rest) ** 2 + slope**2 / rest**3
    return s, 1.0 / math.sqrt(1.0 / s**2 + float(bend.sum()))


def _along(
    function: Quadratic, level: float, saddle: float, width: float, bend: float, step: float = _STEP
) -> _Contour:
    """The integrals along one contour; the trapezoid of every other node tells the error."""
    y = np.arange(0.0, _REACH, step)
    nodes = saddle + width * (1j * np.sinh(y) + bend * (np.cosh(y) - 1.0))
    lengths = width * (np.cosh(y) - 1j * bend * np.sinh(y)) * (step / math.pi)  # ds / (2 pi i), both halves
    lengths[0] *= 0.5
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        exponents = _cumulant(function, nodes) - nodes * level
        peak = exponents[0].real
        relative = np.exp(exponents - peak) * lengths
    usable = np.isfinite(relative)
    last = int(np.argmin(usable)) if not usable.all() else usable.size
    relative, nodes = relative[:last], nodes[:last]
    if last < 8 or float(np.abs(relative[-1])) > 1e-6 * float(np.abs(relative).max()):
        return _Contour(nodes, relative, math.nan, math.nan, math.nan, math.inf)
    figures = []
    errors = []
    for power in (0, 1, 2):
        with np.errstate(over="ignore", invalid="ignore"):  # what has no bound is no answer: its error is not finite
            parts = relative / nodes**power
        terms = parts.real
        fine, coarse = float(terms.sum()), 2.0 * float(terms[::2].sum())
        rounding = 4e-16 * float(np.abs(parts).sum())
        cut = float(np.abs(parts[-1]))
        figures.append(fine)
        # the error of the trapezoid falls geometrically: halving the step squares it
        errors.append((((coarse - fine) / fine) ** 2 + (rounding + cut) / abs(fine)) if fine > 0.0 else math.inf)
    factor = math.exp(peak) if peak < 700.0 else math.inf
    density, beyond, excess = (figure * factor for figure in figures)
    with np.errstate(over="ignore", invalid="ignore"):  # far from the quantile, on the way to it
        weights = relative * factor
    error = max(errors) if np.isfinite(weights).all() else math.inf
    return _Contour(nodes, weights, density, beyond, excess, error)


def _cumulant(function: Quadratic, nodes: NDArray[np.complex128]) -> Any:
    """Logarithm of the moment generating function."""
    total = function.constant * nodes
    for start in range(0, function.slope.size, 64):
        slope, curvature = function.slope[start : start + 64], function.curvature[start : start + 64]
        rest = 1.0 - nodes[:, None] * curvature
        total += (0.5 * (nodes[:, None] * slope) ** 2 / rest - 0.5 * np.log(rest)).sum(axis=1)
    return total


def _moments(
    function: Quadratic, nodes: NDArray[np.complex128], weights: NDArray[np.complex128]
) -> tuple[FloatArray, FloatArray]:
    """Mean of z and of its products, each node weighing the normal law that is tilted by it."""
    rest = 1.0 / (1.0 - nodes[:, None] * function.curvature)
    centre = nodes[:, None] * function.slope * rest
    moment = np.real((weights[:, None] * centre).T @ centre) + np.diag(np.real(weights @ rest))
    return np.real(weights @ centre), moment
