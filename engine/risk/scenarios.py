"""Scenarios: what may happen to spots, volatilities, rates and time at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, covariance_matrix, finite_array, is_whole, numeric, positive
from engine.errors import InvalidInput
from engine.risk._linear import square_root

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Scenarios"]

MOST_SCENARIOS = 2**31  # at once; of more than memory holds nothing comes anyway


@dataclass(frozen=True, slots=True, eq=False)
class Scenarios:
    """Moves of the market, one row each.

    Parameters
    ----------
    underlyings : sequence of str
        Names of the columns.
    spot : array_like, shape (n_scenarios, n_underlyings)
        Relative moves, at least -1: 0.05 takes a spot of 100 to 105.
    volatility : array_like, shape (n_scenarios, n_underlyings), optional
        Absolute moves of the implied volatility, 0.02 from 50 % to 52 %; a volatility never falls below 0.
    rate : array_like, shape (n_scenarios,), optional
        Absolute moves of every rate, per year.
    elapsed : float or array_like, shape (n_scenarios,)
        Time that passes within a scenario, at least 0 [days of a year of 365]. 0 is the usual instantaneous move.
    interval : float
        Days over which the moves took place, by which `value_at_risk` scales them to its horizon.

    Raises
    ------
    InvalidInput
        No scenarios, shapes that do not match, names that repeat, a spot that falls by more than all of it.
    NotFinite
        A nan or an infinity, with its place.

    Examples
    --------
    >>> from engine.risk import Scenarios
    >>> crash = Scenarios(["BTC", "ETH"], spot=[[-0.2, -0.3], [0.1, 0.1]], volatility=[[0.2, 0.3], [0.0, 0.0]])
    >>> len(crash)
    2
    """

    underlyings: tuple[str, ...]
    spot: FloatArray
    volatility: FloatArray
    rate: FloatArray
    elapsed: FloatArray
    interval: float

    def __init__(
        self,
        underlyings: Sequence[str],
        spot: ArrayLike,
        volatility: ArrayLike | None = None,
        rate: ArrayLike | None = None,
        elapsed: ArrayLike = 0.0,
        *,
        interval: float = 1.0,
    ) -> None:
        names = _names(underlyings)
        moves = finite_array("spot", spot, 2)
        if moves.shape[1] != len(names):
            raise InvalidInput("spot", f"has {moves.shape[1]} columns for {len(names)} underlyings")
        if (moves < -1.0).any():
            row, column = (int(place) for place in np.unravel_index(int(np.argmax(moves < -1.0)), moves.shape))
            raise InvalidInput("spot", f"is {moves[row, column]}; a spot can lose no more than 1", (row, column))
        size = moves.shape[0]
        times = _rows("elapsed", elapsed, size)
        if (times < 0.0).any():
            row = int(np.argmax(times < 0.0))
            raise InvalidInput("elapsed", f"is {times[row]}; must be at least 0", (row,))
        levels = np.zeros(moves.shape) if volatility is None else finite_array("volatility", volatility, 2)
        if levels.shape != moves.shape:
            raise InvalidInput("volatility", f"has shape {levels.shape}, spot has {moves.shape}")
        rates = _rows("rate", 0.0 if rate is None else rate, size)
        for name, value in (
            ("underlyings", names),
            ("spot", moves),
            ("volatility", levels),
            ("rate", rates),
            ("elapsed", times),
            ("interval", positive("interval", interval)),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return int(self.spot.shape[0])

    @classmethod
    def from_returns(
        cls,
        returns: pd.DataFrame,
        *,
        volatility: pd.DataFrame | None = None,
        rate: ArrayLike | None = None,
        elapsed: ArrayLike = 0.0,
        interval: float = 1.0,
    ) -> Scenarios:
        """Return the moves that took place, one scenario for each row of a table.

        Parameters
        ----------
        returns : DataFrame, one column an underlying
            Simple returns of the spots.
        volatility : DataFrame, optional
            Changes of the implied volatilities over the same rows; an underlying without a column keeps its own.
        rate, elapsed : array_like, shape (n_rows,), optional
            As in the class.
        interval : float
            Length of one return [days].

        Returns
        -------
        Scenarios

        Raises
        ------
        InvalidInput
            As the class, or another number of rows, or a column that `returns` lacks.

        Examples
        --------
        >>> import pandas as pd
        >>> from engine.risk import Scenarios
        >>> prices = pd.DataFrame({"BTC": [60_000.0, 63_000.0, 61_110.0]})
        >>> Scenarios.from_returns(prices.pct_change().dropna()).spot.round(4).tolist()
        [[0.05], [-0.03]]
        """
        for name, table in (("returns", returns), ("volatility", volatility)):
            if table is not None and not hasattr(table, "columns"):
                raise InvalidInput(name, f"is of type {type(table).__name__}; must be a DataFrame")
        names = [str(name) for name in returns.columns]
        changes = None
        if volatility is not None:
            unknown = [str(name) for name in volatility.columns if str(name) not in names]
            if unknown:
                raise InvalidInput("volatility", f"has the columns {unknown}, which returns lacks")
            if len(volatility) != len(returns):
                raise InvalidInput("volatility", f"has {len(volatility)} rows, returns has {len(returns)}")
            changes = np.zeros(returns.shape)
            for name in volatility.columns:
                changes[:, names.index(str(name))] = volatility[name].to_numpy()
        return cls(names, returns.to_numpy(), changes, rate, elapsed, interval=interval)

    @classmethod
    def grid(cls, underlyings: Sequence[str], spot: ArrayLike, volatility: ArrayLike = (0.0,)) -> Scenarios:
        """Return every spot move with every volatility move, each for all underlyings at once.

        Parameters
        ----------
        underlyings : sequence of str
        spot : array_like, shape (n,)
            Relative moves.
        volatility : array_like, shape (m,)
            Absolute moves.

        Returns
        -------
        Scenarios
            n times m; the volatility moves change fastest.

        Raises
        ------
        InvalidInput
            As the class.

        Examples
        --------
        >>> from engine.risk import Scenarios
        >>> len(Scenarios.grid(["BTC"], spot=[-0.1, 0.0, 0.1], volatility=[-0.05, 0.05]))
        6
        """
        moves, levels = finite_array("spot", spot, 1), finite_array("volatility", volatility, 1)
        columns = np.ones(len(_names(underlyings)))
        return cls(
            underlyings,
            np.repeat(moves, levels.size)[:, None] * columns,
            np.tile(levels, moves.size)[:, None] * columns,
        )

    @classmethod
    def simulated(
        cls,
        underlyings: Sequence[str],
        covariance: ArrayLike,
        n_scenarios: int,
        seed: int,
        *,
        elapsed: float = 0.0,
        interval: float = 1.0,
    ) -> Scenarios:
        """Return random moves: log returns, changes of volatility and of rate, jointly normal around zero.

        Parameters
        ----------
        underlyings : sequence of str
        covariance : array_like, shape (n, n), (2n, 2n) or (2n + 1, 2n + 1)
            Per interval, of the log returns; then of the changes of volatility; then of the change of rate.
        n_scenarios : int
        seed : int
            At least 0; the same gives the same scenarios.
        elapsed, interval : float
            As in the class [days].

        Returns
        -------
        Scenarios

        Raises
        ------
        InvalidInput
            A matrix that is no covariance, a count below 1, a seed that is none.

        Examples
        --------
        >>> from engine.risk import Scenarios
        >>> moves = Scenarios.simulated(["BTC"], [[0.04**2]], 100_000, seed=1)
        >>> round(float(moves.spot.std()), 3)
        0.04
        """
        n = len(_names(underlyings))
        size = len(np.atleast_1d(numeric("covariance", covariance)))
        matrix = covariance_matrix(covariance, size if size in (2 * n, 2 * n + 1) else n)
        count = whole("n_scenarios", n_scenarios, 1, MOST_SCENARIOS)
        factor = square_root(matrix)
        draws = np.random.default_rng(whole("seed", seed, 0)).standard_normal((count, factor.shape[1])) @ factor.T
        levels = draws[:, n : 2 * n] if size >= 2 * n else None
        rates = draws[:, 2 * n] if size > 2 * n else None
        return cls(underlyings, np.expm1(draws[:, :n]), levels, rates, elapsed, interval=interval)

    def scaled(self, horizon: float) -> Scenarios:
        """Return the moves of a horizon: log returns and changes times the square root of horizon over interval.

        Parameters
        ----------
        horizon : float
            [days]

        Returns
        -------
        Scenarios
            Time that passes within a scenario stays as it was.

        Raises
        ------
        InvalidInput
            A horizon that is not above 0.

        Examples
        --------
        >>> from engine.risk import Scenarios
        >>> Scenarios(["BTC"], [[0.1]]).scaled(4.0).spot.round(12).tolist()
        [[0.21]]
        """
        ratio = positive("horizon", horizon) / self.interval
        if ratio == 1.0:
            return self
        root = math.sqrt(ratio)
        with np.errstate(divide="ignore"):
            spot = np.expm1(root * np.log1p(self.spot))
        return Scenarios(
            self.underlyings, spot, root * self.volatility, root * self.rate, self.elapsed, interval=float(horizon)
        )

    def rows(self, places: Any) -> Scenarios:
        """Return some of the scenarios.

        Parameters
        ----------
        places : slice or array_like of int

        Returns
        -------
        Scenarios

        Raises
        ------
        InvalidInput
            None is left, or there is no such row.

        Examples
        --------
        >>> from engine.risk import Scenarios
        >>> len(Scenarios(["BTC"], [[0.1], [0.2], [0.3]]).rows([0, 2]))
        2
        """
        try:
            chosen = (self.spot[places], self.volatility[places], self.rate[places], self.elapsed[places])
        except IndexError as problem:
            raise InvalidInput("places", str(problem)) from problem
        return Scenarios(self.underlyings, *chosen, interval=self.interval)


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return `value` as an integer of at least `least`, and of at most `most` where that is given."""
    if not is_whole(value) or value < least:
        raise InvalidInput(name, f"is {value!r}; must be a whole number of at least {least}")
    if most is not None and value > most:
        raise InvalidInput(name, f"is {value}; must be at most {most:,}")
    return int(value)


def _names(underlyings: Any) -> tuple[str, ...]:
    try:
        listed = not isinstance(underlyings, str) and np.ndim(underlyings) == 1
    except ValueError:  # ragged
        listed = False
    names = tuple(map(str, underlyings)) if listed else ()
    if not names or len(set(names)) < len(names):
        raise InvalidInput("underlyings", "must be a sequence of names, each once")
    return names


def _rows(name: str, values: ArrayLike, size: int) -> FloatArray:
    """One number a scenario."""
    array = finite_array(name, np.atleast_1d(numeric(name, values)), 1)
    if array.size not in (1, size):
        raise InvalidInput(name, f"has {array.size} rows, spot has {size}")
    return np.array(np.broadcast_to(array, (size,)))
