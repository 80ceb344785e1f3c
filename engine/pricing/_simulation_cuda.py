"""The paths of `engine.pricing._simulation` on an NVIDIA card, one thread each, of the same scalar formulas.

A card fills payoffs and controls for many cells at a time; their moments are taken here, cell by cell as on the CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba.cuda
import numpy as np

from engine._checks import FloatArray
from engine._device import require_card
from engine._sobol import bridge, directions
from engine.pricing import _formulas, _simulation_formulas
from engine.pricing._simulation import FIGURES, Plan, gbm_step, heston_step, pay_function, terms
from engine.pricing.models import GBM
from engine.pricing.payoffs import PathPayoff

cuda: Any = numba.cuda  # untyped

__all__ = ["Kernels", "simulate_on_card", "sources"]

_NUMBERS_ON_CARD = 1 << 26  # of a launch: three arrays of 512 MiB
_THREADS = 128
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_HIGHEST = 709.0


class Kernels(NamedTuple):
    """The kernels; a column of each array is a path.

    Attributes
    ----------
    pseudo, sobol, bridge, gbm, heston, pay : callable
        As the functions of these names of `engine.pricing._simulation_kernels`.
    """

    pseudo: Any
    sobol: Any
    bridge: Any
    gbm: Any
    heston: Any
    pay: Any


def simulate_on_card(plan: Plan, numbers_on_card: int = _NUMBERS_ON_CARD) -> FloatArray:
    """Return the figures of all cells, of shape (n, `FIGURES`)."""
    from engine.pricing._simulation_kernels import kernels

    require_card()
    compiled, moments = _compiled(), kernels().moments
    block, n_cells = plan.block, plan.n_cells // plan.n_replicates
    found = np.empty((plan.n_cells, FIGURES))
    length = max(1, numbers_on_card // (plan.n_dimensions * block)) * block
    row = 0
    for replicate in range(plan.n_replicates):
        for first in range(0, n_cells * block, length):
            n = min(length, plan.n_points - first)
            values, controls = _launch(compiled, plan, replicate, first, n)
            for start in range(0, n, block):
                moments(values[start : start + block], controls[start : start + block], found[row])
                row += 1
    return found


def _launch(compiled: Kernels, plan: Plan, replicate: int, first: int, n: int) -> tuple[FloatArray, FloatArray]:
    """Return payoffs and controls of n points."""
    grid = -(-n // _THREADS), _THREADS
    k0, k1 = (np.uint64(word) for word in plan.key)
    z = cuda.device_array((plan.n_dimensions, n))
    path = cuda.device_array((plan.n_steps + 1, n))
    if plan.sobol:
        numbers = cuda.to_device(directions(plan.n_dimensions))
        compiled.sobol[grid](z, k0, k1, np.uint64(replicate), first, numbers)
        places, weights = bridge(plan.n_steps)
        factors = plan.n_dimensions // plan.n_steps
        compiled.bridge[grid](z, factors, cuda.to_device(places), cuda.to_device(weights), path)
    else:
        compiled.pseudo[grid](z, k0, k1, np.uint64(first))
    values, controls = _evaluate(compiled, plan, first, z, path, 1.0)
    if plan.antithetic:
        others, their_controls = _evaluate(compiled, plan, first, z, path, -1.0)
        values, controls = 0.5 * (others + values), 0.5 * (their_controls + controls)
    return values, controls


def _evaluate(
    compiled: Kernels, plan: Plan, first: int, z: Any, logs: Any, mirror: float
) -> tuple[FloatArray, FloatArray]:
    n = z.shape[1]
    grid = -(-n // _THREADS), _THREADS
    start = math.log(plan.model.spot)
    if isinstance(plan.model, GBM):
        compiled.gbm[grid](z, mirror, start, *gbm_step(plan, plan.model), logs)
    else:
        compiled.heston[grid](z, mirror, start, float(plan.model.v0), *heston_step(plan, plan.model), logs)
    values, controls = np.empty(n), np.empty(n)
    if isinstance(plan.payoff, PathPayoff):
        pay_function(plan, logs.copy_to_host(), first, values, controls)
        return values, controls
    paid, shown = cuda.device_array(n), cuda.device_array(n)
    code, every, numbers = terms(plan, plan.payoff)
    compiled.pay[grid](code, logs, numbers, every, paid, shown)
    paid.copy_to_host(values)
    shown.copy_to_host(controls)
    return values, controls


@functools.cache
def _compiled() -> Kernels:
    return Kernels(*(cuda.jit(source) for source in sources()))


def sources() -> Kernels:
    """Return the kernels as Python functions, whose formulas are compiled for the card."""

    def device(function: Callable[..., Any]) -> Callable[..., Any]:
        return cuda.jit(device=True)(function)  # type: ignore[no-any-return]

    erfcx = _formulas.make(device, math.exp, math.log).erfcx
    philox, scramble, normal, step = _simulation_formulas.make(device, math.exp, math.log, erfcx)

    # not max, which compilers for cards lack
    @device
    def larger(a: float, b: float) -> float:
        return a if a > b else b

    def pseudo(z: Any, k0: Any, k1: Any, first: Any) -> None:
        i = cuda.grid(1)
        if i < z.shape[1]:
            path = first + np.uint64(i)
            for quad in range((z.shape[0] + 3) // 4):
                a, b, c, d = philox(path & _LOW, path >> _WORD, np.uint64(quad), _ZERO, k0, k1)
                row = 4 * quad
                z[row, i] = normal(a)
                if row + 1 < z.shape[0]:
                    z[row + 1, i] = normal(b)
                if row + 2 < z.shape[0]:
                    z[row + 2, i] = normal(c)
                if row + 3 < z.shape[0]:
                    z[row + 3, i] = normal(d)

    def sobol(z: Any, k0: Any, k1: Any, replicate: Any, first: int, directions: Any) -> None:
        i = cuda.grid(1)
        if i < z.shape[1]:
            for dimension in range(z.shape[0]):
                word, left, bit = _ZERO, first + i, 0
                while left > 0:
                    if left & 1:
                        word = word ^ directions[dimension, bit]
                    left >>= 1
                    bit += 1
                factor, summand, shift, _ = philox(np.uint64(dimension), _LOW, _LOW, replicate + _ONE, k0, k1)
                z[dimension, i] = normal(scramble(word, factor, summand, shift))

    def bridge_paths(z: Any, factors: int, places: Any, weights: Any, path: Any) -> None:
        i = cuda.grid(1)
        if i < z.shape[1]:
            for factor in range(factors):
                path[0, i] = 0.0
                for k in range(places.shape[0]):
                    between = weights[k, 0] * path[places[k, 1], i] + weights[k, 1] * path[places[k, 2], i]
                    path[places[k, 0], i] = between + weights[k, 2] * z[k * factors + factor, i]
                for k in range(places.shape[0]):
                    z[k * factors + factor, i] = path[k + 1, i] - path[k, i]

    def gbm(z: Any, mirror: float, start: float, drift: float, deviation: float, logs: Any) -> None:
        i = cuda.grid(1)
        if i < z.shape[1]:
            log = start
            logs[0, i] = log
            for k in range(logs.shape[0] - 1):
                log += drift + deviation * mirror * z[k, i]
                logs[k + 1, i] = log

    def heston(z: Any, mirror: float, start: float, v0: float, constants: Any, drift: Any, logs: Any) -> None:
        i = cuda.grid(1)
        if i < z.shape[1]:
            carry, k1, k2, k3, k4 = drift
            log, variance = start, v0
            logs[0, i] = log
            for k in range(logs.shape[0] - 1):
                later, right = step(variance, mirror * z[2 * k, i], constants)
                noise = math.sqrt(larger(k3 * variance + k4 * later, 0.0)) * mirror * z[2 * k + 1, i]
                log += carry + right + k1 * variance + k2 * later + noise
                variance = later
                logs[k + 1, i] = log

    def pay(code: int, logs: Any, numbers: Any, every: int, values: Any, controls: Any) -> None:
        i = cuda.grid(1)
        if i < values.shape[0]:
            strike, sign, discount, barrier, side, knock_in, rebate, per_variance, control = numbers
            n_steps = logs.shape[0] - 1
            last = logs[n_steps, i]
            end = math.exp(last) if last <= _HIGHEST else math.inf
            plain = larger(sign * (end - strike), 0.0)
            value, shown = plain, end
            if code == 1 or code == 2:
                total = centre = 0.0
                for k in range(every, n_steps + 1, every):
                    total += math.exp(logs[k, i]) if logs[k, i] <= _HIGHEST else math.inf
                    centre += logs[k, i]
                fixings = n_steps // every
                mean = math.exp(centre / fixings)
                shown = larger(sign * (mean - strike), 0.0)
                value = larger(sign * (total / fixings - strike), 0.0) if code == 1 else shown
            elif code >= 3:
                alive = 1.0
                if code == 3:
                    for k in range(every, n_steps + 1, every):
                        if side * (barrier - logs[k, i]) <= 0.0:
                            alive = 0.0
                else:
                    for k in range(n_steps):
                        before = larger(side * (barrier - logs[k, i]), 0.0)
                        after = larger(side * (barrier - logs[k + 1, i]), 0.0)
                        alive *= 1.0 - math.exp(-per_variance * before * after)
                if knock_in > 0.0:
                    alive = 1.0 - alive
                value = alive * plain + (1.0 - alive) * rebate
            if control == 0.0:
                shown = end
            elif control == 2.0:
                shown = plain
            values[i] = discount * value
            controls[i] = discount * shown

    return Kernels(pseudo, sobol, bridge_paths, gbm, heston, pay)
