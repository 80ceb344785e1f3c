"""Blocks of paths behind `engine.pricing.simulation`: what a worker is told, and what it makes of it.

A run is cut into cells by its plan alone, so that its moments come out the same whoever computes which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine._sobol import bridge, directions
from engine.errors import InvalidInput, NotFinite
from engine.pricing.models import GBM, Heston, Model
from engine.pricing.payoffs import Asian, Barrier, European, PathPayoff, Payoff

__all__ = ["FIGURES", "SECONDS", "Plan", "gbm_step", "heston_step", "pay_function", "simulate", "terms"]

FIGURES = 6  # of a cell: number of paths, two means, three centred second moments
SECONDS = 1e-8  # for a dimension of a path
_NUMBERS = 1 << 16  # normal numbers that stay in the second-level cache
_TERMINAL, _GEOMETRIC, _EUROPEAN = 0.0, 1.0, 2.0  # controls
_STEEPEST = 1e300


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, as sent to the workers.

    Attributes
    ----------
    payoff, model : Payoff, Model
    n_steps : int
    key : tuple of int
    sobol, antithetic : bool
    n_replicates : int
        1 without Sobol points.
    n_points : int
        Of each replicate; an antithetic pair is one.
    """

    payoff: Payoff
    model: Model
    n_steps: int
    key: tuple[int, int]
    sobol: bool
    antithetic: bool
    n_replicates: int
    n_points: int

    @property
    def n_dimensions(self) -> int:
        """Normal numbers that make a path."""
        return self.n_steps * (1 if isinstance(self.model, GBM) else 2)

    @property
    def block(self) -> int:
        """Points of a cell; a power of 2."""
        room = 1 << max(4, (_NUMBERS // self.n_dimensions).bit_length() - 1)
        return min(room, 1 << 14, self.n_points if self.sobol else room)

    @property
    def n_cells(self) -> int:
        """Cells of all replicates; those of one stand together."""
        return self.n_replicates * -(-self.n_points // self.block)

    @property
    def control(self) -> float:
        """Which control the payoff has."""
        if isinstance(self.model, GBM):
            if isinstance(self.payoff, Asian) and self.payoff.averaging == "arithmetic":
                return _GEOMETRIC
            if isinstance(self.payoff, Barrier):
                return _EUROPEAN
        return _TERMINAL

    def control_mean(self) -> float:
        """Return the control's exact expectation [currency]."""
        from engine.pricing.closed_form import european

        model, payoff = self.model, self.payoff
        expiry = payoff.expiry
        if isinstance(model, GBM) and isinstance(payoff, Asian) and self.control == _GEOMETRIC:
            # A. Kemna and A. Vorst, Journal of Banking & Finance 14 (1990), for n fixings: the mean is lognormal
            n = payoff.n_fixings
            per_year = (2 * n + 1) * (n + 1) / (6.0 * n * n)
            centre = (model.rate - model.dividend - 0.5 * model.volatility**2) * (n + 1) / (2.0 * n)
            volatility = model.volatility * math.sqrt(per_year)
            growth = centre + 0.5 * volatility**2
            price = european(
                model.spot, payoff.strike, expiry, model.rate, model.rate - growth, volatility, payoff.kind
            ).price
            return float(price)
        if isinstance(model, GBM) and isinstance(payoff, Barrier):
            volatility = model.volatility
            price = european(
                model.spot, payoff.strike, expiry, model.rate, model.dividend, volatility, payoff.kind
            ).price
            return float(price)
        return model.spot * math.exp(-model.dividend * expiry)


class _Room(NamedTuple):
    """Arrays of a block."""

    z: FloatArray
    words: Any
    path: FloatArray
    logs: FloatArray
    values: FloatArray
    controls: FloatArray


def simulate(part: tuple[int, int], plan: Plan) -> FloatArray:
    """Return the figures of the cells from the first to the one before the last, of shape (n, `FIGURES`)."""
    from engine.pricing._simulation_kernels import kernels

    compiled = kernels()
    found = np.empty((part[1] - part[0], FIGURES))
    n_cells = plan.n_cells // plan.n_replicates
    k0, k1 = (np.uint64(word) for word in plan.key)
    numbers = directions(plan.n_dimensions) if plan.sobol else None
    room = _room(plan, plan.block)
    for row, cell in zip(found, range(*part), strict=True):
        replicate, place = divmod(cell, n_cells)
        first = place * plan.block
        n = min(plan.block, plan.n_points - first)
        if n != room.values.size:
            room = _room(plan, n)
        if plan.sobol:
            compiled.sobol(room.z, k0, k1, np.uint64(replicate), first, numbers, room.words)
            compiled.bridge(room.z, plan.n_dimensions // plan.n_steps, *bridge(plan.n_steps), room.path)
        else:
            compiled.pseudo(room.z, k0, k1, np.uint64(first), room.words)
        _evaluate(compiled, plan, room, first)
        if plan.antithetic:
            values, controls = room.values.copy(), room.controls.copy()
            np.negative(room.z, out=room.z)
            _evaluate(compiled, plan, room, first)
            np.multiply(room.values + values, 0.5, out=room.values)
            np.multiply(room.controls + controls, 0.5, out=room.controls)
        compiled.moments(room.values, room.controls, row)
    return found


def _room(plan: Plan, n: int) -> _Room:
    n_steps = plan.n_steps
    z, path, logs = (np.empty((rows, n)) for rows in (plan.n_dimensions, max(n_steps + 1, 3), n_steps + 1))
    return _Room(z, np.empty((4, n), np.uint64), path, logs, np.empty(n), np.empty(n))


def _evaluate(compiled: Any, plan: Plan, room: _Room, first: int) -> None:
    """Fill payoffs and controls from the normal numbers."""
    model, payoff = plan.model, plan.payoff
    start = math.log(model.spot)
    if isinstance(model, GBM):
        compiled.gbm(room.z, start, *gbm_step(plan, model), room.logs)
    else:
        compiled.heston(room.z, start, float(model.v0), *heston_step(plan, model), room.logs, room.path)
    if isinstance(payoff, PathPayoff):
        pay_function(plan, room.logs, first, room.values, room.controls)
        return
    code, every, numbers = terms(plan, payoff)
    compiled.pay(code, room.logs, numbers, every, room.values, room.controls)


def pay_function(plan: Plan, logs: FloatArray, first: int, values: FloatArray, controls: FloatArray) -> None:
    """Fill payoffs and controls with what the user's function says of the paths."""
    payoff = plan.payoff
    assert isinstance(payoff, PathPayoff)
    discount = math.exp(-plan.model.rate * payoff.expiry)
    spots = np.exp(logs.T)
    times = np.linspace(0.0, payoff.expiry, plan.n_steps + 1)
    np.multiply(_checked(payoff.function(spots, times), first, values.size), discount, out=values)
    np.multiply(spots[:, -1], discount, out=controls)


def gbm_step(plan: Plan, model: GBM) -> tuple[float, float]:
    """Return drift and deviation of the log of the spot over a step."""
    dt = plan.payoff.expiry / plan.n_steps
    drift = (model.rate - model.dividend - 0.5 * model.volatility**2) * dt
    return drift, model.volatility * math.sqrt(dt)


def heston_step(plan: Plan, model: Heston) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the constants of a step: Andersen's eq. 17, 18 and 33, with gamma1 = gamma2 = 1/2."""
    dt = plan.payoff.expiry / plan.n_steps
    carry = (model.rate - model.dividend) * dt
    kappa, theta, sigma, rho = (float(value) for value in (model.kappa, model.theta, model.sigma, model.rho))
    keep = math.exp(-kappa * dt)
    lost = -math.expm1(-kappa * dt)
    own = 0.5 * dt * (kappa * rho / sigma - 0.5)
    k1, k2, k3 = own - rho / sigma, own + rho / sigma, 0.5 * dt * (1.0 - rho * rho)
    slope = k2 + 0.5 * k3
    from_variance, from_mean = sigma**2 * keep * lost / kappa, 0.5 * theta * sigma**2 * lost**2 / kappa
    uncorrected = -rho * kappa * theta * dt / sigma
    return (
        (keep, theta * lost, from_variance, from_mean, slope, k1, k3, uncorrected),
        (carry, k1, k2, k3, k3),
    )


def terms(plan: Plan, payoff: European | Asian | Barrier) -> tuple[int, int, tuple[float, ...]]:
    """Return the payoff's code, the steps between its fixings, and its numbers."""
    code, every = 0, 1
    barrier = side = knock_in = rebate = per_variance = 0.0
    if isinstance(payoff, Asian):
        code = 1 if payoff.averaging == "arithmetic" else 2
        every = plan.n_steps // payoff.n_fixings
    elif isinstance(payoff, Barrier):
        code = 4 if payoff.n_fixings is None else 3
        every = plan.n_steps // (payoff.n_fixings or plan.n_steps)
        barrier, rebate = math.log(payoff.barrier), float(payoff.rebate)
        side = 1.0 if payoff.barrier_kind.startswith("up") else -1.0
        knock_in = float(payoff.barrier_kind.endswith("in"))
        if isinstance(plan.model, GBM):
            # within a step the chance of not meeting the barrier is 1 - exp(-2 a b / variance), a and b the distances
            variance = plan.model.volatility**2 * payoff.expiry / plan.n_steps
            per_variance = 2.0 / variance if variance > 2.0 / _STEEPEST else _STEEPEST
    sign = 1.0 if payoff.kind == "call" else -1.0
    discount = math.exp(-plan.model.rate * payoff.expiry)
    numbers = (float(payoff.strike), sign, discount, barrier, side, knock_in, rebate, per_variance, plan.control)
    return code, every, numbers


def _checked(values: Any, first: int, n: int) -> FloatArray:
    try:
        paid = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise InvalidInput("payoff", f"must return numbers ({problem})") from problem
    if paid.shape != (n,):
        raise InvalidInput("payoff", f"returned shape {paid.shape} for {n} paths; must be {(n,)}")
    finite = np.isfinite(paid)
    if not finite.all():
        place = int(np.argmin(finite))
        raise NotFinite("payoff", f"returned {paid[place]} for path {first + place}; must be finite")
    return paid
