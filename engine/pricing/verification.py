"""Served Greeks of a European option, checked in three ways that share no formula.

References
----------
.. [1] J. C. Hull, *Options, Futures, and Other Derivatives*, 10th ed., ch. 19: the conventions in which desks quote
   Greeks (vega and rho per 1 %, theta per calendar or trading day).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine._checks import open_unit
from engine._device import Place, choose
from engine.errors import InvalidInput
from engine.pricing._batches import sign_of
from engine.pricing._diagnosis import Option, conventions, explanations
from engine.pricing._references import finite_differences, simulated
from engine.pricing.closed_form import Greeks, european
from engine.pricing.payoffs import count, number

__all__ = ["GreekCheck", "Verdict", "Verification", "verify_greeks"]

Verdict = Literal["agrees", "differs", "not-checked"]

_INPUTS = ("spot", "strike", "expiry", "rate", "dividend", "volatility", "kind")
_OF_SIZE = 1e-2  # a Greek that passes through 0 is allowed the tolerance on this part of its usual size
_DIFFERENCES = 1e-6  # of the usual size, between closed form and finite differences
_MOST_PATHS = 2**27
_ERRORS = 5.0  # standard errors, between closed form and simulation


@dataclass(frozen=True, slots=True)
class GreekCheck:
    """One figure, served and computed.

    Attributes
    ----------
    name : str
    served : object
        As it came; None where it was not served.
    closed_form, finite_difference, monte_carlo, standard_error : float
        Units of `Greeks`; nan where a way gives nothing.
    allowed : float
        How far `served` may be from `closed_form`.
    verdict : {"agrees", "differs", "not-checked"}
    sentence : str
        The verdict and its reason, for people.
    """

    name: str
    served: Any
    closed_form: float
    finite_difference: float
    monte_carlo: float
    standard_error: float
    allowed: float
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All figures, and what they come to.

    Attributes
    ----------
    verdict : {"agrees", "differs", "not-checked"}
        "differs" where one figure does, "agrees" where what was checked does, "not-checked" where nothing was.
    checks : tuple of GreekCheck
        In the order of `Greeks`.
    explanations : tuple of str
        What would explain the served figures together: a put for a call, a multiplier, a single input that was
        something else. The likeliest first; empty where nothing was found, or nothing differs.
    sentence : str
    """

    verdict: Verdict
    checks: tuple[GreekCheck, ...]
    explanations: tuple[str, ...]
    sentence: str

    def __getitem__(self, name: str) -> GreekCheck:
        """Return the check of one Greek."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)


def verify_greeks(
    served: Mapping[str, Any] | Greeks,
    request: Mapping[str, Any],
    *,
    tolerance: float | Mapping[str, float] = 1e-4,
    n_paths: int = 131_072,
    seed: int = 0,
    device: Place = "auto",
) -> Verification:
    """Check served Greeks against closed form, finite differences and simulation.

    Parameters
    ----------
    served : mapping or Greeks
        Figures by the names of `Greeks`, all or some; in its units. A figure that is missing or None is not checked;
        one that is nan or no number differs.
    request : mapping
        Arguments of `european`, by name, all seven; scalars.
    tolerance : float or mapping
        Relative, strictly between 0 and 1; or by name of the Greek, 1e-4 for the others. A figure near 0 is allowed it
        on a hundredth of what the Greek amounts to at the money.
    n_paths : int
        Of the simulation.
    seed : int
        Of the simulation.
    device : {"auto", "cpu", "cuda"}
        One option stays on the CPU.

    Returns
    -------
    Verification

    Raises
    ------
    InvalidInput
        A request that lacks an input or has one that `european` does not know or accept; a served name that is no
        Greek.
    NotFinite
        A nan or an infinity in the request.
    DeviceMissing
        ``device="cuda"`` without a card.

    Notes
    -----
    `served` is held against the closed form, after this has been held against the other two: finite differences to
    1e-6 of the Greek's usual size, simulation to 5 of its standard errors. Should these disagree, the figure counts
    as not checked, and the sentence says so. With expiry, volatility or spot of 0 there is the closed form's limit
    alone.

    A figure that differs is compared with the usual conventions [1]_: sign, per 1 %, per day, cash, forward and
    premium-adjusted delta, the other kind of option. Explanations are found by search, and are a hint, not a proof.

    Examples
    --------
    >>> from engine.pricing import verify_greeks
    >>> request = dict(spot=100.0, strike=100.0, expiry=1.0, rate=0.05, dividend=0.0, volatility=0.2, kind="call")
    >>> found = verify_greeks({"delta": 0.636831, "rho": -10.45}, request)
    >>> found.verdict, found["delta"].verdict, found["vega"].verdict
    ('differs', 'agrees', 'not-checked')
    >>> verify_greeks({"vega": 0.3752403}, request)["vega"].sentence
    'vega is served as 0.3752403 and should be 37.52403; it is per 1 %, not per 1.0'
    """
    choose(device)
    values = _request(request)
    figures = _served(served)
    parts = _tolerances(tolerance)
    paths, start = count("n_paths", n_paths, 2), count("seed", seed, 0)
    if paths > _MOST_PATHS:
        raise InvalidInput("n_paths", f"is {paths}; must be at most {_MOST_PATHS:,}, which are held at once")
    exact = european(*values)
    spot, _, expiry, _, _, volatility, _ = values
    regular = spot > 0.0 and expiry > 0.0 and volatility > 0.0
    nothing = (math.nan,) * len(exact)
    differences = finite_differences(*values) if regular else nothing
    means, errors = simulated(*values, paths, start) if regular else (nothing, nothing)
    sizes = _sizes(*values)
    checks = []
    for place, name in enumerate(Greeks._fields):
        allowed = parts[name] * (abs(exact[place]) + _OF_SIZE * sizes[place])
        if not math.isfinite(allowed):
            allowed = 0.0
        ways = (float(exact[place]), float(differences[place]), float(means[place]), float(errors[place]))
        doubt = _doubt(ways, sizes[place]) if regular else ""
        verdict, sentence = _judge(name, figures[name], ways[0], allowed, doubt, values)
        checks.append(GreekCheck(name, figures[name], *ways, allowed, verdict, sentence))
    rows = tuple(checks)
    numbers = {row.name: _as_float(row.served) for row in rows if row.verdict != "not-checked"}
    wrong = [row.name for row in rows if row.verdict == "differs"]
    found = (
        explanations(numbers, values, parts, sizes, _OF_SIZE)
        if any(math.isfinite(numbers[name]) for name in wrong)
        else ()
    )
    return Verification(_overall(rows), rows, found, _summary(rows, found))


def _request(request: Mapping[str, Any]) -> Option:
    """Return european()'s seven arguments as floats."""
    if not isinstance(request, Mapping):
        raise InvalidInput("request", f"is of type {type(request).__name__}; must map the names {', '.join(_INPUTS)}")
    lacking = [name for name in _INPUTS if name not in request]
    if lacking:
        raise InvalidInput("request", f"lacks {', '.join(lacking)}")
    unknown = [str(name) for name in request if name not in _INPUTS]
    if unknown:
        raise InvalidInput("request", f"has {', '.join(unknown)}, which european() does not know")
    spot, strike, expiry, rate, dividend, volatility = (number(name, request[name]) for name in _INPUTS[:-1])
    return spot, strike, expiry, rate, dividend, volatility, number("kind", sign_of(request["kind"]))


