"""Points and matrices of the collocation behind `engine.pricing.early_exercise`, made once a level."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from engine._checks import FloatArray

__all__ = ["LEVELS", "Grid", "evaluation", "grid"]

LEVELS = (
    (6, 14),
    (9, 22),
    (13, 32),
    (18, 44),
    (28, 70),
    (44, 120),
    (64, 200),
)  # Chebyshev points and quadrature points
_PANEL = 16  # points of Gauss and Legendre in a panel of the final integral


class Grid(NamedTuple):
    """What depends on the number of points alone.

    Attributes
    ----------
    roots : ndarray, shape (n + 1,)
        Square roots of the collocation times, over that of the expiry; from 0 to 1.
    sines, weights : ndarray, shape (n_quadrature,)
        Of the angles; and their weights, times twice sine and cosine.
    interpolation : ndarray, shape (n, n + 1, n_quadrature)
        From values at the collocation times to those at the times that each integral needs.
    transform : ndarray, shape (n + 1, n + 1)
        From values at the collocation times to Chebyshev coefficients.
    panel, panel_weights : ndarray
        Gauss-Legendre points and weights on 0 to 1.
    """

    roots: FloatArray
    sines: FloatArray
    weights: FloatArray
    interpolation: FloatArray
    transform: FloatArray
    panel: FloatArray
    panel_weights: FloatArray


@functools.cache
def grid(level: int) -> Grid:
    """Return the grid of a level."""
    n, n_quadrature = LEVELS[level]
    cosine = np.cos(np.pi * np.arange(n + 1) / n)
    points, weights = np.polynomial.legendre.leggauss(n_quadrature)
    # closer together where little time is left and the boundary is steep
    away = 0.5 * (points + 1.0)
    angles = 0.5 * np.pi * (1.0 - away * away)
    sines, cosines = np.sin(angles), np.cos(angles)
    transform = np.cos(np.pi * np.outer(np.arange(n + 1), np.arange(n + 1)) / n) * 2.0 / n
    transform[:, [0, n]] *= 0.5
    transform[[0, n]] *= 0.5
    roots = 0.5 * (1.0 - cosine)
    queries = np.arccos(np.clip(2.0 * np.outer(roots[1:], cosines) - 1.0, -1.0, 1.0))
    basis = np.cos(queries[:, :, None] * np.arange(n + 1))
    interpolation = basis @ transform[:, ::-1]
    panel, panel_weights = np.polynomial.legendre.leggauss(_PANEL)
    return Grid(
        roots,
        sines,
        0.5 * np.pi * weights * away * 2.0 * sines * cosines,
        np.ascontiguousarray(interpolation.transpose(0, 2, 1)),
        np.ascontiguousarray(transform[:, ::-1]),
        0.5 * (panel + 1.0),
        0.5 * panel_weights,
    )


@functools.cache
def evaluation(level: int) -> FloatArray:
    """Return the matrix from Chebyshev coefficients of the level before to values at this level's points."""
    angles = np.arccos(np.clip(2.0 * grid(level).roots - 1.0, -1.0, 1.0))
    return np.asarray(np.cos(np.outer(angles, np.arange(LEVELS[level - 1][0] + 1))))
