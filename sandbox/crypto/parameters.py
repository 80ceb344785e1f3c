"""What the crypto platform is made of: symbols, clock, limits. The one place where time is compressed.

One step of `STEP_S` wall-clock seconds stands for `MARKET_S_PER_STEP` seconds of market time, so that a market day of
value at risk passes in 72 seconds. `/api/status` shows both figures under `clock`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SYMBOLS: Final = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD")
N_SYMBOLS: Final = len(SYMBOLS)

STEP_S: Final = 0.25  # wall clock between two steps [s]
MARKET_S_PER_STEP: Final = 300.0  # market time that a step stands for [s]
STEP_DAYS: Final = MARKET_S_PER_STEP / 86_400.0  # the same [days]
TICKS_PER_STEP: Final = 10  # trades seen per symbol and step
HISTORY_POINTS: Final = 1_200  # steps kept in every series: 5 minutes of wall clock
BURN_IN_STEPS: Final = 400  # simulated before the history that is kept

START_PRICES: Final = (97_400.0, 3_310.0, 188.0, 2.41, 0.92)  # [USD]
DAILY_VOLATILITY: Final = (0.0288, 0.0366, 0.0497, 0.0445, 0.0471)  # per square root of a day
USUAL_VOLUME_USD: Final = (48e6, 26e6, 9e6, 6e6, 3e6)  # traded in a step in the mean [USD]
CORRELATION: Final = 0.68  # between any two symbols

NAV_USD: Final = 10_000_000.0  # constant: profit and loss is swept out of the book at once
EDGE_REFERENCE_BPS: Final = 20.0  # edge at which the signal is 1
VAR_CONFIDENCE: Final = 0.99
VAR_HORIZON_DAYS: Final = 1.0
VAR_DECAY: Final = 0.95  # weight of a step against the next in the covariance behind VaR
ESTIMATOR_DECAY: Final = 0.97  # the same in `volatility_estimates`
GROW_SHARE: Final = 0.10  # share of the gap to the target by which a position may grow in a step
SHRINK_SHARE: Final = 0.15  # the same for shrinking
LATENCY_LIMIT_MS: Final = 100.0  # median latency of a step above which the breaker opens
REDIS_P99_LIMIT_US: Final = 5_000.0  # 99th percentile of the time of a call of Redis above which it is slow [us]
HALF_OPEN_SHARE: Final = 0.25  # share of the size of a normal purchase allowed while the breaker is half open
HALF_OPEN_CLEAN_TRADES: Final = 100  # clean trades after which a half-open breaker closes
SMALLEST_TRADE_USD: Final = 1.0  # a smaller change of a position is no trade
SWITCH_WINDOW_S: Final = 30.0  # wall clock over which switches are counted [s]
SWITCH_ALERT_PER_MINUTE: Final = 20.0
ASIDE_EVERY_STEPS: Final = 4  # steps between two rounds of scoring aside

VERSION: Final = "0.4.0-rc3"
