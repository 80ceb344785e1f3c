"""The risk desk as the strategist sees it: it keeps what is known, and has every live step made by the harmoniser."""

from __future__ import annotations

import logging

import numpy as np

from sandbox.crypto.deployed.requests import Asker, NoAnswer
from sandbox.crypto.desk import RiskDesk, Task
from sandbox.crypto.parameters import FloatArray

__all__ = ["RemoteDesk"]

_STEP_S = 2.0
_AGAIN_S = 0.08  # after a step without an answer: whoever asks the platform is not kept waiting by the next one
_STRESS_S = 10.0

_log = logging.getLogger("risk-harmoniser")


class RemoteDesk(RiskDesk):
    """A risk desk in another process. While that one does not answer, positions are held: no new risk is taken.

    What is known goes with each question and comes back with its answer, so that the other process may be replaced at
    any moment, and what an operator changes here is in force at the next step.

    Parameters
    ----------
    volatility, since_ms
        As for `RiskDesk`.
    ask : Asker
    step_s : float
        How long a step may take [s].

    Attributes
    ----------
    answered : bool
        Whether the latest live step was answered.
    """

    def __init__(self, volatility: FloatArray, since_ms: int, ask: Asker, step_s: float = _STEP_S) -> None:
        super().__init__(volatility, since_ms)
        self._ask, self._step_s, self._live = ask, step_s, False
        self.answered = True

    def go_live(self) -> None:
        """From now on steps are made elsewhere; the history was made here."""
        self._live = True

    def step(self, task: Task) -> bool:
        """Have the step made; return whether the breaker changed."""
        if not self._live:
            return super().step(task)
        try:
            within_s = self._step_s if self.answered else _AGAIN_S
            told = self._ask({"do": "step", "desk": self.document(), "task": task.document()}, within_s)
            self.adopt(told["desk"])
            changed = bool(told["changed"])
        except (NoAnswer, KeyError, TypeError, ValueError) as problem:
            if self.answered:
                _log.error("The risk harmoniser does not answer, positions are held: %s", problem)
            self.answered, self.harmoniser.trades = False, 0
            return False
        if not self.answered:
            _log.info("The risk harmoniser answers again")
        self.answered = True
        return changed

    def stress(self, scenarios: int, rng: np.random.Generator) -> None:
        """Have the stressed VaR simulated; without an answer the figure stays as it is."""
        if not self._live:
            super().stress(scenarios, rng)
            return
        if not self.answered:
            return
        question = {"do": "stress", "desk": self.document(), "scenarios": scenarios, "seed": int(rng.integers(2**53))}
        try:
            self.harmoniser.stressed_var_pct = float(self._ask(question, _STRESS_S)["stressed_var_pct"])
        except (NoAnswer, KeyError, TypeError, ValueError) as problem:
            _log.error("The stressed VaR was not simulated: %s", problem)
