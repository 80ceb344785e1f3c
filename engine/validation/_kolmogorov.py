"""Distribution of the two-sample Kolmogorov-Smirnov statistic under one common continuous distribution.

References
----------
.. [1] J. L. Hodges, "The significance probability of the Smirnov two-sample test", Arkiv foer Matematik 3 (1958),
   eq. 2.2 (samples of one size) and section 4 (walks on the lattice), doi:10.1007/BF02589501.
.. [2] R. Simard and P. L'Ecuyer, "Computing the two-sided Kolmogorov-Smirnov distribution", Journal of Statistical
   Software 39 (2011), doi:10.18637/jss.v039.i11: Pelz and Good's expansion, and twice the one-sided tail. So does
   `scipy.stats.kstwo`, which takes a second to be imported.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["EXACT_UP_TO", "p_value"]

EXACT_UP_TO = 4_000_000  # lattice points to visit for samples of different sizes; some 20 ms
_UNDERFLOWS = 746.0
_FAR = 2.2  # n * distance**2 from which the two sides are apart
_NEAR = 0.1  # root of the same up to which the probability is 1 to rounding
_NEGLIGIBLE = 45.0  # exp of less is beyond rounding


def p_value(gap: int, n: int, m: int) -> float:
    """Return the probability of a gap this large or larger.

    Parameters
    ----------
    gap : int
        The statistic times n * m.
    n, m : int
        Sizes of the samples. With n = m the probability is exact, and else wherever 2 * gap + min(n, m) is at most
        4,000,000; beyond that it is the one-sample distribution of n * m / (n + m) observations, rounded.
    """
    if gap == 0:
        return 1.0
    if n == m:
        return _of_one_size(gap // n, n)
    if 2 * gap + min(n, m) <= EXACT_UP_TO:
        return _by_walks(gap, n, m)
    return _of_one_sample(gap / (n * m), round(n * m / (n + m)))


def _of_one_sample(distance: float, n: int) -> float:
    """Return the probability of the distance between n observations and their distribution."""
    from scipy.special import smirnov

    if n * distance * distance >= _FAR:
        return min(2.0 * float(smirnov(n, distance)), 1.0)  # both sides at once: less than 1e-7 of that
    z = math.sqrt(n) * distance
    if z < _NEAR:
        return 1.0
    # the expansion in 1 / sqrt(n) to its third order [2]_
    whole = np.pi**2 * np.arange(1.0, 12.0) ** 2
    half = np.pi**2 * (np.arange(12.0) + 0.5) ** 2
    at_whole, at_half = np.exp(-whole / (2.0 * z * z)), np.exp(-half / (2.0 * z * z))
    scale = 2.0 * math.sqrt(0.5 * np.pi)  # the terms of k < 0 are those of the others once more
    z2, z4, z6 = z**2, z**4, z**6
    limit = scale / z * at_half
    first = scale / (6.0 * z4) * (half - z2) * at_half
    second = 6.0 * z6 + 2.0 * z4 + half * (2.0 * z4 - 5.0 * z2) + half**2 * (1.0 - 2.0 * z2)
    third = half**3 * (5.0 - 30.0 * z2) + half**2 * (212.0 * z4 - 60.0 * z2)
    third += half * (135.0 * z4 - 96.0 * z6) - 30.0 * z6 - 90.0 * z**8
    parts = (
        limit.sum(),
        first.sum(),
        scale * ((second * at_half).sum() / (72.0 * z**7) - (whole * at_whole).sum() / (36.0 * z**3)),
        scale * ((third * at_half).sum() / (6480.0 * z**10))
        + scale * ((3.0 * whole * z2 - whole**2) * at_whole).sum() / (216.0 * z6),
    )
    below = sum(part / n ** (0.5 * order) for order, part in enumerate(parts))
    return min(max(1.0 - float(below), 0.0), 1.0)


def _of_one_size(steps: int, n: int) -> float:
    """Twice the alternating sum of C(2n, n + k * steps) / C(2n, n) over k [1]_."""
    # the terms fall as exp(-away**2 / n)
    last = min(n, math.ceil(math.hypot(steps, math.sqrt(_NEGLIGIBLE * n)) + _NEGLIGIBLE))
    away = np.arange(1, last + 1)
    ratios = np.cumsum(np.log1p((1.0 - 2.0 * away) / (n + away)))[steps - 1 :: steps]
    signs = np.where(np.arange(ratios.size) % 2, -1.0, 1.0)
    return min(max(2.0 * math.fsum(signs * np.exp(np.maximum(ratios, -_UNDERFLOWS))), 0.0), 1.0)


def _by_walks(gap: int, n: int, m: int) -> float:
    """Share of the walks from (0, 0) to (n, m) that meet a point where ``|i * m - j * n|`` is at least the gap [1]_."""
    from engine.validation._drift_kernels import share_of_walks

    return float(share_of_walks(gap, min(n, m), max(n, m)))
