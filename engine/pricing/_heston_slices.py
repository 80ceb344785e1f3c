"""Options under Heston's model as slices of one expiry and one model, their limits, and the threads that price them."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray
from engine._device import Place, Where, choose
from engine._placed import at_home
from engine.errors import EngineError, InvalidInput
from engine.pricing._batches import batch, floats, raise_first, sign_of

__all__ = ["MODEL", "Options", "Slices", "checked", "evaluate", "integrate", "model_checked", "sliced"]

MODEL = ("v0", "kappa", "theta", "sigma", "rho")

_LONGEST = 1024  # options of a slice: more are cut, so that what they share stays in the cache and threads have work
_FAR = 300.0  # logarithm of forward over strike beyond which a time value is nothing beside the strike or the spot
_NO_VARIANCE = 1e-30
_SETTLED = 1e-6
_PER_SLICE, _PER_OPTION, _WORTH_A_THREAD = 2e-5, 2e-6, 4e-3  # seconds


class Options(NamedTuple):
    """Options as flat columns; a constant has length 1.

    Attributes
    ----------
    shape : tuple of int
        Shape of the result.
    spot, expiry, rate, dividend, sign : ndarray
        As given; the sign is +1 for a call and -1 for a put.
    model : tuple of ndarray
        v0, kappa, theta, sigma, rho.
    own, owed : ndarray
        Spot and strike, discounted by dividend and rate [currency].
    x : ndarray
        Logarithm of forward over strike; 0 where spot is 0.
    trivial : ndarray of bool
        Where there is no time value left, or none beside the strike or the spot.
    where : {"main memory", "to a card", "on a card"}
        Where the arguments lie, and the integrals are to be computed.
    """

    shape: tuple[int, ...]
    spot: FloatArray
    expiry: FloatArray
    rate: FloatArray
    dividend: FloatArray
    sign: FloatArray
    model: tuple[FloatArray, ...]
    own: FloatArray
    owed: FloatArray
    x: FloatArray
    trivial: NDArray[np.bool_]
    where: Where = "main memory"

    @property
    def size(self) -> int:
        """Number of options."""
        return math.prod(self.shape)

    @property
    def scale(self) -> FloatArray:
        """Root of discounted spot times discounted strike [currency]."""
        return np.sqrt(self.own) * np.sqrt(self.owed)


class Slices(NamedTuple):
    """Options by expiry and model.

    Attributes
    ----------
    order : ndarray of int
        Place of each option among those given.
    starts : ndarray of int
        Where each slice starts, and the end.
    models : ndarray
        Expiry, v0, kappa, theta, sigma, rho of each slice, of shape (6, n_slices).
    x : ndarray
        Logarithm of forward over strike, slice by slice.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    models: FloatArray
    x: FloatArray


def checked(device: Place, kind: ArrayLike, **arguments: ArrayLike) -> Options:
    """Return the options as columns; raise for the first value that the model does not accept."""
    contract = {name: arguments[name] for name in ("spot", "strike", "expiry", "rate", "dividend")}
    model = {name: arguments[name] for name in MODEL}
    numbers = floats(kind, *contract.values(), *model.values())
    if numbers is not None and _plain(*numbers):  # one request: no arrays to check
        *columns, sign = np.array(numbers).reshape(-1, 1)
        return _columns((), [*columns[:5], sign, *columns[5:]], choose(device))
    where = choose(device, kind, *arguments.values())
    if where == "on a card":
        kind, *values = at_home(kind, *contract.values(), *model.values())
        contract, model = dict(zip(contract, values, strict=False)), dict(zip(model, values[5:], strict=True))
    given = batch(1, **contract, kind=sign_of(kind), **model)
    raise_first(given.given)
    model_checked(given.given)
    return _columns(
        given.shape,
        [
            values.reshape(1) if values.size == 1 else np.broadcast_to(values, given.shape).reshape(-1)
            for values in given.given.values()
        ],
        where,
    )


def _plain(
    spot: float,
    strike: float,
    expiry: float,
    rate: float,
    dividend: float,
    v0: float,
    kappa: float,
    theta: float,
    sigma: float,
    rho: float,
    sign: float,
) -> bool:
    """Whether one option is beyond doubt valid; no nan or infinity passes."""
    return (
        0.0 <= spot < 1e300
        and 0.0 < strike < 1e300
        and 0.0 <= expiry < math.inf
        and abs(rate) * expiry < 10.0
        and abs(dividend) * expiry < 10.0
        and 0.0 <= v0 < math.inf
        and 0.0 <= kappa < math.inf
        and 0.0 <= theta < math.inf
        and 0.0 <= sigma < math.inf
        and -1.0 <= rho <= 1.0
        and abs(sign) == 1.0
        and abs(rate) < math.inf
        and abs(dividend) < math.inf
    )


def model_checked(given: dict[str, FloatArray]) -> None:
    """Raise for the first parameter outside its range; all of them are finite."""
    for name in MODEL:
        low = -1.0 if name == "rho" else 0.0
        high = 1.0 if name == "rho" else math.inf
        wrong = (given[name] < low) | (given[name] > high)
        if wrong.any():
            place = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape)) or None
            rule = "must lie between -1 and 1" if name == "rho" else "must be at least 0"
            raise InvalidInput(name, f"is {given[name][place or ()]}; {rule}", place)


