"""Volatility models: one surface an underlying, fitted to its quotes, kept ready in memory.

Fitted models come from the model store, a folder. A model that is not there at the start is fitted when it is first
asked for, which takes milliseconds; only a few of those are kept.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.derivatives.market import UNDERLYINGS, surface

__all__ = ["Models", "Surface", "fit", "write_store"]

_KEPT = 2  # models fitted on the way; those from the store all stay
_QUOTES = 900
_PASSES = 30
_Coefficients = tuple[float, float, float, float]


class Surface:
    """Volatility over the one at the money, as a polynomial of log-moneyness and the root of time."""

    __slots__ = ("_a", "_b", "_c", "_d")

    def __init__(self, coefficients: _Coefficients) -> None:
        self._a, self._b, self._c, self._d = coefficients

    def __call__(self, moneyness: float, years: float) -> float:
        """Factor at a log-moneyness and time to expiry [years]."""
        return self._a + (self._b + self._c * moneyness) * moneyness + self._d * math.sqrt(years)


def fit(name: str) -> _Coefficients:
    """Fit a surface to the quotes of an underlying by iteratively reweighted least squares."""
    rng = np.random.default_rng(sum(map(ord, name)))
    moneyness = rng.uniform(-0.25, 0.25, _QUOTES)
    years = rng.uniform(0.05, 1.0, _QUOTES)
    seen = np.array([surface(float(k), float(t)) for k, t in zip(moneyness, years, strict=True)])
    seen += rng.standard_t(4.0, _QUOTES) * 1e-3
    terms = np.column_stack([np.ones(_QUOTES), moneyness, moneyness**2, np.sqrt(years)])
    weights = np.ones(_QUOTES)
    found: Any = np.zeros(4)
    for _ in range(_PASSES):
        found = np.linalg.lstsq(terms * weights[:, None], seen * weights, rcond=None)[0]
        weights = 1.0 / np.sqrt(1.0 + (np.abs(seen - terms @ found) / 1e-3) ** 2)
    a, b, c, d = (float(value) for value in found)
    return a, b, c, d


def write_store(folder: Path) -> None:
    """Fit every model and put it into the store."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in UNDERLYINGS:
        (folder / f"{name}.json").write_text(json.dumps({"coefficients": fit(name)}), "utf-8")


class Models:
    """The models of this process.

    Parameters
    ----------
    folder : Path
        The model store.

    Attributes
    ----------
    loads : int
        Models made ready so far, at the start or later.
    """

    def __init__(self, folder: Path) -> None:
        self._resident: dict[str, Surface] = {}
        self._fitted: OrderedDict[str, Surface] = OrderedDict()
        self.loads = 0
        self.missing: list[str] = []
        for name in UNDERLYINGS:
            try:
                document = json.loads((folder / f"{name}.json").read_text("utf-8"))
                a, b, c, d = (float(value) for value in document["coefficients"])
            except (OSError, ValueError, KeyError, TypeError):
                self.missing.append(name)
                continue
            self._resident[name] = Surface((a, b, c, d))
            self.loads += 1

    @property
    def resident(self) -> int:
        """Models that are ready now."""
        return len(self._resident) + len(self._fitted)

    def get(self, name: str) -> Surface:
        """The model of an underlying, made now where it is not ready.

        Raises
        ------
        KeyError
            There is no such underlying.
        """
        found = self._resident.get(name) or self._fitted.get(name)
        if found is None:
            if name not in UNDERLYINGS:
                raise KeyError(name)
            found = self._fitted[name] = Surface(fit(name))
            self.loads += 1
            while len(self._fitted) > _KEPT:
                self._fitted.popitem(last=False)
        return found
