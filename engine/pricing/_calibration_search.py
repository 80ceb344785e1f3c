"""Least squares within a box, from several starts, and what speaks against the best of what they found.

References
----------
.. [1] K. Madsen, H. B. Nielsen, O. Tingleff, *Methods for Non-Linear Least Squares Problems*, 2nd ed. (2004): algorithm
   3.16 and the damping of eq. 2.21.
.. [2] J. H. Halton, "On the efficiency of certain quasi-random sequences of points", Numerische Mathematik 2 (1960),
   doi:10.1007/BF01386213.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray

__all__ = ["HIGH", "LOW", "Found", "descend", "search", "spread", "undetermined"]

Residuals = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

LOW = np.array([1e-7, 1e-4, 1e-7, 1e-4, -0.9999])  # v0, kappa, theta, sigma, rho
HIGH = np.array([10.0, 100.0, 10.0, 20.0, 0.9999])

_PRIMES = (2, 3, 5, 7, 11)
_NEAREST, _FARTHEST = np.array([0.4, 0.3, 0.4, 0.1, -0.9]), np.array([2.5, 8.0, 2.5, 1.5, 0.4])
_STEPS = 200
_FARTHEST_STEP = math.log(5.0)
_STATIONARY = 1e-8  # share of the squared residuals that a linear step could still explain
_LEAST, _MOST = 4, 12  # starts
_FEW = 10  # quotes that more than one model may fit exactly
_EQUAL_COST, _EQUAL_MODEL = 1e-4, 1e-2


class Found(NamedTuple):
    """Where a descent ended.

    Attributes
    ----------
    model : ndarray
        v0, kappa, theta, sigma, rho.
    cost : float
        Sum of the squared residuals.
    explained : float
        Share of it that a linear step within the box could still explain; 0 where only rounding is left.
    jacobian : ndarray
        Of shape (n, 5).
    """

    model: FloatArray
    cost: float
    explained: float
    jacobian: FloatArray

    @property
    def stationary(self) -> bool:
        """Whether no direction improves the fit."""
        return self.explained <= _STATIONARY

    @property
    def bound(self) -> bool:
        """Whether a parameter sits on a bound of the box."""
        return bool(np.any((self.model <= LOW) | (self.model >= HIGH)))


def descend(residuals: Residuals, start: FloatArray, floor: float) -> Found:
    """Minimise the sum of squares by Levenberg and Marquardt's method [1]_, within the box.

    Steps are taken in the logarithms of what is positive: kappa times theta is what quotes fix best, and the valley of
    equal products is straight only there.
    """
    model = np.clip(start, LOW, HIGH)
    r, jacobian = residuals(model)
    cost, damping, growth = float(r @ r), 1e-3, 2.0
    if not math.isfinite(cost) or not np.isfinite(jacobian).all():
        return Found(model, math.inf, 1.0, jacobian)
    explained = _explained(model, r, jacobian)
    for _ in range(_STEPS):
        if cost <= floor:
            return Found(model, cost, 0.0, jacobian)
        if explained <= 1e-4 * _STATIONARY:
            break
        free = _free(model, jacobian.T @ r)
        unit = np.append(model[:4], 1.0)
        partial = jacobian[:, free] * unit[free]
        size = np.sqrt(np.einsum("ij,ij->j", partial, partial)) + 1e-300
        scaled = partial / size
        step = np.zeros(5)
        # the problem stacked with its damping: better conditioned than the normal equations
        stacked = np.vstack([scaled, np.sqrt(damping) * np.eye(len(size))])
        step[free] = np.linalg.lstsq(stacked, np.append(-r, np.zeros(len(size))), rcond=None)[0] / size
        trial = _within(model, step)
        r_trial, jacobian_trial = residuals(trial)
        cost_trial = float(r_trial @ r_trial)
        taken = np.append(np.log(trial[:4] / model[:4]), trial[4] - model[4])
        linear = r + (jacobian * unit) @ taken
        expected = cost - float(linear @ linear)
        if cost_trial < cost and np.isfinite(jacobian_trial).all():
            gain = (cost - cost_trial) / max(expected, 1e-300)
            damping = max(damping * max(0.1, 1.0 - (2.0 * min(gain, 1.0) - 1.0) ** 3), 1e-14)
            growth = 2.0
            model, r, jacobian, cost = trial, r_trial, jacobian_trial, cost_trial
            explained = _explained(model, r, jacobian)
        else:
            if not np.any(trial != model) or damping > 1e12:
                break
            damping *= growth
            growth *= 2.0
    return Found(model, cost, explained, jacobian)


def search(residuals: Residuals, starts: Iterator[FloatArray], floor: float) -> tuple[list[Found], bool]:
    """Descend from one start after another, until the best is confirmed or is exact; return all, and whether it is."""
    found: list[Found] = []
    for start in starts:
        found.append(descend(residuals, start, floor))
        found.sort(key=lambda one: one.cost)
        best = found[0]
        if best.cost <= floor and len(best.jacobian) > _FEW:
            return found, True
        if len(found) >= _LEAST and sum(_as_good(one, best, floor) for one in found) > 1:
            break
        if len(found) == _MOST or (len(found) == _LEAST and not any(one.stationary for one in found)):
            break
    rivals = [one for one in found if _as_good(one, found[0], floor)]
    agree = all(np.allclose(one.model, found[0].model, rtol=_EQUAL_MODEL, atol=1e-6) for one in rivals)
    return found, len(rivals) > 1 and agree


def spread(level: float) -> Iterator[FloatArray]:
    """Yield starts that fill the box in which markets live, variances relative to `level` (Halton's points [2]_)."""
    place = 0
    while True:
        place += 1
        unit = np.array([_radical_inverse(place, prime) for prime in _PRIMES])
        ratio = np.append((_FARTHEST[:4] / _NEAREST[:4]) ** unit[:4] * _NEAREST[:4], 0.0)
        ratio[4] = _NEAREST[4] + unit[4] * (_FARTHEST[4] - _NEAREST[4])
        ratio[[0, 2]] *= level
        yield ratio


def undetermined(found: Found, floor: float) -> bool:
    """Whether the residuals leave a parameter as uncertain as itself, or there are too few of them."""
    n = len(found.jacobian)
    if n < 5 or not math.isfinite(found.cost):
        return True
    size = np.append(found.model[:4], 1.0)
    _, singular, rotation = np.linalg.svd(found.jacobian * size, full_matrices=False)
    noise = (found.cost + floor) / max(n - 5, 1)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        variances = noise * np.sum((rotation / singular[:, None]) ** 2, axis=0)
    return not bool(np.all(variances < 1.0))


def _as_good(one: Found, best: Found, floor: float) -> bool:
    return one.cost <= best.cost * (1.0 + _EQUAL_COST) + floor


def _free(model: FloatArray, slope: FloatArray) -> NDArray[np.bool_]:
    """Return which parameters may move downhill without leaving the box."""
    stuck: NDArray[np.bool_] = ((model <= LOW) & (slope > 0.0)) | ((model >= HIGH) & (slope < 0.0))
    return ~stuck


def _explained(model: FloatArray, r: FloatArray, jacobian: FloatArray) -> float:
    """Return the share of the squared residuals within the span of the derivatives."""
    total = float(r @ r)
    partial = jacobian[:, _free(model, jacobian.T @ r)]
    if total == 0.0 or partial.shape[1] == 0:
        return 0.0
    size = np.sqrt(np.einsum("ij,ij->j", partial, partial)) + 1e-300
    axes, singular, _ = np.linalg.svd(partial / size, full_matrices=False)
    return float(np.sum((axes[:, singular > 1e-11 * singular[0]].T @ r) ** 2)) / total


def _within(model: FloatArray, step: FloatArray) -> FloatArray:
    """Return the model after the step: positive ones by no more than a factor of 5, correlation by half its way."""
    moved = np.append(model[:4] * np.exp(np.clip(step[:4], -_FARTHEST_STEP, _FARTHEST_STEP)), model[4] + step[4])
    moved[4] = np.clip(moved[4], 0.5 * (model[4] - 1.0), 0.5 * (model[4] + 1.0))
    inside: FloatArray = np.clip(moved, LOW, HIGH)
    return inside


def _radical_inverse(place: int, base: int) -> float:
    value, digit = 0.0, 1.0 / base
    while place:
        value += digit * (place % base)
        place //= base
        digit /= base
    return value