def _columns(shape: tuple[int, ...], columns: list[FloatArray], where: Where) -> Options:
    spot, strike, expiry, rate, dividend, sign, *model = columns
    v0, kappa, theta, _, _ = model
    own, owed = spot * np.exp(-dividend * expiry), strike * np.exp(-rate * expiry)
    positive = spot > 0.0
    with np.errstate(over="ignore", divide="ignore"):  # an infinite x is far, an infinite variance does not settle
        x = np.where(positive, np.log(np.where(positive, spot, strike) / strike) + (rate - dividend) * expiry, 0.0)
        # of the size of the expected one where that is small
        variance = expiry * np.maximum(v0, theta * np.minimum(kappa * expiry, 1.0))
    trivial = ~positive | (variance < _NO_VARIANCE) | (np.abs(x) > _FAR)
    return Options(shape, spot, expiry, rate, dividend, sign, tuple(model), own, owed, x, trivial, where)


def sliced(options: Options) -> Slices:
    """Sort the options into slices, those without a time value left out."""
    if not options.shape and not options.trivial[0]:
        models = np.array([options.expiry, *options.model])
        return Slices(np.zeros(1, np.int64), np.array([0, 1]), models, options.x)
    order = np.flatnonzero(~np.broadcast_to(options.trivial, (options.size,)))
    keys = [np.broadcast_to(column, (options.size,)) for column in (options.expiry, *options.model)]
    varying = [
        key[order] for key, column in zip(keys, (options.expiry, *options.model), strict=True) if column.size > 1
    ]
    changes = np.zeros(order.size, dtype=bool)
    if varying:
        by_slice = np.lexsort(varying)
        order = order[by_slice]
        for key in varying:
            changes[1:] |= np.diff(key[by_slice]) != 0.0
    if order.size:
        changes[0] = True
    begins = np.flatnonzero(changes)
    ends = np.append(begins, order.size)[1:]
    starts = np.concatenate([np.arange(b, e, _LONGEST) for b, e in zip(begins, ends, strict=True)] or [begins])
    models = np.array([key[order[starts]] for key in keys])
    x = np.ascontiguousarray(np.broadcast_to(options.x, (options.size,))[order])
    return Slices(order, np.append(starts, order.size).astype(np.int64), models, x)


def evaluate(options: Options, rows: int) -> FloatArray:
    """Return the rows of `engine.pricing._heston_kernels.integrate`, of shape (rows, n), in the order given."""
    slices = sliced(options)
    found = np.zeros((rows, options.size))
    if slices.order.size:
        values = np.empty((rows, slices.order.size))
        gaps = np.empty(len(slices.starts) - 1)
        integrate(slices, rows, values, gaps, on_card=options.where != "main memory")
        gaps[np.logical_or.reduceat(~np.isfinite(values).all(axis=0), slices.starts[:-1])] = np.nan
        _raise_unsettled(slices, gaps)
        found[:, slices.order] = values
    if options.trivial.any():
        _limits(options, found)
    return found


def integrate(slices: Slices, rows: int, values: FloatArray, gaps: FloatArray, *, on_card: bool) -> None:
    """Integrate slices, on a card or here."""
    if on_card:
        from engine.pricing import _heston_cuda

        _heston_cuda.integrate(slices.models, slices.starts, slices.x, rows, values, gaps)
    else:
        run(slices, rows, values, gaps)


def run(slices: Slices, rows: int, values: FloatArray, gaps: FloatArray, another: bool = False) -> None:
    """Integrate slices, on every core where there are many; `another` takes another contour and finer steps."""
    from numba import config

    from engine.pricing import _heston_kernels

    kernel: Callable[..., Any] = _heston_kernels.integrate()
    n = len(gaps)

    def part(first: int, last: int) -> None:
        kernel(slices.models, slices.starts, slices.x, rows, values, gaps, another, first, last)

    seconds = n * _PER_SLICE + slices.x.size * _PER_OPTION
    workers = min(int(seconds / _WORTH_A_THREAD), vars(config)["NUMBA_NUM_THREADS"], n)
    if workers < 2:
        part(0, n)
        return
    cuts = np.unique(np.linspace(0, n, 4 * workers + 1).astype(int))
    # threads of this call alone: nothing is left behind that a fork or another thread could trip over
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(part, cuts[:-1].tolist(), cuts[1:].tolist()))


def _raise_unsettled(slices: Slices, gaps: FloatArray) -> None:
    wrong = ~(gaps < _SETTLED)
    if wrong.any():
        at = int(np.argmax(wrong))
        model = ", ".join(
            f"{name}={value:g}" for name, value in zip(("expiry", *MODEL), slices.models[:, at], strict=True)
        )
        raise EngineError(f"the Heston integral did not settle at {model}: give parameters nearer to those of a market")


def _limits(options: Options, found: FloatArray) -> None:
    """Fill in what is known without an integral: zeros, but for an option that is exactly at the money."""
    at = np.broadcast_to(options.trivial & (options.x == 0.0) & (options.spot > 0.0), (options.size,))
    if len(found) == 1 or not at.any():
        return
    v0, kappa, _, _, _ = options.model
    begun = np.broadcast_to(options.expiry == 0.0, at.shape)
    found[7, at] = 0.5
    found[8, at] = np.inf
    found[1, at & ~begun] = np.inf
    found[3, at & ~begun & np.broadcast_to(kappa > 0.0, at.shape)] = np.inf
    found[6, at & begun & np.broadcast_to(v0 > 0.0, at.shape)] = np.inf
