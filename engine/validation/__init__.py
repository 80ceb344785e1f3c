"""Validation: drift of features, honest Sharpe ratios, splits without look-ahead, overfitting of backtests."""

from engine.validation.drift import KolmogorovSmirnov, ks, psi, psi_from_fractions
from engine.validation.overfitting import Overfitting, probability_of_backtest_overfitting
from engine.validation.sharpe import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
    sharpe_ratio,
)
from engine.validation.splits import Fold, WalkForward, purged_folds, walk_forward

__all__ = [
    "Fold",
    "KolmogorovSmirnov",
    "Overfitting",
    "WalkForward",
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "ks",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "psi",
    "psi_from_fractions",
    "purged_folds",
    "sharpe_ratio",
    "walk_forward",
]
