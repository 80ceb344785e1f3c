"""Monte Carlo prices of European, Asian, barrier and other path-dependent options, with their standard error.

References
----------
.. [1] P. Glasserman, *Monte Carlo Methods in Financial Engineering* (2003): control variates (section 4.1, eq. 4.3 and
   4.5), antithetic paths (4.2), randomised quasi-Monte Carlo (5.4), barriers (6.4, eq. 6.50).
.. [2] A. B. Owen, "Randomly permuted (t,m,s)-nets and (t,s)-sequences", in *Monte Carlo and Quasi-Monte Carlo Methods
   in Scientific Computing* (1995), doi:10.1007/978-1-4612-2552-2_19.
.. [3] L. Andersen, "Simple and efficient simulation of the Heston stochastic volatility model", Journal of
   Computational Finance 11 (2008), doi:10.21314/JCF.2008.189: the scheme QE-M, sections 3.2 and 4.3.
.. [4] P. Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical Society B 54 (1992),
   221-228: the cubic transformation of a mean over its deviation, and its inverse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from engine._checks import FloatArray, flag, open_unit
from engine._dask import check_client, spread
from engine._device import Place, choose, worth_a_card
from engine._sobol import BITS, MOST_DIMENSIONS
from engine.errors import InvalidInput, NotFinite
from engine.pricing._simulation import SECONDS, Plan, simulate
from engine.pricing.models import GBM, Heston, Model
from engine.pricing.payoffs import Asian, Barrier, European, PathPayoff, Payoff, count

__all__ = ["MonteCarlo", "Sampling", "monte_carlo"]

Sampling = Literal["sobol", "pseudo"]

_WORTH_THREADS = 4e-3  # seconds
_MOST_REPLICATES = 2**16
_SYMMETRIC = 1e-6  # skewness
_FEWEST = 64  # paths in effect that the control has to be seen on
_WIDEST = 5.0  # volatility over the whole time, above which no number of paths shows the mean of the spot
_A_YEAR, _LEAST = 32, 16  # steps of Heston's model where none are asked for


@dataclass(frozen=True, slots=True)
class MonteCarlo:
    """A simulated price.

    Attributes
    ----------
    price : float
        [currency]
    standard_error : float
        Of `price`, from sampling alone [currency].
    n_paths : int
        Simulated; with Sobol points at least what was asked for.
    n_steps : int
        Of each path.
    sampling : {"sobol", "pseudo"}
    n_replicates : int
        Independent scramblings behind the standard error; 1 with pseudo-random numbers.
    degrees_of_freedom : int
        Of the standard error.
    control_coefficient : float
        What was taken off per unit of the control's error; 0 without a control.
    skewness : float
        Of the replicates; 0 with pseudo-random numbers, where it is not known.
    """

    price: float
    standard_error: float
    n_paths: int
    n_steps: int
    sampling: Sampling
    n_replicates: int
    degrees_of_freedom: int
    control_coefficient: float
    skewness: float = 0.0

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the bounds within which the expectation lies with this confidence, by Student's t.

        With Sobol points they are corrected for the skewness of the replicates [4]_, and reach further to the side on
        which rare paths are missed. Bounds at 95 % covered in 91 to 97 % of 300 runs where a dozen paths pay or more,
        of calls at volatilities up to 100 % and of puts, and in 80 % with two that pay. With pseudo-random numbers it
        is 92 to 97 % where forty pay, 85 % with a dozen and 64 % with two.

        Examples
        --------
        >>> from engine.pricing import GBM, European, monte_carlo
        >>> model = GBM(100.0, 0.0, 0.0, 0.2)
        >>> low, high = monte_carlo(European(100.0, 1.0, "call"), model, 4096, seed=1).interval(0.99)
        >>> low < 7.9655674 < high
        True
        """
        from scipy.special import stdtrit

        level = open_unit("confidence", confidence)
        quantile = float(stdtrit(self.degrees_of_freedom, 0.5 + 0.5 * level))
        root = math.sqrt(self.n_replicates)

        def reach(away: float) -> float:
            """In standard errors; a skewness near 0 leaves what it is given."""
            skewness = self.skewness
            if abs(skewness) < _SYMMETRIC:
                return away
            inner = 1.0 + skewness * (away / root - skewness / (6.0 * self.n_replicates))
            return 3.0 * root / skewness * (math.cbrt(inner) - 1.0)

        return self.price - reach(quantile) * self.standard_error, self.price - reach(-quantile) * self.standard_error


