"""The market: correlated price paths with a volatility regime and a little predictability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.crypto.parameters import (
    CORRELATION,
    DAILY_VOLATILITY,
    N_SYMBOLS,
    START_PRICES,
    STEP_DAYS,
    TICKS_PER_STEP,
    FloatArray,
)

_REGIME_MEMORY = 0.995
_COMMON_NOISE = 0.006  # stationary deviation of the common log volatility: 6 %
_OWN_NOISE = 0.004
_REGIME_BOUND = 0.15
_VOLUME_NOISE = 0.25
_PREDICTABILITY = 0.16  # size of the predictable part of a step's return, in standard deviations


@dataclass(frozen=True, slots=True)
class Features:
    """What the models see after a step; each array has shape (n_symbols,).

    Attributes
    ----------
    momentum : ndarray
        Recent direction, smoothed and squashed to -1..1.
    reversion : ndarray
        Distance below the slow average, squashed to -1..1.
    news : ndarray
        Outside information, about standard normal.
    """

    momentum: FloatArray
    reversion: FloatArray
    news: FloatArray


class Market:
    """Five prices that move in ticks.

    Parameters
    ----------
    rng : numpy.random.Generator
    prices : ndarray, shape (n_symbols,), optional
        Where the paths start [USD].
    """

    def __init__(self, rng: np.random.Generator, prices: FloatArray | None = None) -> None:
        self._rng = rng
        self.prices = np.array(START_PRICES) if prices is None else prices.copy()
        self.base_volatility = np.array(DAILY_VOLATILITY)
        self._root = np.linalg.cholesky(
            np.full((N_SYMBOLS, N_SYMBOLS), CORRELATION) + np.eye(N_SYMBOLS) * (1 - CORRELATION)
        )
        self._common = 0.0
        self._own = np.zeros(N_SYMBOLS)
        self._factor = np.zeros(N_SYMBOLS)  # logarithm of the multiple on volatility
        self._factor_target = np.zeros(N_SYMBOLS)
        self._factor_step = np.zeros(N_SYMBOLS)
        self._fast = np.zeros(N_SYMBOLS)
        self._slow = np.log(self.prices)
        self._news = np.zeros(N_SYMBOLS)
        self._weights = np.ones((3, N_SYMBOLS))
        self.volume = np.ones(N_SYMBOLS)  # traded in the last step, as a share of the usual
        self._volume_level = np.ones(N_SYMBOLS)
        self._silent = np.zeros(N_SYMBOLS, dtype=bool)
        self._withheld = np.zeros(N_SYMBOLS)

    @property
    def volatility(self) -> FloatArray:
        """True volatility at this moment, per square root of a day."""
        regime = np.clip(self._common, -_REGIME_BOUND, _REGIME_BOUND) + np.clip(self._own, -0.08, 0.08)
        return np.asarray(self.base_volatility * np.exp(regime + self._factor))

    def features(self) -> Features:
        """What can be known before the next step."""
        distance = (np.log(self.prices) - self._slow) / (self.volatility * np.sqrt(STEP_DAYS))
        return Features(np.tanh(self._fast), -np.tanh(distance / 4.0), self._news.copy())

    def move_volatility(self, symbols: list[int], multiple: float, steps: int) -> None:
        """Let the volatility of `symbols` go to `multiple` times its usual level over `steps` steps."""
        for place in symbols:
            self._factor_target[place] = np.log(multiple)
            self._factor_step[place] = abs(self._factor_target[place] - self._factor[place]) / max(steps, 1)

    def set_volume(self, symbols: list[int], share: float) -> None:
        """Let the volume of `symbols` go to a share of the usual."""
        self._volume_level[symbols] = share

    @property
    def trend(self) -> FloatArray:
        """Strength of the trend, 0 to 1, whatever its direction."""
        return np.abs(np.tanh(self._fast))

    def miss_step(self, symbol: int) -> None:
        """Let the feed of one symbol deliver nothing in the next step; the move arrives with the step after."""
        self._silent[symbol] = True

    def step(self) -> FloatArray:
        """Advance by one step.

        Returns
        -------
        ndarray, shape (n_ticks, n_symbols)
            Log returns of the ticks.
        """
        rng = self._rng
        shocks = rng.standard_normal(2 * N_SYMBOLS + 1)
        self._common = _REGIME_MEMORY * self._common + _COMMON_NOISE * shocks[0]
        self._own = _REGIME_MEMORY * self._own + _OWN_NOISE * shocks[1 : N_SYMBOLS + 1]
        gap = self._factor_target - self._factor
        self._factor += np.clip(gap, -self._factor_step, self._factor_step)
        self._weights += 0.01 * (1.0 - self._weights) + 0.06 * rng.standard_normal(self._weights.shape)
        np.clip(self._weights, 0.0, 2.0, out=self._weights)
        seen = self.features()
        drift = _PREDICTABILITY * (
            self._weights[0] * seen.momentum + 0.4 * self._weights[1] * seen.reversion + self._weights[2] * seen.news
        )
        deviation = self.volatility * np.sqrt(STEP_DAYS)
        noise = rng.standard_normal((TICKS_PER_STEP, N_SYMBOLS)) @ self._root.T
        ticks = np.asarray((noise / np.sqrt(TICKS_PER_STEP) + drift / TICKS_PER_STEP) * deviation)
        if self._silent.any() or self._withheld.any():
            ticks[0] += self._withheld
            self._withheld = np.where(self._silent, ticks.sum(axis=0), 0.0)
            ticks[:, self._silent] = 0.0
            self._silent[:] = False
        self.volume = self._volume_level * np.exp(_VOLUME_NOISE * rng.standard_normal(N_SYMBOLS))
        moved = ticks.sum(axis=0)
        self.prices = self.prices * np.exp(moved)
        self._fast += 0.3 * (moved / deviation - self._fast)
        self._slow += 0.03 * (np.log(self.prices) - self._slow)
        self._news = 0.5 * self._news + np.sqrt(0.75) * shocks[N_SYMBOLS + 1 :]
        return ticks
