"""The same paths from the kernels of a card, in numba's simulator: their logic, blocks and remainders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import engine


@pytest.mark.slow
def test_a_card_gives_what_the_cpu_gives(tmp_path: Path) -> None:
    script = tmp_path / "simulated.py"
    script.write_text(
        """
import json
import numpy as np
from engine.pricing import GBM, Asian, Barrier, European, Heston, PathPayoff, monte_carlo
from engine.pricing._simulation import Plan, simulate
from engine.pricing import _simulation_cuda
from engine.pricing._simulation_cuda import simulate_on_card

_simulation_cuda._THREADS = 8  # the simulator makes a thread of Python of each

def peak(spots, times):
    return spots.max(axis=1)

gbm, heston = GBM(100.0, 0.05, 0.02, 0.3), Heston(100.0, 0.05, 0.02, 0.05, 1.2, 0.06, 0.8, -0.6)
cases = [
    (European(95.0, 1.0, "put"), gbm, 1),
    (Asian(100.0, 1.0, "call", n_fixings=3), gbm, 6),
    (Asian(100.0, 1.0, "put", "geometric", 3), heston, 3),
    (Barrier(100.0, 110.0, 1.0, "call", "up-and-in", rebate=2.0), gbm, 2),
    (Barrier(100.0, 95.0, 1.0, "call", "down-and-out", 2, 1.0), heston, 4),
    (PathPayoff(peak, 1.0, 5), gbm, 5),
]
worst = []
for payoff, model, n_steps in cases:
    for sobol in (True, False):
        plan = Plan(payoff, model, n_steps, (5, 6), sobol, not sobol, 2 if sobol else 1, 16 if sobol else 37)
        host, card = simulate((0, plan.n_cells), plan), simulate_on_card(plan, 1)
        worst.append(float(np.max(np.abs(host - card) / (np.abs(host) + 1.0))))
found = monte_carlo(cases[0][0], gbm, 64, 1, device="cuda")
plain = monte_carlo(cases[0][0], gbm, 64, 1, device="cpu")
print(json.dumps([worst, abs(found.price - plain.price)]))
""",
        "utf-8",
    )
    root = Path(engine.__file__).resolve().parents[1]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    worst, difference = json.loads(done.stdout)
    assert len(worst) == 12
    assert max(worst) < 1e-10
    assert difference < 1e-12