def monte_carlo(
    payoff: Payoff,
    model: Model,
    n_paths: int,
    seed: int,
    *,
    n_steps: int | None = None,
    sampling: Sampling = "sobol",
    n_replicates: int = 32,
    antithetic: bool = False,
    control: bool = True,
    device: Place = "auto",
    client: Any | None = None,
) -> MonteCarlo:
    """Return the discounted expectation of a payoff, and how far it may be off.

    Parameters
    ----------
    payoff : European, Asian, Barrier or PathPayoff
    model : GBM or Heston
    n_paths : int
        At least 2. Sobol points are shared out among the replicates and rounded up to a power of 2 in each.
    seed : int
        At least 0. The same seed gives the same bits on any number of threads and workers.
    n_steps : int, optional
        Of each path, even in time, a multiple of the payoff's fixings. By default what the payoff needs; for Heston's
        model at least 32 a year and 16 in all.
    sampling : {"sobol", "pseudo"}
        Sobol points in the order of a Brownian bridge with Owen's scrambling [2]_, or Philox.
    n_replicates : int
        Independent scramblings, at least 16; the standard error comes from their spread.
    antithetic : bool
        Each pseudo-random path together with its mirror image.
    control : bool
        Correct with a control variate whose expectation is known: under GBM the geometric mean for an arithmetic
        Asian and the European for a barrier, else the discounted spot at expiry.
    device : {"auto", "cpu", "cuda"}
        "auto" takes a card where there is one and the run is large, unless a client is given. A card gives the same
        paths, and prices that differ by rounding.
    client : distributed.Client, optional
        Spread over its workers, which make their own paths; the result is the same.

    Returns
    -------
    MonteCarlo

    Raises
    ------
    InvalidInput
        An argument outside its range, a number of steps that does not fit the fixings, a payoff that the model cannot
        simulate (a barrier watched always under Heston's model), a call under GBM with ``volatility * sqrt(expiry)``
        above 5.
    NotFinite
        A payoff function returned a nan or an infinity, or the price overflows.
    DeviceMissing
        ``device="cuda"`` without a card.
    WorkFailed
        A worker of the client failed.

    Notes
    -----
    GBM is simulated exactly, and so are barriers watched always, by the chance of a bridge to meet them: the only error
    is that of sampling, `standard_error`. Heston's model is discretised by QE-M [3]_, whose bias is not part of
    `standard_error`: over one year, on the published cases, at most 0.1 % of the spot with 2 steps, 0.013 % with 4 and
    0.003 % with 32, which is the default; over ten years 0.012 % with 8 a year. docs/engine.md has the table.

    A payoff that few paths reach is known by those few: `standard_error` is right on average, but small in just the
    runs that miss them. Where forty paths pay some 1 % of prices are off by more than 4 of them, where a dozen do 4 %,
    where two do 27 %; where none pays it is 0. `MonteCarlo.interval` allows for most of this, and says how often it
    covers. The control is left out where fewer than 64 paths in effect show it.

    The coefficient of the control is estimated from the same paths. That biases the price by an amount of the order
    of one over the number of paths, far below the standard error from a few hundred paths on.

    Where ``volatility * sqrt(expiry)`` is above 2, the mean of the spot lies in moves so rare that few paths show them,
    and `standard_error` of what grows with the spot is too small: with 65,536 paths a call is off by 3 of them at 2, by
    8 at 4 and by 20 at 5. Beyond that no number of paths helps: calls are refused, and the rest goes without a control.

    Normal numbers have 2**32 values, out to 6.2 standard deviations. Memory does not grow with the number of paths.

    Examples
    --------
    >>> from engine.pricing import GBM, Asian, European, european, monte_carlo
    >>> model = GBM(spot=100.0, rate=0.05, dividend=0.01, volatility=0.2)
    >>> found = monte_carlo(European(105.0, 0.5, "call"), model, n_paths=2**16, seed=7)
    >>> exact = european(100.0, 105.0, 0.5, 0.05, 0.01, 0.2, "call").price
    >>> abs(found.price - exact) < 4 * found.standard_error < 1e-2
    True
    >>> round(monte_carlo(Asian(100.0, 1.0, "call", n_fixings=12), model, 2**16, 7).price, 2)
    5.83
    """
    plan = _plan(payoff, model, n_paths, seed, n_steps, sampling, n_replicates, antithetic)
    controlled = flag("control", control)
    check_client(client)
    on_card = choose(device) == "to a card"
    if on_card and client is not None:
        raise InvalidInput("client", "is given together with device='cuda'; workers compute on their CPUs")
    with np.errstate(over="ignore", invalid="ignore"):
        if on_card or (device == "auto" and client is None and _better_on_a_card(plan)):
            from engine.pricing._simulation_cuda import simulate_on_card

            cells = simulate_on_card(plan)
        else:
            parts = _parts(plan, client)
            cells = np.concatenate(spread(simulate, parts, client, common=(plan,), threads=_threads(plan)))
        return _result(plan, cells, controlled and _width(payoff, model) <= _WIDEST)


