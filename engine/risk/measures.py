"""Value at risk and expected shortfall, of exposures that are linear in their price and of a book with options.

Losses are positive numbers in the book's currency; the horizon is in days.

References
----------
.. [1] P. Jorion, *Value at Risk*, 3rd ed., ch. 5 and 7: delta-normal VaR (eq. 5.5) and component VaR (eq. 7.29).
.. [2] C. Acerbi and D. Tasche, "On the coherence of expected shortfall", Journal of Banking & Finance 26 (2002),
   eq. 4.1 (definition used for the historical method), doi:10.1016/S0378-4266(02)00283-2.
.. [3] D. Tasche, "Risk contributions and performance measurement", TU Munich (1999), eq. 5.7 and 5.9: a contribution is
   the mean loss of a position where the book loses its VaR, or more.
.. [4] C. Rouvinez, "Going Greek with VaR", Risk 10 (1997): the exact distribution of delta-gamma profit, by inversion
   of its characteristic function (J. P. Imhof, Biometrika 48 (1961), eq. 3.2, doi:10.1093/biomet/48.3-4.419).
.. [5] F. E. Harrell and C. E. Davis, "A new distribution-free quantile estimator", Biometrika 69 (1982), eq. 1 and 2,
   doi:10.1093/biomet/69.3.635.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray, covariance_matrix, finite_array, open_unit, positive
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput
from engine.risk._linear import historical, parametric, second_moments
from engine.risk.book import Book
from engine.risk.market import Market
from engine.risk.revaluation import Shards, are_shards
from engine.risk.scenarios import Scenarios

__all__ = ["Method", "RiskMeasure", "expected_shortfall", "value_at_risk"]

Method = Literal["parametric", "historical", "monte-carlo"]


@dataclass(frozen=True, slots=True)
class RiskMeasure:
    """A risk figure of a book, per symbol and in total.

    Attributes
    ----------
    measure : str
        ``"value_at_risk"`` or ``"expected_shortfall"``.
    total : float
        Figure of the whole book [USD]; positive is a loss.
    standalone : ndarray, shape (n_symbols,)
        Figure of each symbol held alone [USD].
    contributions : ndarray, shape (n_symbols,)
        Part of `total` that each symbol brings (Euler allocation) [USD]; they add up to `total`.
    method : str
        ``"parametric"``, ``"historical"`` or ``"monte-carlo"``.
    confidence : float
    horizon : float
        [days]
    n_observations : int or None
        Number of returns or scenarios used; None where a covariance was given.
    symbols : tuple of str
        Names in the order of the arrays: of the exposures, or the underlyings of the book.
    positions : ndarray of str or None
        Ids of the positions of a `Book`.
    position_contributions : ndarray, shape (n_positions,), or None
        Part of `total` that each position of a `Book` brings [USD]; they add up to `contributions`.
    standard_error : float or None
        Of `total` by the Monte Carlo method [USD].
    integration_error : float or None
        Estimate of the relative error with which the delta-gamma distribution was integrated.
    """

    measure: str
    total: float
    standalone: FloatArray
    contributions: FloatArray
    method: Method
    confidence: float
    horizon: float
    n_observations: int | None
    symbols: tuple[str, ...]
    positions: NDArray[Any] | None = None
    position_contributions: FloatArray | None = None
    standard_error: float | None = None
    integration_error: float | None = None

    @property
    def diversification(self) -> float:
        """What holding the symbols together saves against holding each alone [USD]."""
        return float(self.standalone.sum()) - self.total


@overload
def value_at_risk(
    exposures: ArrayLike,
    returns: ArrayLike | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    symbols: Sequence[str] | None = None,
    device: Place = "auto",
) -> RiskMeasure: ...


@overload
def value_at_risk(
    exposures: Book | Shards,
    returns: Market,
    scenarios: Scenarios | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    n_scenarios: int = 10_000,
    seed: int = 0,
    device: Place = "auto",
    client: Any | None = None,
) -> RiskMeasure: ...


def value_at_risk(
    exposures: ArrayLike | Book | Shards,
    returns: ArrayLike | Market | None = None,
    scenarios: Scenarios | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    symbols: Sequence[str] | None = None,
    n_scenarios: int = 10_000,
    seed: int = 0,
    device: Place = "auto",
    client: Any | None = None,
) -> RiskMeasure:
    """Return the loss that is not exceeded over the horizon with the stated confidence.

    Either of exposures, ``value_at_risk(exposures, returns, ...)``, or of a book, ``value_at_risk(book, market,
    scenarios, ...)``.

    Parameters
    ----------
    exposures : array_like, shape (n_symbols,), or Book, or sequence of callable
        Signed value of each position [USD]; or a book, or the functions that load its shards (as in `revalue`).
    returns : array_like, shape (n_obs, n_symbols), or Market
        Simple returns per interval, oldest first; for a book, the market in which it stands.
    scenarios : Scenarios, optional
        For a book: the moves that took place, oldest first.
    covariance : array_like, optional
        In place of returns or scenarios, of shape (n_symbols, n_symbols): covariance of returns per interval; not for
        the historical method. For a book, in the order of ``market.spot``, of size n, 2n or 2n + 1: of spots, then of
        changes of the implied volatilities, then of the rate; simple returns, for "monte-carlo" log returns.
    interval : float
        Length of one return [days]; scenarios bear their own.
    horizon : float
        [days]; returns are scaled by the square root of time, those of scenarios as log returns.
    confidence : float
        Strictly between 0 and 1.
    method : {"parametric", "historical", "monte-carlo"}
        Exposures: delta-normal with zero mean [1]_, or the empirical quantile (linear between order statistics).
        Books: the exact distribution of the second-order expansion (delta, gamma, vega, vanna, volga, rho, theta)
        under normal moves [4]_; the empirical quantile of a full revaluation; or a full revaluation under simulated
        normal log returns and changes of volatility, with a standard error.
    decay : float, optional
        Weight of a return relative to the one after it (RiskMetrics lambda), not for the historical method; equal
        weights where it is not given.
    symbols : sequence of str, optional
        Names of the columns of `returns`; a book has its own.
    n_scenarios, seed : int
        Of the Monte Carlo method; the same seed gives the same figure.
    device : {"auto", "cpu", "cuda"}
        Where a book is revalued, as in `revalue`. Exposures are computed on the CPU, where "auto" brings what lies on a
        card, and "cuda" is refused.
    client : distributed.Client, optional
        Spreads the revaluation of a book over workers, as in `revalue`.

    Returns
    -------
    RiskMeasure
        All figures in the currency of `exposures`. A negative figure is a gain.

    Raises
    ------
    InvalidInput
        A nan, a shape that does not match, a confidence outside (0, 1), a matrix that is no covariance, an underlying
        without a market or scenarios, figures that overflow.
    TooFewObservations
        Fewer than 2 returns, or for the methods with scenarios fewer than 1 / (1 - confidence).
    EngineError
        The delta-gamma distribution could not be integrated to 1e-6.

    Notes
    -----
    Exposures are positions that are linear in their price; options need a book. Square-root scaling assumes returns
    without serial correlation. Contributions are mean losses where the book loses its VaR [3]_: exact for the
    parametric methods, those of the two scenarios around the quantile for the historical, and smoothed over the
    scenarios near it by Harrell and Davis's weights [5]_, as the figure itself, for Monte Carlo.

    The second-order expansion is only as good as its expansion: beside full revaluation it tells how much the book
    bends. Its distribution is integrated to the relative error that is stated, of the order of 1e-12.

    Examples
    --------
    >>> from engine import value_at_risk
    >>> round(value_at_risk([1_000_000.0], covariance=[[0.02**2]]).total, 2)
    46526.96
    >>> from engine.risk import Book, Market
    >>> book = Book.from_columns(
    ...     id=["put"], underlying=["X"], kind=["put"], quantity=[-1.0], strike=[100.0], expiry=[0.25]
    ... )
    >>> found = value_at_risk(book, Market({"X": 100.0}, volatility=0.3), covariance=[[0.02**2]])
    >>> round(found.total, 3), found.position_contributions.round(3).tolist()
    (2.474, [2.474])
    """
    return _measure(
        "value_at_risk", exposures, returns, scenarios, covariance, interval, horizon, confidence, method, decay,
        symbols, n_scenarios, seed, device, client,
    )  # fmt: skip


@overload
def expected_shortfall(
    exposures: ArrayLike,
    returns: ArrayLike | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    symbols: Sequence[str] | None = None,
    device: Place = "auto",
) -> RiskMeasure: ...


@overload
def expected_shortfall(
    exposures: Book | Shards,
    returns: Market,
    scenarios: Scenarios | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    n_scenarios: int = 10_000,
    seed: int = 0,
    device: Place = "auto",
    client: Any | None = None,
) -> RiskMeasure: ...


def expected_shortfall(
    exposures: ArrayLike | Book | Shards,
    returns: ArrayLike | Market | None = None,
    scenarios: Scenarios | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    symbols: Sequence[str] | None = None,
    n_scenarios: int = 10_000,
    seed: int = 0,
    device: Place = "auto",
    client: Any | None = None,
) -> RiskMeasure:
    """Return the mean loss over the worst 1 - `confidence` of outcomes.

    The methods with scenarios use the coherent estimator of Acerbi and Tasche [2]_, so it is subadditive also where the
    tail is a fraction of an observation. Errors and validity are those of `value_at_risk`.

    Parameters
    ----------
    exposures, returns, scenarios, covariance, interval, horizon, confidence, method, decay, symbols
        As for `value_at_risk`; and so are `n_scenarios`, `seed`, `device` and `client`.

    Returns
    -------
    RiskMeasure

    Examples
    --------
    >>> from engine import expected_shortfall
    >>> round(expected_shortfall([1.0], covariance=[[1.0]], confidence=0.975).total, 7)
    2.3378028
    """
    return _measure(
        "expected_shortfall", exposures, returns, scenarios, covariance, interval, horizon, confidence, method, decay,
        symbols, n_scenarios, seed, device, client,
    )  # fmt: skip


def _measure(
    measure: str,
    exposures: Any,
    returns: Any,
    scenarios: Scenarios | None,
    covariance: ArrayLike | None,
    interval: float,
    horizon: float,
    confidence: float,
    method: Method,
    decay: float | None,
    symbols: Sequence[str] | None,
    n_scenarios: int,
    seed: int,
    device: Place,
    client: Any | None,
) -> RiskMeasure:
    """Compute one measure, of exposures or of a book."""
    expected = measure == "expected_shortfall"
    if not isinstance(exposures, Book) and not are_shards(exposures):
        if isinstance(returns, Market) or scenarios is not None:
            raise InvalidInput("exposures", f"is of type {type(exposures).__name__}; a Market goes with a Book")
        if client is not None:
            raise InvalidInput("client", "is for a Book; exposures take none")
        exposures, returns, covariance = on_the_processor(measure, device, exposures, returns, covariance)
        return _linear(measure, exposures, returns, covariance, interval, horizon, confidence, method, decay, symbols)
    level, days = open_unit("confidence", confidence), positive("horizon", horizon)
    if not isinstance(method, str) or method not in ("parametric", "historical", "monte-carlo"):
        raise InvalidInput("method", f"is {method!r}; choose 'parametric', 'historical' or 'monte-carlo'")
    if symbols is not None:
        raise InvalidInput("symbols", "names columns of returns; a Book names its own underlyings")
    from engine.risk._book_measures import book_figures

    found = book_figures(
        exposures, returns, scenarios, covariance=covariance, interval=interval, horizon=days, level=level,
        method=method, decay=decay, expected=expected, n_scenarios=n_scenarios, seed=seed, device=device,
        client=client,
    )  # fmt: skip
    return RiskMeasure(
        measure, found.total, found.standalone, found.contributions, method, level, days, found.n_observations,
        found.underlyings, found.positions, found.position_contributions, found.standard_error,
        found.integration_error,
    )  # fmt: skip


def _linear(
    measure: str,
    exposures: ArrayLike,
    returns: ArrayLike | None,
    covariance: ArrayLike | None,
    interval: float,
    horizon: float,
    confidence: float,
    method: Method,
    decay: float | None,
    symbols: Sequence[str] | None,
) -> RiskMeasure:
    """Check the arguments and compute one measure of exposures by one method."""
    positions = finite_array("exposures", exposures, 1)
    level, days = open_unit("confidence", confidence), positive("horizon", horizon)
    scale = days / positive("interval", interval)
    if scale == float("inf"):
        raise InvalidInput("interval", f"is {interval}; the horizon over it overflows")
    if symbols is not None and not hasattr(symbols, "__len__"):
        raise InvalidInput("symbols", f"is of type {type(symbols).__name__}; must be a sequence of names")
    names = tuple(symbols) if symbols is not None else tuple(str(place) for place in range(positions.size))
    if len(names) != positions.size:
        raise InvalidInput("symbols", f"has {len(names)} names for {positions.size} exposures")
    if not isinstance(method, str) or method not in ("parametric", "historical"):
        only = " (a Book takes 'monte-carlo' as well)" if str(method) == "monte-carlo" else ""
        raise InvalidInput("method", f"is {method!r}; choose 'parametric' or 'historical'{only}")
    if (returns is None) == (covariance is None):
        raise InvalidInput("returns", "give either returns or covariance, and not both")
    observations: FloatArray | None = None
    if returns is not None:
        observations = finite_array("returns", returns, 2)
        if observations.shape[1] != positions.size:
            raise InvalidInput("returns", f"has {observations.shape[1]} columns for {positions.size} exposures")
    expected = measure == "expected_shortfall"
    if method == "historical":
        if observations is None or decay is not None:
            raise InvalidInput("method", "'historical' takes returns, and neither covariance nor decay")
        figures = historical(positions, observations, scale**0.5, level, expected)
    else:
        if observations is not None:
            matrix = second_moments(observations, decay)
        else:
            matrix = covariance_matrix(covariance, positions.size)
        figures = parametric(positions, matrix, scale, level, expected)
    total, standalone, contributions = figures
    count = None if observations is None else observations.shape[0]
    return RiskMeasure(measure, total, standalone, contributions, method, level, days, count, names)
