"""Compiled loops behind `engine.pricing.simulation`, over blocks of paths.

An array of a block has a row for each dimension or step and a column for each path, so that each loop over paths is a
loop of vector instructions on one row after the other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine._compile import cached, digest, exponential, exponential_within, inline, log_ratio, logarithm
from engine.pricing import _formulas, _inversion, _simulation_formulas

__all__ = ["SimulationKernels", "kernels", "warm"]

_Function = Callable[..., Any]

_erfcx = _formulas.make(inline, exponential_within, logarithm, log_ratio).erfcx
_formulae = _simulation_formulas.make(inline, exponential, logarithm, _erfcx)
_philox, _scramble, _normal, _step = _formulae
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_HIGHEST = 709.0  # of a log, for a float
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@inline
def _spot(log: float) -> float:
    """Return the spot; infinite where a float does not hold it, so that it cannot pass unseen."""
    return exponential(log) if log <= _HIGHEST else math.inf


class SimulationKernels(NamedTuple):
    """The cached functions.

    Attributes
    ----------
    pseudo : callable
        Fills normal numbers, of shape (4 k, n_paths), from the key and the number of the first path.
    sobol : callable
        Fills normal numbers, of shape (n_dimensions, n_paths), from the key, the number of the randomisation, the
        first point (a multiple of the number of paths, itself a power of 2) and the direction numbers.
    bridge : callable
        Turns normal numbers in the order of a bridge into increments in the order of time.
    gbm, heston : callable
        Fill the log-spots, of shape (n_steps + 1, n_paths), from normal numbers.
    pay : callable
        Fills discounted payoffs and controls from log-spots.
    moments : callable
        Mean and centred second moments of payoffs and controls.
    """

    pseudo: _Function
    sobol: _Function
    bridge: _Function
    gbm: _Function
    heston: _Function
    pay: _Function
    moments: _Function


@functools.cache
def kernels() -> SimulationKernels:
    """Return the functions; each is compiled, or loaded from the cache, by its first call."""
    return _build(digest(__file__, _formulas.__file__, _inversion.__file__, _simulation_formulas.__file__))


def _build(source: str) -> SimulationKernels:
    @cached
    def pseudo(z: FloatArray, k0: Any, k1: Any, first: Any, words: Any) -> None:
        source  # noqa: B018 - part of the cache's key
        w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
        for quad in range(-(-z.shape[0] // 4)):
            for i in range(z.shape[1]):
                path = first + np.uint64(i)
                w0[i], w1[i], w2[i], w3[i] = _philox(path & _LOW, path >> _WORD, np.uint64(quad), _ZERO, k0, k1)
            for place in range(4 * quad, min(4 * quad + 4, z.shape[0])):
                word, row = words[place - 4 * quad], z[place]
                for i in range(z.shape[1]):
                    row[i] = _normal(word[i])

    @cached
    def sobol(z: FloatArray, k0: Any, k1: Any, replicate: Any, first: int, directions: Any, scratch: Any) -> None:
        source  # noqa: B018 - part of the cache's key
        n_dimensions, n = z.shape
        words = scratch[0]
        for dimension in range(n_dimensions):
            columns, row = directions[dimension], z[dimension]
            word, left, bit = _ZERO, first, 0
            while left:
                if left & 1:
                    word ^= columns[bit]
                left >>= 1
                bit += 1
            words[0] = word
            size, bit = 1, 0
            while size < n:
                for i in range(size):
                    words[size + i] = words[i] ^ columns[bit]
                size *= 2
                bit += 1
            factor, summand, shift, _ = _philox(np.uint64(dimension), _LOW, _LOW, replicate + _ONE, k0, k1)
            for i in range(n):
                words[i] = _scramble(words[i], factor, summand, shift)
            for i in range(n):
                row[i] = _normal(words[i])

    @cached
    def bridge(z: FloatArray, factors: int, places: Any, weights: FloatArray, path: FloatArray) -> None:
        source  # noqa: B018 - part of the cache's key
        n_steps = len(places)
        for factor in range(factors):
            path[0] = 0.0
            for k in range(n_steps):
                target, left, right = path[places[k, 0]], path[places[k, 1]], path[places[k, 2]]
                from_left, from_right, spread = weights[k, 0], weights[k, 1], weights[k, 2]
                row = z[k * factors + factor]
                for i in range(z.shape[1]):
                    target[i] = from_left * left[i] + from_right * right[i] + spread * row[i]
            for k in range(n_steps):
                before, after, row = path[k], path[k + 1], z[k * factors + factor]
                for i in range(z.shape[1]):
                    row[i] = after[i] - before[i]

    @cached
    def gbm(z: FloatArray, start: float, drift: float, deviation: float, logs: FloatArray) -> None:
        source  # noqa: B018 - part of the cache's key
        logs[0] = start
        for k in range(logs.shape[0] - 1):
            before, after, row = logs[k], logs[k + 1], z[k]
            for i in range(z.shape[1]):
                after[i] = before[i] + drift + deviation * row[i]

    @cached
    def heston(
        z: FloatArray, start: float, v0: float, constants: Any, drift: Any, logs: FloatArray, variances: FloatArray
    ) -> None:
        source  # noqa: B018 - part of the cache's key
        carry, k1, k2, k3, k4 = drift
        logs[0] = start
        variance, later, right = variances[0], variances[1], variances[2]
        variance[:] = v0
        for k in range(logs.shape[0] - 1):
            before, after, own, other = logs[k], logs[k + 1], z[2 * k], z[2 * k + 1]
            for i in range(z.shape[1]):
                later[i], right[i] = _step(variance[i], own[i], constants)
            for i in range(z.shape[1]):
                noise = math.sqrt(max(k3 * variance[i] + k4 * later[i], 0.0)) * other[i]
                after[i] = before[i] + carry + right[i] + k1 * variance[i] + k2 * later[i] + noise
            variance[:] = later

    @cached
    def pay(code: int, logs: FloatArray, numbers: Any, every: int, values: FloatArray, controls: FloatArray) -> None:
        source  # noqa: B018 - part of the cache's key
        strike, sign, discount, barrier, side, knock_in, rebate, per_variance, control = numbers
        n_steps = logs.shape[0] - 1
        last = logs[n_steps]
        n = values.size
        per = every / n_steps
        if code == 1 or code == 2:
            values[:] = 0.0
            controls[:] = 0.0
            for k in range(every, n_steps + 1, every):
                row = logs[k]
                if code == 1:
                    for i in range(n):
                        values[i] += per * _spot(row[i])
                for i in range(n):
                    controls[i] += per * row[i]
            for i in range(n):
                geometric = _spot(controls[i])
                mean = values[i] if code == 1 else geometric
                values[i] = discount * max(sign * (mean - strike), 0.0)
                controls[i] = discount * max(sign * (geometric - strike), 0.0)
        elif code == 0:
            for i in range(n):
                values[i] = discount * max(sign * (_spot(last[i]) - strike), 0.0)
        else:
            values[:] = 1.0  # becomes the probability that the barrier was not met
            if code == 3:
                for k in range(every, n_steps + 1, every):
                    row = logs[k]
                    for i in range(n):
                        values[i] = values[i] if side * (barrier - row[i]) > 0.0 else 0.0
            else:
                for k in range(n_steps):
                    before, after = logs[k], logs[k + 1]
                    for i in range(n):
                        room = max(side * (barrier - before[i]), 0.0) * max(side * (barrier - after[i]), 0.0)
                        values[i] *= 1.0 - exponential(-per_variance * room)
            for i in range(n):
                alive = 1.0 - values[i] if knock_in > 0.0 else values[i]
                payoff = max(sign * (_spot(last[i]) - strike), 0.0)
                values[i] = discount * (alive * payoff + (1.0 - alive) * rebate)
        if control == 0.0:
            for i in range(n):
                controls[i] = discount * _spot(last[i])
        elif control == 2.0:
            for i in range(n):
                controls[i] = discount * max(sign * (_spot(last[i]) - strike), 0.0)

    @cached
    def moments(values: FloatArray, controls: FloatArray, found: FloatArray) -> None:
        source  # noqa: B018 - part of the cache's key
        n = values.size
        value = values.mean()
        control = controls.mean()
        own = cross = other = 0.0
        for i in range(n):
            a, b = values[i] - value, controls[i] - control
            own += a * a
            cross += a * b
            other += b * b
        found[0], found[1], found[2], found[3], found[4], found[5] = n, value, control, own, cross, other

    return SimulationKernels(pseudo, sobol, bridge, gbm, heston, pay, moments)


def warm() -> None:
    """Compile or load every function, by calls that the public function makes."""
    from engine.pricing import GBM, European, Heston, monte_carlo

    payoff, market = European(100.0, 1.0, "call"), (100.0, 0.02, 0.01)
    monte_carlo(payoff, GBM(*market, 0.2), 64, 0, n_steps=2)
    monte_carlo(payoff, Heston(*market, 0.04, 1.0, 0.04, 0.5, -0.5), 64, 0, n_steps=2, sampling="pseudo")
