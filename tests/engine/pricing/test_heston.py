"""Heston prices and sensitivities: figures in print, identities, limits, grouping, bad input, and other devices."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

import engine
from engine import DeviceMissing, EngineError, InvalidInput, NotFinite, european
from engine.pricing import HestonGreeks, heston_greeks, heston_price
from engine.pricing._heston_kernels import _build, cosine_sine

MODEL = (0.04, 2.0, 0.06, 0.5, -0.7)
NAMES = ("spot", "strike", "expiry", "rate", "dividend", "kind", "v0", "kappa", "theta", "sigma", "rho")
GOOD: dict[str, Any] = dict(zip(NAMES, (100.0, 95.0, 0.75, 0.03, 0.01, "call", *MODEL), strict=True))

models = st.tuples(
    st.floats(0.0, 1.0), st.floats(0.0, 20.0), st.floats(0.0, 1.0), st.floats(0.0, 4.0), st.floats(-1.0, 1.0)
)
contracts = st.tuples(
    st.floats(1.0, 1000.0), st.floats(1e-5, 40.0), st.floats(-0.05, 0.15), st.floats(-0.05, 0.15)
)  # strike, expiry, rate, dividend


@pytest.mark.parametrize(
    ("arguments", "printed", "digits"),
    [
        # Fang and Oosterlee (2008), tables 4 and 5; they print 5.785155450 for the first, thirty digits say otherwise
        ((100.0, 100.0, 1.0, 0.0, 0.0, "call", 0.0175, 1.5768, 0.0398, 0.5751, -0.5711), 5.785155434376, 12),
        ((100.0, 100.0, 10.0, 0.0, 0.0, "call", 0.0175, 1.5768, 0.0398, 0.5751, -0.5711), 22.318945791, 9),
        # Broadie and Kaya (2006), table 1
        ((100.0, 100.0, 1.0, 0.0319, 0.0, "call", 0.010201, 6.21, 0.019, 0.61, -0.7), 6.80611331, 8),
    ],
)
def test_prices_in_print(arguments: tuple[Any, ...], printed: float, digits: int) -> None:
    assert heston_price(*arguments) == pytest.approx(printed, rel=0, abs=0.5000001 * 10**-digits)


@settings(max_examples=150, deadline=None)
@given(contracts, models)
def test_no_price_allows_arbitrage_and_parity_is_exact(contract: Any, model: Any) -> None:
    strike, expiry, rate, dividend = contract
    call = heston_price(100.0, *contract, "call", *model)
    put = heston_price(100.0, *contract, "put", *model)
    own, owed = 100.0 * math.exp(-dividend * expiry), strike * math.exp(-rate * expiry)
    rounding = 4e-16 * (own + owed)
    assert max(own - owed, 0.0) - rounding <= call <= own + rounding
    assert max(owed - own, 0.0) - rounding <= put <= owed + rounding
    assert call - put == pytest.approx(own - owed, rel=0, abs=rounding)


@settings(max_examples=40, deadline=None)
@given(contracts, models, st.floats(0.1, 10.0))
def test_prices_scale_with_spot_and_strike(contract: Any, model: Any, factor: float) -> None:
    strike, *rest = contract
    one = heston_price(100.0, strike, *rest, "call", *model)
    other = heston_price(100.0 * factor, strike * factor, *rest, "call", *model)
    assert other == pytest.approx(factor * one, rel=1e-12, abs=1e-12 * factor * (100.0 + strike))


@settings(max_examples=40, deadline=None)
@given(models, st.floats(0.01, 10.0))
def test_calls_fall_and_bend_upwards_in_strike(model: Any, expiry: float) -> None:
    strike = np.linspace(40.0, 220.0, 37)
    price = heston_price(100.0, strike, expiry, 0.02, 0.01, "call", *model)
    slope = np.diff(np.asarray(price))
    assert (slope <= 1e-10).all()
    assert (np.diff(slope) >= -1e-9).all()


@pytest.mark.parametrize("sigma", [0.0, 1e-12, 1e-7])
@pytest.mark.parametrize("kappa", [0.0, 1e-9, 1.5])
def test_without_volatility_of_variance_it_is_black_and_scholes(sigma: float, kappa: float) -> None:
    v0, theta, expiry = 0.04, 0.09, 1.7
    averaged = (1.0 - math.exp(-kappa * expiry)) / (kappa * expiry) if kappa > 1e-6 else 1.0
    volatility = math.sqrt(theta + (v0 - theta) * averaged)
    found = heston_greeks(100.0, [70.0, 100.0, 140.0], expiry, 0.03, 0.01, "put", v0, kappa, theta, sigma, -0.5)
    black = european(100.0, [70.0, 100.0, 140.0], expiry, 0.03, 0.01, volatility, "put")
    for name in ("price", "delta", "gamma", "rho"):
        np.testing.assert_allclose(getattr(found, name), getattr(black, name), rtol=3e-7, atol=1e-6)
    # the variance today acts by its share of the average
    np.testing.assert_allclose(found.d_v0, black.vega * averaged / (2.0 * volatility), rtol=3e-6)


def test_the_sensitivities_are_slopes_of_the_price() -> None:
    rng = np.random.default_rng(5)
    n = 24
    columns = {
        "spot": np.full(n, 100.0),
        "strike": rng.uniform(70.0, 140.0, n),
        "expiry": rng.uniform(0.1, 5.0, n),
        "rate": rng.uniform(0.0, 0.06, n),
        "dividend": rng.uniform(0.0, 0.04, n),
        "kind": np.where(rng.random(n) < 0.5, 1.0, -1.0),
        "v0": rng.uniform(0.02, 0.3, n),
        "kappa": rng.uniform(0.3, 5.0, n),
        "theta": rng.uniform(0.02, 0.3, n),
        "sigma": rng.uniform(0.2, 1.2, n),
        "rho": rng.uniform(-0.9, 0.6, n),
    }
    greeks = heston_greeks(**columns)

    def slope(name: str, step: Any) -> Any:
        at = [np.asarray(heston_price(**{**columns, name: columns[name] + k * step})) for k in (-2, -1, 1, 2)]
        return (at[0] - 8.0 * at[1] + 8.0 * at[2] - at[3]) / (12.0 * step)

    np.testing.assert_allclose(greeks.price, heston_price(**columns), rtol=1e-13)
    for name, figure in {
        "spot": greeks.delta,
        "rate": greeks.rho,
        "expiry": -greeks.theta,
        "v0": greeks.d_v0,
        "kappa": greeks.d_kappa,
        "theta": greeks.d_theta,
        "sigma": greeks.d_sigma,
        "rho": greeks.d_rho,
    }.items():
        step = 1e-3 * np.maximum(np.abs(columns[name]), 0.02)
        np.testing.assert_allclose(figure, slope(name, step), rtol=2e-8, atol=2e-7, err_msg=name)
    deltas = [heston_greeks(**{**columns, "spot": columns["spot"] + k * 0.05}).delta for k in (-2, -1, 1, 2)]
    gamma = (deltas[0] - 8.0 * deltas[1] + 8.0 * deltas[2] - deltas[3]) / 0.6
    np.testing.assert_allclose(greeks.gamma, gamma, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(greeks.vega, 2.0 * np.sqrt(columns["v0"]) * greeks.d_v0)


def test_the_price_solves_the_equation_it_comes_from() -> None:
    """Heston (1993), eq. 6: ties theta, delta, gamma and d_v0 together, whatever was integrated."""
    spot, rate, dividend = 100.0, 0.03, 0.01
    v0, kappa, theta, sigma, rho = MODEL
    strike = np.linspace(60.0, 150.0, 10)
    expiry = np.linspace(0.1, 3.0, 7)[:, None]

    def at(v: float) -> HestonGreeks:
        return heston_greeks(spot, strike, expiry, rate, dividend, "call", v, kappa, theta, sigma, rho)

    here, step = at(v0), 1e-3 * v0
    near = [at(v0 + k * step) for k in (-2, -1, 1, 2)]

    def slope(name: str) -> Any:
        a, b, c, d = (getattr(one, name) for one in near)
        return (a - 8.0 * b + 8.0 * c - d) / (12.0 * step)

    left = (
        here.theta
        + 0.5 * v0 * spot**2 * here.gamma
        + rho * sigma * v0 * spot * slope("delta")
        + 0.5 * sigma**2 * v0 * slope("d_v0")
        + (rate - dividend) * spot * here.delta
        + kappa * (theta - v0) * here.d_v0
        - rate * here.price
    )
    np.testing.assert_allclose(left, 0.0, atol=1e-7)


def test_limits() -> None:
    at_expiry = heston_greeks(100.0, [90.0, 100.0, 110.0], 0.0, 0.05, 0.0, "put", *MODEL)
    assert at_expiry.price.tolist() == [0.0, 0.0, 10.0]
    assert at_expiry.delta.tolist() == [0.0, -0.5, -1.0]
    assert at_expiry.gamma.tolist() == [0.0, math.inf, 0.0]
    assert at_expiry.theta[1] == -math.inf
    assert at_expiry.d_v0.tolist() == [0.0, 0.0, 0.0]
    nothing = heston_greeks(100.0, 100.0, 1.0, 0.0, 0.0, "call", 0.0, 2.0, 0.0, 0.5, -0.5)
    assert (nothing.price, nothing.delta, nothing.gamma, nothing.d_v0) == (0.0, 0.5, math.inf, math.inf)
    worthless = heston_greeks(0.0, 100.0, 1.0, 0.05, 0.0, "put", *MODEL)
    assert (worthless.price, worthless.delta, worthless.gamma) == (100.0 * math.exp(-0.05), -1.0, 0.0)
    assert heston_price(0.0, 100.0, 1.0, 0.05, 0.0, "call", *MODEL) == 0.0
    assert heston_price(1.0, [1e-200, 1e200], 1.0, 0.0, 0.0, "call", *MODEL).tolist() == [1.0, 0.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("rho", [-1.0, 1.0])
@pytest.mark.parametrize("expiry", [1e-6, 0.1, 50.0])
def test_full_correlation_gives_finite_figures(rho: float, expiry: float) -> None:
    strike = 100.0 * np.exp(np.linspace(-6.0, 6.0, 25) * np.sqrt(0.05 * expiry))
    greeks = heston_greeks(100.0, strike, expiry, 0.01, 0.0, "call", 0.04, 1.0, 0.06, 0.9, rho)
    assert all(np.isfinite(figure).all() for figure in greeks)
    assert (np.diff(greeks.price) <= 1e-11).all()
    assert ((greeks.delta > -1e-9) & (greeks.delta < 1.0 + 1e-9)).all()


def test_grouping_does_not_matter() -> None:
    rng = np.random.default_rng(7)
    n = 3000  # several slices, two of them cut, and threads where there are cores
    strike = rng.uniform(60.0, 160.0, n)
    expiry = rng.choice([0.1, 0.5, 2.0], n, p=[0.05, 0.45, 0.5])
    together = np.asarray(heston_price(100.0, strike, expiry, 0.02, 0.0, "call", *MODEL))
    for place in range(0, n, 250):
        alone = heston_price(100.0, float(strike[place]), float(expiry[place]), 0.02, 0.0, "call", *MODEL)
        assert together[place] == pytest.approx(alone, rel=0, abs=1e-11)
    v0, rho = rng.choice([0.02, 0.05], 40), rng.choice([-0.5, 0.5], (3, 1))
    found = np.asarray(heston_price(100.0, 105.0, 1.0, 0.0, 0.0, "put", v0, 1.0, 0.05, 0.5, rho))
    assert found.shape == (3, 40)
    alone = heston_price(100.0, 105.0, 1.0, 0.0, 0.0, "put", float(v0[7]), 1.0, 0.05, 0.5, float(rho[2, 0]))
    assert found[2, 7] == pytest.approx(alone, rel=1e-13)


def test_scalars_give_floats_and_nothing_gives_nothing() -> None:
    assert isinstance(heston_price(**GOOD), float)
    assert all(isinstance(figure, float) for figure in heston_greeks(**GOOD))
    assert np.shape(heston_price(**{**GOOD, "strike": []})) == (0,)
    assert np.shape(heston_greeks(**{**GOOD, "strike": np.ones((2, 1)), "expiry": [1, 2, 3]}).gamma) == (2, 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"v0": -0.01}, InvalidInput, r"v0: is -0.01; must be at least 0"),
        ({"kappa": [1.0, -1.0]}, InvalidInput, r"kappa\[1\]: is -1.0; must be at least 0"),
        ({"theta": math.nan}, NotFinite, r"theta: is nan; every value must be finite"),
        ({"sigma": math.inf}, NotFinite, r"sigma: is inf; every value must be finite"),
        ({"rho": [[0.5], [-1.01]]}, InvalidInput, r"rho\[1, 0\]: is -1.01; must lie between -1 and 1"),
        ({"spot": -1.0}, InvalidInput, r"spot: is -1.0; must be at least 0"),
        ({"strike": [1.0, 0.0]}, InvalidInput, r"strike\[1\]: is 0.0; must be above 0"),
        ({"expiry": -0.5}, InvalidInput, r"expiry: is -0.5; must be at least 0"),
        ({"kind": "CALL"}, InvalidInput, r"kind: is 'CALL'"),
        ({"kind": [1, 0]}, InvalidInput, r"kind\[1\]: is 0.0; must be \+1 \(call\) or -1 \(put\)"),
        ({"v0": "0.04'; drop table"}, InvalidInput, r"v0: must hold numbers only"),
        ({"rho": [object()]}, InvalidInput, r"rho: must hold numbers only"),
        ({"strike": [1.0, 2.0], "expiry": [1.0, 2.0, 3.0]}, InvalidInput, r"expiry: has shape \(3,\)"),
        ({"device": "tpu"}, InvalidInput, r"device: is 'tpu'; must be one of auto, cpu, cuda"),
    ],
)
def test_bad_input_names_the_argument_and_the_place(change: Any, error: Any, message: str) -> None:
    for function in (heston_price, heston_greeks):
        with pytest.raises(error, match=message):
            function(**{**GOOD, **change})


@pytest.mark.parametrize("change", [{"sigma": 1e300}, {"kappa": 1e300}])
def test_what_cannot_be_integrated_is_an_error(change: Any) -> None:
    with pytest.raises(EngineError, match=r"the Heston integral did not settle at expiry=0\.75"):
        heston_price(**{**GOOD, **change})


def test_a_card_that_is_asked_for_and_missing_is_an_error() -> None:
    from numba import cuda

    if cuda.is_available():
        pytest.skip("there is a card here")
    with pytest.raises(DeviceMissing):
        heston_price(**GOOD, device="cuda")


@njit  # type: ignore[untyped-decorator]
def _turns(angles: Any) -> Any:
    found = np.empty((len(angles), 2))
    for place, angle in enumerate(angles):
        found[place, 0], found[place, 1] = cosine_sine(angle)
    return found


def test_the_turn_is_right_to_rounding_and_bounded_beyond() -> None:
    angles = np.concatenate([np.linspace(-40.0, 40.0, 20_001), np.linspace(-1e6, 1e6, 20_001)])
    found = _turns(angles)
    np.testing.assert_allclose(found, np.column_stack([np.cos(angles), np.sin(angles)]), rtol=0, atol=3e-16)
    assert (np.abs(_turns(np.array([1e18, -1e300]))) <= 1.0).all()


def test_a_change_of_a_formula_is_a_change_of_the_cache_key() -> None:
    def key(source: str) -> Any:
        function: Any = _build(source)
        return function._cache._index_key((), function.targetctx.codegen())

    assert key("one source") == key("one source")
    assert key("one source") != key("another source")


@pytest.mark.slow
def test_the_same_source_runs_as_a_cuda_kernel(tmp_path: Path) -> None:
    """In numba's simulator: price alone and all figures, in blocks, with bent and straight contours."""
    script = tmp_path / "simulated.py"
    script.write_text(
        """
import functools, json
import numpy as np
from engine.pricing import _heston_cuda, heston_greeks, heston_price

_heston_cuda.integrate = functools.partial(_heston_cuda.integrate, on_card=3)
options = dict(spot=100.0, strike=np.array([40.0, 95.0, 100.0, 180.0, 100.0]), rate=0.02, dividend=0.01, kind="put",
               expiry=np.array([0.1, 0.5, 1.0, 1.0, 0.0]), v0=0.04, kappa=2.0, theta=0.05, sigma=0.5, rho=-0.7)
host = np.array(heston_greeks(**options, device="cpu"))[:, :4]
card = np.array(heston_greeks(**options, device="cuda"))[:, :4]
scale = np.abs(host).max(axis=1, keepdims=True)
price = np.abs(heston_price(**options, device="cuda") - heston_price(**options, device="cpu")).max()
print(json.dumps([float((np.abs(card - host) / scale).max()), float(price)]))
""",
        "utf-8",
    )
    root = Path(engine.__file__).resolve().parents[1]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    greeks, price = json.loads(done.stdout)
    assert greeks < 1e-10
    assert price < 1e-11
