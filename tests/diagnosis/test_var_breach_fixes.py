"""A11 names the lasting fix of each cause, with figures that suffice."""

from __future__ import annotations

import re

import pytest

from opslib.actions.catalogue import ACTIONS
from opslib.diagnosis import var_breach, var_breach_fixes
from sandbox.crypto.parameters import SYMBOLS
from tests.diagnosis import simulation

NAMED = {
    "single-symbol": "crypto.lower-position-limit",
    "all-symbols": "crypto.set-kelly",
    "after-model-switch": "crypto.penalise-model",
    "stale-volatility": "crypto.refresh-volatility",
}


@pytest.mark.parametrize("cause", NAMED)
def test_each_cause_has_a_lasting_fix_of_its_own(cause: str) -> None:
    scene = simulation.scene(101)
    simulation.break_(scene, f"var-breach/{cause}", seed=1)
    assert simulation.until_breach(scene)
    scene.advance(8)
    var, positions, prices = (simulation.history(scene, name) for name in ("var_pct", "position_size_usd", "price"))
    rise = var_breach.growth(var, positions, prices, simulation.WARNING)
    status, now = simulation.document(scene), simulation.clock(scene)
    models = var_breach.claims(simulation.stream(scene), status, now, list(SYMBOLS), 300.0)
    (told,) = var_breach_fixes.lasting([cause], rise, models, status, simulation.WARNING)
    assert f"({NAMED[cause]})" in told
    assert NAMED[cause] in ACTIONS
    if cause == "single-symbol":
        top = rise["position_x"].idxmax()
        before, after = (float(text.replace(",", "")) for text in re.findall(r"([\d,]+)(?: to| USD)", told))
        facts = status["symbols"][top]
        assert f"of {top} " in told
        assert before == pytest.approx(facts["position_limit_usd"], abs=1.0)
        assert after <= facts["position_limit_configured_usd"] + 1.0
        assert rise.at[top, "var"] * after / rise.at[top, "position"] < simulation.WARNING
    if cause == "after-model-switch":
        assert models.loc[models["since_s"].notna(), "model"].iloc[0] in told


def test_what_was_not_seen_is_not_named() -> None:
    assert var_breach_fixes.lasting(["single-symbol", "after-model-switch"], None, None, {}, 1.8) == []
    assert var_breach_fixes.lasting([], None, None, {}, 1.8) == []
