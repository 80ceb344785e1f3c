"""Simulated prices against closed forms, quadrature and published figures, with their standard errors."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import integrate
from scipy.special import ndtr

from engine import DeviceMissing, InvalidInput, NotFinite, european
from engine.pricing import GBM, Asian, Barrier, European, Heston, PathPayoff, monte_carlo

MODEL = GBM(100.0, 0.05, 0.02, 0.25)
FANG = Heston(100.0, 0.0, 0.0, 0.0175, 1.5768, 0.0398, 0.5751, -0.5711)
BROADIE = Heston(100.0, 0.0319, 0.0, 0.010201, 6.21, 0.019, 0.61, -0.7)
HAUG = GBM(100.0, 0.08, 0.04, 0.25)


def lognormal(forward: float, strike: float, deviation: float, sign: float) -> float:
    """Undiscounted price on a lognormal figure; written here, of nothing but the normal distribution."""
    d1 = math.log(forward / strike) / deviation + 0.5 * deviation
    return float(sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation))))


def geometric(payoff: Asian, model: GBM) -> float:
    """Kemna and Vorst, from the moments of the log of the mean, fixing by fixing."""
    times = payoff.expiry * np.arange(1, payoff.n_fixings + 1) / payoff.n_fixings
    centre = math.log(model.spot) + (model.rate - model.dividend - 0.5 * model.volatility**2) * float(times.mean())
    variance = model.volatility**2 * float(np.minimum.outer(times, times).mean())
    price = lognormal(math.exp(centre + 0.5 * variance), payoff.strike, math.sqrt(variance), sign(payoff.kind))
    return price * math.exp(-model.rate * payoff.expiry)


def sign(kind: str) -> float:
    return 1.0 if kind == "call" else -1.0


def agrees(found: Any, exact: float, bias: float = 0.0) -> bool:
    assert 0.0 < found.standard_error < 0.05 * MODEL.spot
    return abs(found.price - exact) <= 4.0 * found.standard_error + bias


@pytest.mark.parametrize("sampling", ["sobol", "pseudo"])
@pytest.mark.parametrize("kind", ["call", "put"])
@pytest.mark.parametrize(("strike", "expiry"), [(80.0, 0.1), (100.0, 1.0), (130.0, 3.0)])
def test_a_european_is_that_of_black_and_scholes(sampling: Any, kind: Any, strike: float, expiry: float) -> None:
    exact = european(100.0, strike, expiry, 0.05, 0.02, 0.25, kind).price
    for control in (True, False):
        found = monte_carlo(European(strike, expiry, kind), MODEL, 2**15, 5, sampling=sampling, control=control)
        assert agrees(found, exact)


@pytest.mark.parametrize("sampling", ["sobol", "pseudo"])
@pytest.mark.parametrize(("kind", "n_fixings"), [("call", 1), ("put", 4), ("call", 52)])
def test_a_geometric_asian_is_that_of_kemna_and_vorst(sampling: Any, kind: Any, n_fixings: int) -> None:
    payoff = Asian(105.0, 1.0, kind, "geometric", n_fixings)
    assert agrees(monte_carlo(payoff, MODEL, 2**15, 3, sampling=sampling), geometric(payoff, MODEL))


@pytest.mark.parametrize("control", [True, False])
def test_an_arithmetic_asian_of_two_fixings_is_its_integral(control: bool) -> None:
    payoff = Asian(100.0, 1.0, "call", "arithmetic", 2)
    step, deviation = (0.03 - 0.5 * 0.25**2) * 0.5, 0.25 * math.sqrt(0.5)

    def given(z: float) -> float:
        """The second fixing integrated in closed form, given the first."""
        first = 100.0 * math.exp(step + deviation * z)
        forward, left = 0.5 * first * math.exp(0.03 * 0.5), 100.0 - 0.5 * first
        worth = forward - left if left <= 0.0 else lognormal(forward, left, deviation, 1.0)
        return worth * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    kink = (math.log(2.0) - step) / deviation
    exact = math.exp(-0.05) * integrate.quad(given, -9.0, 9.0, points=[kink], epsabs=1e-11, limit=200)[0]
    found = monte_carlo(payoff, MODEL, 2**16, 11, control=control)
    assert agrees(found, exact)
    assert found.standard_error < (5e-4 if control else 2e-3)


@pytest.mark.parametrize("kind", ["call", "put"])
@pytest.mark.parametrize("averaging", ["arithmetic", "geometric"])
def test_an_asian_of_one_fixing_is_a_european(kind: Any, averaging: Any) -> None:
    found = monte_carlo(Asian(95.0, 0.7, kind, averaging, 1), MODEL, 4096, 2, control=False)
    plain = monte_carlo(European(95.0, 0.7, kind), MODEL, 4096, 2, control=False)
    assert found.price == pytest.approx(plain.price, rel=1e-12)


@pytest.mark.parametrize("sampling", ["sobol", "pseudo"])
@pytest.mark.parametrize(
    ("kind", "barrier_kind", "barrier", "prices"),
    [
        # E. G. Haug, Complete Guide, table 4-13: strikes 90, 100, 110; rebate 3, paid at expiry
        ("call", "down-and-in", 95.0, (7.7627, 4.0109, 2.0576)),
        ("call", "down-and-in", 100.0, (13.8333, 7.8494, 3.9795)),
        ("call", "up-and-in", 105.0, (14.1112, 8.4482, 4.5910)),
        ("put", "down-and-in", 95.0, (2.9586, 6.5677, 11.9752)),
        ("put", "up-and-in", 105.0, (1.4653, 3.3721, 7.0846)),
    ],
)
def test_barriers_in_print(sampling: Any, kind: Any, barrier_kind: Any, barrier: float, prices: tuple[float]) -> None:
    for strike, price in zip((90.0, 100.0, 110.0), prices, strict=True):
        payoff = Barrier(strike, barrier, 0.5, kind, barrier_kind, rebate=3.0)
        found = monte_carlo(payoff, HAUG, 2**15, 8, sampling=sampling)
        assert abs(found.price - price) <= 4.0 * found.standard_error + 0.51e-4


@pytest.mark.parametrize("n_fixings", [None, 6])
@pytest.mark.parametrize("way", ["up", "down"])
def test_in_and_out_make_a_european_and_a_rebate(n_fixings: int | None, way: str) -> None:
    barrier = 115.0 if way == "up" else 92.0
    both = [
        monte_carlo(
            Barrier(100.0, barrier, 0.5, "call", f"{way}-and-{end}", n_fixings, 2.0),  # type: ignore[arg-type]
            HAUG,
            2**12,
            4,
            control=False,
            n_steps=6,
        ).price
        for end in ("in", "out")
    ]
    plain = monte_carlo(European(100.0, 0.5, "call"), HAUG, 2**12, 4, control=False, n_steps=6).price
    assert sum(both) == pytest.approx(plain + 2.0 * math.exp(-0.04), rel=1e-12)


def test_a_barrier_watched_always_is_exact_in_any_number_of_steps() -> None:
    payoff = Barrier(100.0, 95.0, 0.5, "call", "down-and-in", rebate=3.0)
    for n_steps in (1, 2, 7):
        found = monte_carlo(payoff, HAUG, 2**14, 6, n_steps=n_steps)
        assert abs(found.price - 4.0109) <= 4.0 * found.standard_error + 0.51e-4


def test_a_barrier_watched_twice_is_its_integral() -> None:
    payoff = Barrier(100.0, 120.0, 1.0, "call", "up-and-out", n_fixings=2)
    step, deviation = (0.03 - 0.5 * 0.25**2) * 0.5, 0.25 * math.sqrt(0.5)

    def given(z: float) -> float:
        """A call spread less a digital on the second fixing, given the first."""
        first = 100.0 * math.exp(step + deviation * z)
        forward = first * math.exp(0.03 * 0.5)
        digital = float(ndtr((math.log(forward / 120.0)) / deviation - 0.5 * deviation))
        worth = lognormal(forward, 100.0, deviation, 1.0) - lognormal(forward, 120.0, deviation, 1.0) - 20.0 * digital
        return worth * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    top = (math.log(1.2) - step) / deviation
    exact = math.exp(-0.05) * integrate.quad(given, -9.0, top, epsabs=1e-11, limit=200)[0]
    for sampling in ("sobol", "pseudo"):
        assert agrees(monte_carlo(payoff, MODEL, 2**16, 1, sampling=sampling), exact)


@pytest.mark.parametrize(
    ("model", "expiry", "n_steps", "price", "bias"),
    [
        (FANG, 1.0, 32, 5.785155450, 0.002),  # F. Fang and C. Oosterlee
        (FANG, 10.0, 80, 22.318945791, 0.02),
        (BROADIE, 1.0, 64, 6.80611331, 0.004),  # M. Broadie and O. Kaya
    ],
)
def test_heston_in_print(model: Heston, expiry: float, n_steps: int, price: float, bias: float) -> None:
    found = monte_carlo(European(100.0, expiry, "call"), model, 2**15, 9, n_steps=n_steps)
    assert abs(found.price - price) <= 4.0 * found.standard_error + bias
    assert found.standard_error < 0.08


def test_the_bias_of_heston_falls_with_the_step() -> None:
    payoff = European(100.0, 1.0, "call")
    errors = []
    for n_steps in (1, 2, 4):
        found = monte_carlo(payoff, BROADIE, 2**17, 3, n_steps=n_steps)
        errors.append(abs(found.price - 6.80611331))
        assert found.standard_error < 2e-3
    assert errors[0] > 2.0 * errors[1] > 8.0 * errors[2]


@pytest.mark.parametrize("rho", [-0.95, 0.0, 0.8])
@pytest.mark.parametrize("v0", [0.0, 0.09])
def test_the_discounted_spot_of_heston_is_a_martingale(rho: float, v0: float) -> None:
    model = Heston(100.0, 0.03, 0.01, v0, 1.0, 0.09, 1.0, rho)
    found = monte_carlo(PathPayoff(last, 2.0, 8), model, 2**15, 4, control=False)
    assert abs(found.price - 100.0 * math.exp(-0.02)) <= 4.0 * found.standard_error
    assert found.standard_error < 0.5


def last(spots: Any, _times: Any) -> Any:
    return spots[:, -1]


def test_a_heston_without_randomness_of_variance_is_a_gbm() -> None:
    model = Heston(100.0, 0.05, 0.02, 0.0625, 1.0, 0.0625, 1e-6, 0.3)
    exact = european(100.0, 110.0, 1.0, 0.05, 0.02, 0.25, "put").price
    assert agrees(monte_carlo(European(110.0, 1.0, "put"), model, 2**14, 4), exact, 1e-5)


def test_a_function_of_the_path_sees_paths_and_times() -> None:
    seen = []

    def payoff(spots: Any, times: Any) -> Any:
        seen.append((spots.shape[1], times.tolist(), float(spots[:, 0].min()), float(spots[:, 0].max())))
        return np.maximum(spots[:, -1] - 100.0, 0.0)

    found = monte_carlo(PathPayoff(payoff, 1.0, 4), MODEL, 2**12, 3, control=False)
    plain = monte_carlo(European(100.0, 1.0, "call"), MODEL, 2**12, 3, control=False, n_steps=4)
    assert found.price == pytest.approx(plain.price, rel=1e-13)
    assert seen[0][:2] == (5, [0.0, 0.25, 0.5, 0.75, 1.0])
    assert seen[0][2:] == pytest.approx((100.0, 100.0))


def test_sobol_points_err_far_less() -> None:
    payoff = European(100.0, 1.0, "call")
    few, many = (monte_carlo(payoff, MODEL, n, 1, control=False).standard_error for n in (2**12, 2**18))
    assert many < few / 30.0  # pseudo-random paths would give 8
    pseudo = monte_carlo(payoff, MODEL, 2**18, 1, control=False, sampling="pseudo").standard_error
    assert many < pseudo / 30.0


def test_mirror_images_and_controls_reduce_the_error() -> None:
    payoff = Asian(100.0, 1.0, "call", n_fixings=12)
    plain, mirrored, controlled = (
        monte_carlo(payoff, MODEL, 2**14, 1, sampling="pseudo", antithetic=antithetic, control=control)
        for antithetic, control in ((False, False), (True, False), (False, True))
    )
    assert mirrored.n_paths == plain.n_paths == 2**14
    assert mirrored.standard_error < 0.8 * plain.standard_error
    assert controlled.standard_error < 0.05 * plain.standard_error
    assert controlled.control_coefficient == pytest.approx(1.03, abs=0.03)


def test_paths_are_as_many_as_asked_for_or_a_little_more() -> None:
    assert monte_carlo(European(100.0, 1.0, "call"), MODEL, 1001, 1, sampling="pseudo").n_paths == 1001
    assert monte_carlo(European(100.0, 1.0, "call"), MODEL, 1001, 1).n_paths == 32 * 32
    assert monte_carlo(European(100.0, 1.0, "call"), MODEL, 1001, 1, n_replicates=16).n_paths == 16 * 64
    assert monte_carlo(European(100.0, 1.0, "call"), FANG, 64, 1).n_steps == 32


def test_a_seed_is_a_result_and_another_seed_another() -> None:
    payoff = Asian(100.0, 1.0, "call")
    for sampling in ("sobol", "pseudo"):
        one, same, other = (monte_carlo(payoff, MODEL, 4096, seed, sampling=sampling) for seed in (1, 1, 2))
        assert one == same
        assert one.price != other.price


def test_memory_does_not_grow_with_the_paths() -> None:
    payoff = European(100.0, 1.0, "call")
    monte_carlo(payoff, MODEL, 64, 1)
    peaks = []
    for n_paths in (2**20, 2**23):
        tracemalloc.start()
        monte_carlo(payoff, MODEL, n_paths, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000


def test_without_volatility_nothing_is_random() -> None:
    model = GBM(100.0, 0.05, 0.0, 0.0)
    found = monte_carlo(European(100.0, 1.0, "call"), model, 64, 1)
    assert found.price == pytest.approx(100.0 - 100.0 * math.exp(-0.05), rel=1e-12)
    assert found.standard_error < 1e-12
    out = monte_carlo(Barrier(90.0, 103.0, 1.0, "call", "up-and-out"), model, 64, 1)
    assert out.price == pytest.approx(0.0, abs=1e-12)
    kept = monte_carlo(Barrier(90.0, 106.0, 1.0, "call", "up-and-out"), model, 64, 1)
    assert kept.price == pytest.approx(100.0 - 90.0 * math.exp(-0.05), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: European(0.0, 1.0, "call"), "strike: is 0.0; must be a finite number above 0"),
        (lambda: European(math.nan, 1.0, "call"), "strike: is nan"),
        (lambda: European("100", 1.0, "call"), "strike: must be one number"),  # type: ignore[arg-type]
        (lambda: European([100.0], 1.0, "call"), "strike: must be one number"),  # type: ignore[arg-type]
        (lambda: European(np.array([100.0]), 1.0, "call"), "strike: must be one number"),  # type: ignore[arg-type]
        (lambda: European(100.0, -1.0, "call"), "expiry: is -1.0"),
        (lambda: European(100.0, 1.0, "straddle"), "kind: is 'straddle'; must be one of call, put"),  # type: ignore[arg-type]
        (lambda: European(100.0, 1.0, np.array(["call"])), "kind: is array"),  # type: ignore[arg-type]
        (lambda: Asian(100.0, 1.0, "call", "harmonic"), "averaging: is 'harmonic'"),  # type: ignore[arg-type]
        (lambda: Asian(100.0, 1.0, "call", n_fixings=0), "n_fixings: is 0; must be at least 1"),
        (lambda: Asian(100.0, 1.0, "call", n_fixings=2.5), "n_fixings: is 2.5; must be a whole number"),  # type: ignore[arg-type]
        (lambda: Barrier(100.0, -1.0, 1.0, "call", "up-and-in"), "barrier: is -1.0"),
        (lambda: Barrier(100.0, 90.0, 1.0, "call", "sideways"), "barrier_kind: is 'sideways'"),  # type: ignore[arg-type]
        (lambda: Barrier(100.0, 90.0, 1.0, "call", "up-and-in", rebate=-1.0), "rebate: is -1.0"),
        (lambda: PathPayoff(3, 1.0, 4), "function: is of type int"),  # type: ignore[arg-type]
        (lambda: GBM(0.0, 0.0, 0.0, 0.2), "spot: is 0.0"),
        (lambda: GBM(1.0, math.inf, 0.0, 0.2), "rate: is inf"),
        (lambda: GBM(1.0, 0.0, 0.0, -0.2), "volatility: is -0.2"),
        (lambda: Heston(1.0, 0.0, 0.0, -0.1, 1.0, 0.1, 0.5, 0.0), "v0: is -0.1"),
        (lambda: Heston(1.0, 0.0, 0.0, 0.1, 0.0, 0.1, 0.5, 0.0), "kappa: is 0.0"),
        (lambda: Heston(1.0, 0.0, 0.0, 0.1, 1.0, 0.1, 0.5, 1.5), "rho: is 1.5; must lie from -1 to 1"),
    ],
)
def test_a_payoff_or_model_that_is_none_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"payoff": "call"}, "payoff: is of type str"),
        ({"model": None}, "model: is of type NoneType"),
        ({"n_paths": 1}, "n_paths: is 1; must be at least 2"),
        ({"n_paths": 1e6}, "n_paths: is 1000000.0; must be a whole number"),
        ({"n_paths": True}, "n_paths: is True"),
        ({"n_paths": 2**40}, r"n_paths: .* end at 2\*\*32 each"),
        ({"seed": -1}, "seed: is -1; must be at least 0"),
        ({"seed": None}, "seed: is None; must be a whole number"),
        ({"sampling": "halton"}, "sampling: is 'halton'"),
        ({"antithetic": True}, "antithetic: goes with pseudo-random numbers only"),
        ({"n_replicates": 8}, "n_replicates: is 8; must be at least 16"),
        ({"n_steps": 30_000}, "n_steps: makes 30000 dimensions"),
        (
            {"payoff": Asian(100.0, 1.0, "call", n_fixings=4), "n_steps": 6},
            "n_steps: is 6; must be a multiple of the 4",
        ),
        ({"payoff": PathPayoff(last, 1.0, 4), "n_steps": 8}, "n_steps: is 8, and the payoff's own is 4"),
        ({"payoff": Barrier(100.0, 90.0, 1.0, "put", "down-and-in"), "model": FANG}, "watches its barrier always"),
        ({"model": GBM(100.0, -800.0, 0.0, 0.2)}, "rate times expiry"),
        ({"device": "gpu"}, "device: is 'gpu'"),
        ({"client": "tcp://127.0.0.1:1"}, "client: is of type str"),
    ],
)
def test_what_makes_no_run_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"payoff": European(100.0, 1.0, "call"), "model": MODEL, "n_paths": 64, "seed": 1, **changes}
    with pytest.raises(InvalidInput, match=message):
        monte_carlo(**arguments)


def test_a_missing_card_is_said() -> None:
    from engine import device

    if device().kind == "cuda":
        pytest.skip("there is a card here")
    with pytest.raises(DeviceMissing):
        monte_carlo(European(100.0, 1.0, "call"), MODEL, 64, 1, device="cuda")


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda spots, _: spots, InvalidInput, r"payoff: returned shape \(2, 5\) for 2 paths"),
        (lambda *_: "much", InvalidInput, "payoff: must return numbers"),
        (lambda *_: [1.0, math.nan], NotFinite, "payoff: returned nan for path 1"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(returned: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        monte_carlo(PathPayoff(returned, 1.0, 4), MODEL, 64, 1)


def test_a_call_whose_mean_no_path_shows_is_refused() -> None:
    wild = GBM(100.0, 0.05, 0.02, 5.0)
    for payoff in (
        European(100.0, 30.0, "call"),
        Asian(100.0, 30.0, "call"),
        Barrier(90.0, 80.0, 30.0, "call", "down-and-in"),
    ):
        with pytest.raises(InvalidInput, match=r"has volatility \* sqrt\(expiry\) of 27\.4; above 5 no path shows"):
            monte_carlo(payoff, wild, 1024, 1)
    # what is bounded is fine
    put = monte_carlo(European(100.0, 30.0, "put"), wild, 4096, 1)
    assert put.price == pytest.approx(european(100.0, 100.0, 30.0, 0.05, 0.02, 5.0, "put").price)
    assert monte_carlo(Barrier(90.0, 120.0, 30.0, "call", "up-and-out"), wild, 1024, 1).price == pytest.approx(0.0)


def test_spots_beyond_a_float_are_refused() -> None:
    with pytest.raises(NotFinite, match="its spots overflow"):
        monte_carlo(European(100.0, 1.0, "call"), GBM(1e308, 50.0, 0.0, 5.0), 1024, 1)


def test_a_control_that_few_paths_show_leaves_the_error_as_it_is() -> None:
    # about 4 of 16,384 paths pay; fitted to these alone the control left an error of 1e-19 beside a price 2 % off
    model = GBM(100.0, 0.0317, 0.0559, 0.0889)
    for sampling in ("sobol", "pseudo"):
        for seed in range(12):
            found = monte_carlo(
                Barrier(127.6, 97.6, 0.68, "call", "down-and-out"), model, 2**14, seed, sampling=sampling
            )
            assert found.control_coefficient == 0.0
            assert found.price == 0.0 or found.standard_error > 0.1 * found.price