def _plan(
    payoff: Payoff,
    model: Model,
    n_paths: int,
    seed: int,
    n_steps: int | None,
    sampling: Sampling,
    n_replicates: int,
    antithetic: bool,
) -> Plan:
    """Check the arguments and settle what is simulated."""
    if not isinstance(payoff, European | Asian | Barrier | PathPayoff):
        kinds = "European, Asian, Barrier or PathPayoff"
        raise InvalidInput("payoff", f"is of type {type(payoff).__name__}; must be {kinds}")
    if not isinstance(model, GBM | Heston):
        raise InvalidInput("model", f"is of type {type(model).__name__}; must be GBM or Heston")
    for name in ("rate", "dividend"):
        if abs(getattr(model, name)) * payoff.expiry > 700.0:
            raise InvalidInput("model", f"{name} times expiry is so far from 0 that discounting overflows")
    _check_width(payoff, model)
    paths = count("n_paths", n_paths, 2)
    key = np.random.SeedSequence(count("seed", seed, 0)).generate_state(2)
    steps = _steps(payoff, model, n_steps)
    if not isinstance(sampling, str) or sampling not in ("sobol", "pseudo"):
        raise InvalidInput("sampling", f"is {sampling!r}; must be 'sobol' or 'pseudo'")
    replicates = count("n_replicates", n_replicates, 16)
    if replicates > _MOST_REPLICATES:
        raise InvalidInput("n_replicates", f"is {replicates}; must be at most {_MOST_REPLICATES:,}")
    mirrored = flag("antithetic", antithetic)
    sobol = sampling == "sobol"
    if sobol and mirrored:
        raise InvalidInput("antithetic", "goes with pseudo-random numbers only; Sobol points are balanced already")
    plan = Plan(payoff, model, steps, (int(key[0]), int(key[1])), sobol, mirrored, 1, paths)
    if not sobol:
        return replace(plan, n_points=max(2, -(-paths // 2))) if mirrored else plan
    if plan.n_dimensions > MOST_DIMENSIONS:
        raise InvalidInput(
            "n_steps", f"makes {plan.n_dimensions} dimensions, and Sobol points have {MOST_DIMENSIONS}; use 'pseudo'"
        )
    points = 1 << (-(-paths // replicates) - 1).bit_length()
    if points > 1 << BITS:
        raise InvalidInput("n_paths", f"is {paths}; {replicates} replicates of Sobol points end at 2**{BITS} each")
    return replace(plan, n_replicates=replicates, n_points=points)


def _check_width(payoff: Payoff, model: Model) -> None:
    """Raise where the price is made of moves that no path shows."""
    if isinstance(payoff, PathPayoff) or payoff.kind != "call":
        return
    if isinstance(payoff, Barrier) and payoff.barrier_kind == "up-and-out":
        return
    width = _width(payoff, model)
    if width > _WIDEST:
        problem = f"has volatility * sqrt(expiry) of {width:.3g}; above {_WIDEST:g} no path shows the mean of the spot"
        raise InvalidInput("model", f"{problem}: use a shorter expiry, or `european` for a European option")


def _width(payoff: Payoff, model: Model) -> float:
    return model.volatility * math.sqrt(payoff.expiry) if isinstance(model, GBM) else 0.0


def _steps(payoff: Payoff, model: Model, n_steps: int | None) -> int:
    """Return the number of steps, a multiple of what the payoff looks at."""
    if isinstance(payoff, PathPayoff):
        fixings = payoff.n_steps
        if n_steps not in (None, fixings):
            raise InvalidInput("n_steps", f"is {n_steps}, and the payoff's own is {fixings}")
        return fixings
    fixings = 1 if isinstance(payoff, European) else payoff.n_fixings or 1
    watched = isinstance(payoff, Barrier) and payoff.n_fixings is None
    if watched and isinstance(model, Heston):
        raise InvalidInput("payoff", "watches its barrier always, which is for GBM only; give n_fixings")
    if n_steps is not None:
        steps = count("n_steps", n_steps)
        if steps % fixings:
            raise InvalidInput("n_steps", f"is {steps}; must be a multiple of the {fixings} fixings")
        return steps
    if isinstance(model, GBM):
        return fixings
    return fixings * -(-max(_LEAST, math.ceil(_A_YEAR * payoff.expiry)) // fixings)


def _better_on_a_card(plan: Plan) -> bool:
    n_paths = plan.n_replicates * plan.n_points * (2 if plan.antithetic else 1)
    return not isinstance(plan.payoff, PathPayoff) and worth_a_card(n_paths, plan.n_dimensions * SECONDS, 2)


def _threads(plan: Plan) -> int:
    """Return how many threads the work is worth."""
    from numba import config

    seconds = plan.n_replicates * plan.n_points * plan.n_dimensions * SECONDS
    most: int = vars(config)["NUMBA_NUM_THREADS"]
    return most if seconds > _WORTH_THREADS else 1


def _parts(plan: Plan, client: Any | None) -> list[tuple[int, int]]:
    """Ranges of cells; how many does not change the result."""
    hands = _threads(plan) if client is None else max(1, sum(client.nthreads().values()))
    length = max(1, -(-plan.n_cells // (4 * hands)))
    return [(first, min(first + length, plan.n_cells)) for first in range(0, plan.n_cells, length)]


def _result(plan: Plan, cells: FloatArray, control: bool) -> MonteCarlo:
    """Put the moments of the cells together, in their order."""
    counts, values, controls = cells[:, 0], cells[:, 1], cells[:, 2]
    n = float(counts.sum())
    value, shown = float((counts * values).sum() / n), float((counts * controls).sum() / n)
    away, off = values - value, controls - shown
    own, cross, other = (
        float((cells[:, 3 + place] + counts * between).sum())
        for place, between in enumerate((away * away, away * off, off * off))
    )
    # a few paths that alone pay can be fitted without a rest, and the error would be 0
    paying = (n * shown) ** 2 / max(other + n * shown * shown, 1e-300)
    known = control and paying >= _FEWEST and other > 1e-30 * n * shown * shown
    coefficient = cross / other if known else 0.0
    mean = plan.control_mean() if coefficient else 0.0
    if plan.sobol:
        replicates = (values - coefficient * (controls - mean)).reshape(plan.n_replicates, -1).mean(axis=1)
        price, freedom = float(replicates.mean()), plan.n_replicates - 1
        error = float(replicates.std(ddof=1)) / math.sqrt(plan.n_replicates)
        skewness = _skewness(replicates - price)
    else:
        skewness = 0.0
        price, freedom = value - coefficient * (shown - mean), max(int(n) - 1 - (coefficient != 0.0), 1)
        left = max(own - coefficient * (2.0 * cross - coefficient * other), 0.0)
        error = math.sqrt(left / freedom / n)
    if not (math.isfinite(price) and math.isfinite(error)):
        raise NotFinite("model", f"gives the payoff a mean of {price}; its spots overflow")
    n_paths = plan.n_replicates * plan.n_points * (2 if plan.antithetic else 1)
    sampling: Sampling = "sobol" if plan.sobol else "pseudo"
    return MonteCarlo(price, error, n_paths, plan.n_steps, sampling, plan.n_replicates, freedom, coefficient, skewness)


def _skewness(away: FloatArray) -> float:
    """Return that of the distribution, estimated from values less their mean."""
    n, size = away.size, float(np.abs(away).max())
    if not 0.0 < size < math.inf:
        return 0.0
    part = away / size  # cubes of very small ones are lost
    return float((part**3).mean() / (part**2).mean() ** 1.5 * math.sqrt(n * (n - 1)) / (n - 2))