def _served(served: Mapping[str, Any] | Greeks) -> dict[str, Any]:
    if isinstance(served, Greeks):
        served = served._asdict()
    if not isinstance(served, Mapping):
        raise InvalidInput("served", f"is of type {type(served).__name__}; must be a mapping or Greeks")
    unknown = [str(name) for name in served if name not in Greeks._fields]
    if unknown:
        raise InvalidInput("served", f"has {', '.join(unknown)}; the Greeks are {', '.join(Greeks._fields)}")
    return {name: served.get(name) for name in Greeks._fields}


def _tolerances(tolerance: float | Mapping[str, float]) -> dict[str, float]:
    if not isinstance(tolerance, Mapping):
        return dict.fromkeys(Greeks._fields, open_unit("tolerance", number("tolerance", tolerance)))
    unknown = [str(name) for name in tolerance if name not in Greeks._fields]
    if unknown:
        raise InvalidInput("tolerance", f"has {', '.join(unknown)}; the Greeks are {', '.join(Greeks._fields)}")
    given = {name: open_unit(f"tolerance of {name}", number("tolerance", part)) for name, part in tolerance.items()}
    return {**dict.fromkeys(Greeks._fields, 1e-4), **given}


def _sizes(
    spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float, _: float
) -> tuple[float, ...]:
    """What each Greek amounts to at the money."""
    root, density, size = np.float64(math.sqrt(expiry)), 0.4, max(spot, strike)
    with np.errstate(divide="ignore"):
        gamma = density / (size * volatility * root)
        theta = 0.5 * density * size * volatility / root + abs(rate) * strike + abs(dividend) * spot
        vanna, charm = density / np.float64(volatility), 0.5 * density / np.float64(expiry)
    vega, volga = density * size * root, size * root * volatility
    return (
        size,
        1.0,
        float(gamma),
        float(vega),
        float(theta),
        strike * expiry,
        float(vanna),
        float(volga),
        float(charm),
    )


