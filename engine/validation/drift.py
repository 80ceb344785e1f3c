"""Drift of a feature between the sample a model was made with and the sample it sees now.

References
----------
.. [1] N. Siddiqi, *Credit Risk Scorecards* (2006), ch. 9, system stability report: the index.
.. [2] B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
   Validation 14 (2020), eq. 1.1, doi:10.21314/JRMV.2020.227.
.. [3] N. V. Smirnov, "Table for estimating the goodness of fit of empirical distributions", Annals of Mathematical
   Statistics 19 (1948), doi:10.1214/aoms/1177730256.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray, finite_array, fixed, flag, is_whole, open_unit
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, TooFewObservations
from engine.validation._features import by_feature, pairs, raise_for_values

__all__ = ["KolmogorovSmirnov", "ks", "psi", "psi_from_fractions"]

_FLOOR = 1e-4
_GLIMPSES = 1024


class KolmogorovSmirnov(NamedTuple):
    """Two-sample Kolmogorov-Smirnov test.

    Attributes
    ----------
    statistic : float or ndarray, shape (n_features,)
        Largest distance between the two empirical distribution functions.
    p_value : float or ndarray, shape (n_features,)
        Two-sided: probability of a distance this large or larger, were both samples of one continuous distribution.
    """

    statistic: Any
    p_value: Any


def psi(
    expected: Any,
    actual: Any,
    *,
    bins: Any = 20,
    floor: float = _FLOOR,
    presorted: bool = False,
    device: Place = "auto",
) -> Any:
    """Return the population stability index, the sum of (a - e) ln(a / e) over bins [1]_, [2]_.

    Parameters
    ----------
    expected, actual : array_like, shape (n,) or (n, n_features), or DataFrame
        Reference and present sample; their lengths may differ, frames are matched by column.
    bins : int or array_like, shape (n_edges,)
        How many bins, cut at the quantiles of `expected` (linear between order statistics), or the inner edges,
        ascending. A bin holds its lower edge and not its upper; the outer two are open. A value at which several
        quantiles fall gets a bin of its own, so that a constant feature that becomes another constant is seen.
    floor : float
        Smaller fractions are raised to it, above all those of empty bins; between 0 and 0.01.
    presorted : bool
        Both samples are in ascending order: a million rows then take microseconds. Only glimpsed at, not checked.
    device : {"auto", "cpu", "cuda"}
        Samples are counted on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float, ndarray of shape (n_features,) or Series
        Read as: below 0.1 stable, above 0.25 shifted. With few rows noise alone is about
        ``(bins - 1) * (1 / n_expected + 1 / n_actual)``.

    Raises
    ------
    InvalidInput
        Columns that do not match, edges out of order, a sample that is not in order though `presorted`.
    NotFinite
        A nan or an infinity, with its column and row.
    TooFewObservations
        Fewer rows of `expected` than bins.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.validation import psi
    >>> expected = np.arange(1000.0)
    >>> psi(expected, expected), round(psi(expected, expected + 100.0), 4)
    (0.0, 0.7301)
    """
    expected, actual, bins = on_the_processor("psi", device, expected, actual, bins)
    edges = None if isinstance(bins, bool) or is_whole(bins) else _edges(bins)
    if edges is None and bins < 2:
        raise InvalidInput("bins", f"is {bins!r}; must be at least 2, or the inner edges")
    _check_floor(floor)
    in_order = flag("presorted", presorted)
    features = pairs(expected, actual)

    def index(place: int) -> float:
        first, second = features.sample("expected", place), features.sample("actual", place)
        names = features.argument("expected", place), features.argument("actual", place)
        if in_order:
            for name, values in zip(names, (first, second), strict=True):
                _glimpse(name, values)
        cuts = _cuts(names[0], first, int(bins), in_order) if edges is None else edges
        before = _fractions(names[0], first, cuts, in_order)
        return _index(before, _fractions(names[1], second, cuts, in_order), floor)

    return features.shaped("psi", by_feature(index, features))


def psi_from_fractions(expected: Any, actual: Any, *, floor: float = _FLOOR, device: Place = "auto") -> Any:
    """Return the population stability index of fractions that are already known [2]_.

    Parameters
    ----------
    expected, actual : array_like, shape (n_bins,) or (n_bins, n_features), or DataFrame
        Fractions, at least 0, that add up to 1 (to 1e-6).
    floor : float
        As for `psi`.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float, ndarray of shape (n_features,) or Series

    Raises
    ------
    InvalidInput
        Another number of bins on either side, a negative fraction, a sum other than 1.
    NotFinite
        A nan or an infinity.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine.validation import psi_from_fractions
    >>> round(psi_from_fractions((0.5, 0.5), (0.6, 0.4)), 7)
    0.0405465
    """
    expected, actual = on_the_processor("psi_from_fractions", device, expected, actual)
    _check_floor(floor)
    features = pairs(expected, actual)

    def index(place: int) -> float:
        both = []
        for name in ("expected", "actual"):
            argument, fractions = features.argument(name, place), features.sample(name, place)
            raise_for_values(argument, fractions)
            if (fractions < 0.0).any():
                first = int(np.argmax(fractions < 0.0))
                raise InvalidInput(argument, f"is {fractions[first]}; must be at least 0", (first,))
            if abs(float(fractions.sum()) - 1.0) > 1e-6:
                raise InvalidInput(argument, f"adds up to {fractions.sum():.6g}, must be 1")
            both.append(fractions)
        if both[0].size != both[1].size:
            raise InvalidInput("actual", f"has {both[1].size} bins for {both[0].size} of expected")
        return _index(both[0], both[1], floor)

    return features.shaped("psi", by_feature(index, features))


def ks(expected: Any, actual: Any, *, device: Place = "auto") -> Any:
    """Return the two-sample Kolmogorov-Smirnov statistic and its two-sided p-value [3]_.

    Parameters
    ----------
    expected, actual : array_like, shape (n,) or (n, n_features), or DataFrame
        Reference and present sample; their lengths may differ, frames are matched by column.
    device : {"auto", "cpu", "cuda"}
        Samples are counted on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    KolmogorovSmirnov or DataFrame
        Of frames, a frame of the columns ``statistic`` and ``p_value`` with a row for each feature.

    Raises
    ------
    InvalidInput
        An empty sample, columns that do not match.
    NotFinite
        A nan or an infinity, with its column and row.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    The statistic is exact: a whole number over n * m, rounded once. The p-value is exact for samples of one size, and
    else while ``2 * statistic * n * m`` is below 4,000,000; beyond that it is of the one-sample distribution of
    n * m / (n + m) observations. Ties make it too large, never too small.

    Examples
    --------
    >>> from engine.validation import ks
    >>> found = ks([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0])
    >>> found.statistic, round(found.p_value, 12)
    (0.5, 0.771428571429)
    """
    expected, actual = on_the_processor("ks", device, expected, actual)
    features = pairs(expected, actual)

    def test(place: int) -> tuple[float, float]:
        from engine.validation._kolmogorov import p_value
        from engine.validation._samples import NotAllFinite, largest_gap

        first, second = features.sample("expected", place), features.sample("actual", place)
        try:
            gap = largest_gap(first, second)
        except NotAllFinite:
            raise_for_values(features.argument("expected", place), first)
            raise_for_values(features.argument("actual", place), second)
            raise
        return gap / (first.size * second.size), p_value(gap, first.size, second.size)

    statistic, probability = np.array(by_feature(test, features)).T
    if features.frame:
        return features.table({"statistic": statistic, "p_value": probability})
    if features.single:
        return KolmogorovSmirnov(float(statistic[0]), float(probability[0]))
    return KolmogorovSmirnov(statistic, probability)


def _check_floor(floor: float) -> None:
    if open_unit("floor", floor) > 0.01:
        raise InvalidInput("floor", f"is {floor}; must be above 0 and at most 0.01")


def _edges(bins: Any) -> FloatArray:
    edges = finite_array("bins", bins, 1)
    falling = np.diff(edges) <= 0.0
    if falling.any():
        raise InvalidInput("bins", "edges must ascend", (int(np.argmax(falling)) + 1,))
    return edges


def _glimpse(argument: str, values: FloatArray) -> None:
    """Look at a thousand places of a sample that should be in order; nan sorts to its end."""
    if not (math.isfinite(values[0]) and math.isfinite(values[-1])):
        raise_for_values(argument, values)
    step = max(1, values.size // _GLIMPSES)
    glimpses = values[::step]
    falling = glimpses[1:] < glimpses[:-1]
    if falling.any():
        raise InvalidInput(argument, "is not in ascending order", ((int(np.argmax(falling)) + 1) * step,))


def _cuts(argument: str, values: FloatArray, bins: int, presorted: bool) -> FloatArray:
    """Inner edges of the bins: quantiles, and just above each that occurs more than once."""
    if values.size < bins:
        raise TooFewObservations(values.size, bins, f"an index over {bins} bins", instead="take fewer bins")
    part = (values.size - 1) * np.arange(1, bins)
    ranks, share = part // bins, part % bins / bins
    places = np.concatenate([ranks, np.minimum(ranks + 1, values.size - 1)])
    if presorted:
        found = values[places]
    else:
        from engine.validation._samples import NotAllFinite, order_statistics

        try:
            found = order_statistics(values, places)
        except NotAllFinite:
            raise_for_values(argument, values)
            raise
    low, high = found[: bins - 1], found[bins - 1 :]
    edges = np.minimum(np.maximum(low * (1.0 - share) + high * share, low), high)
    repeated = edges[1:] == edges[:-1]
    if not repeated.any():
        return np.asarray(edges)
    return np.unique(np.concatenate([edges, np.nextafter(edges[1:][repeated], np.inf)]))


def _fractions(argument: str, values: FloatArray, edges: FloatArray, presorted: bool) -> FloatArray:
    """Share of the values in each bin."""
    if presorted:
        counts = np.searchsorted(values, edges, side="left")
    else:
        from engine.validation._drift_kernels import below

        counts = np.empty(edges.size, np.int64)
        if not below(fixed(values), fixed(edges), counts):
            raise_for_values(argument, values)
    reached = np.empty(edges.size + 2)
    reached[0], reached[1:-1], reached[-1] = 0.0, counts, values.size
    return np.asarray((reached[1:] - reached[:-1]) / values.size)


def _index(expected: FloatArray, actual: FloatArray, floor: float) -> float:
    before, now = np.maximum(expected, floor), np.maximum(actual, floor)
    return float(((now - before) * np.log(now / before)).sum())
