"""The risk desk: all that it knows goes through JSON and comes back the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sandbox.crypto.config import PRISTINE, RiskParameters, RouterRules, load
from sandbox.crypto.desk import RiskDesk, Task
from sandbox.crypto.parameters import FloatArray
from sandbox.crypto.platform import Platform
from sandbox.crypto.risk import BreakerState

START_MS = 1_800_000_000_000


class Carried(RiskDesk):
    """A desk whose live steps are made by another one, which knows nothing but what it is told."""

    def __init__(self, volatility: FloatArray, since_ms: int) -> None:
        super().__init__(volatility, since_ms)
        self.carried = 0
        self._live = False

    def go_live(self) -> None:
        self._live = True

    def step(self, task: Task) -> bool:
        if not self._live:
            return super().step(task)
        told = json.loads(json.dumps({"desk": self.document(), "task": task.document()}))
        other = RiskDesk(np.ones(len(task.realised)), 0)
        other.adopt(told["desk"])
        changed = other.step(Task.read(told["task"]))
        self.adopt(json.loads(json.dumps(other.document())))
        self.carried += 1
        return changed


def make(desk: type[RiskDesk]) -> Platform:
    parameters = load(PRISTINE / "risk_params.yml", RiskParameters)
    return Platform(5, parameters, load(PRISTINE / "model_router_rules.yml", RouterRules), START_MS, desk=desk)


def test_a_desk_elsewhere_does_exactly_what_one_here_does() -> None:
    here, elsewhere = make(RiskDesk), make(Carried)
    for number in range(1, 400):
        if number == 100:
            for platform in (here, elsewhere):
                platform.market.move_volatility(list(range(5)), 12.0, 3)
        ours, theirs = (one.step(START_MS + 250 * number, 1.0) for one in (here, elsewhere))
        np.testing.assert_array_equal(ours.position_size_usd, theirs.position_size_usd)
        np.testing.assert_array_equal(ours.var_pct, theirs.var_pct)
    assert here.breaker.state is BreakerState.OPEN
    assert isinstance(elsewhere.desk, Carried)
    assert elsewhere.desk.carried == 399
    assert elsewhere.desk.document() == here.desk.document()
    for platform in (here, elsewhere):
        platform.reset_breaker("test", START_MS + 100_000)
        platform.refresh_volatility("test", START_MS + 100_000)
    assert elsewhere.desk.document() == here.desk.document()


def test_figures_of_another_shape_are_refused() -> None:
    desk = make(RiskDesk).desk
    document = desk.document()
    document["harmoniser"]["positions"] = [1.0]
    with pytest.raises(ValueError, match=r"figures of shape \(1,\) where \(5,\) is meant"):
        desk.adopt(document)