def _doubt(ways: tuple[float, float, float, float], size: float) -> str:
    """Say which of the other ways disagrees with the closed form; empty where none does."""
    closed, differences, mean, error = ways
    if abs(differences - closed) > _DIFFERENCES * (abs(closed) + size):
        return f"closed form {closed:.8g} and finite differences {differences:.8g} disagree"
    if abs(mean - closed) > _ERRORS * error + _DIFFERENCES * (abs(closed) + size):
        return f"closed form {closed:.8g} and simulation {mean:.8g} +- {error:.1g} disagree"
    return ""


def _judge(name: str, served: Any, closed: float, allowed: float, doubt: str, values: Option) -> tuple[Verdict, str]:
    if served is None:
        return "not-checked", f"{name} was not served"
    if doubt:
        return "not-checked", f"{name} cannot be checked: {doubt}"
    figure = _as_float(served)
    if math.isnan(figure):
        return "differs", f"{name} is served as {served!r}, which is no number, and should be {closed:.7g}"
    if figure == closed or abs(figure - closed) <= allowed:
        return "agrees", f"{name} is served as {figure:.7g}, which agrees with {closed:.7g}"
    reason = conventions(name, figure, closed, allowed, values)
    reason = reason or f"it is off by {figure - closed:.3g}, and {allowed:.2g} is allowed"
    return "differs", f"{name} is served as {figure:.7g} and should be {closed:.7g}; {reason}"


def _as_float(served: Any) -> float:
    """Return a served figure as a float; nan where it is no number."""
    if served is None or isinstance(served, bool | str | bytes) or getattr(served, "ndim", False):
        return math.nan
    try:
        return float(served)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _overall(rows: tuple[GreekCheck, ...]) -> Verdict:
    seen = {row.verdict for row in rows}
    if "differs" in seen:
        return "differs"
    return "agrees" if "agrees" in seen else "not-checked"


def _summary(rows: tuple[GreekCheck, ...], found: tuple[str, ...]) -> str:
    names = {verdict: [row.name for row in rows if row.verdict == verdict] for verdict in ("agrees", "differs")}
    checked = len(names["agrees"]) + len(names["differs"])
    if not checked:
        return "Nothing was checked: no figure was served, or none could be"
    if not names["differs"]:
        return (
            f"All {checked} figures that were checked agree"
            if checked > 1
            else "The one figure that was checked agrees"
        )
    reason = f"; {found[0]}" if found else ""
    return f"{len(names['differs'])} of {checked} checked figures differ: {', '.join(names['differs'])}{reason}"
