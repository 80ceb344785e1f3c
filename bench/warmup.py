"""From nothing to the first price: import and warm-up from a populated cache, in a process of its own each time."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from bench.timing import Row, compare, report

OURS = "import engine; engine.warm(); engine.european(100.0, 105.0, 0.5, 0.03, 0.01, 0.25, 'call')"
PRICING = "import engine; engine.european(100.0, 105.0, 0.5, 0.03, 0.01, 0.25, 'call')"
WANTED = 0.6  # s
PEERS = {
    "python": "pass",
    "scipy.stats": "from scipy.stats import norm; norm.cdf(0.5)",
    "numba": "import numba",
    "QuantLib": "import QuantLib; QuantLib.Settings.instance().evaluationDate = QuantLib.Date(1, 1, 2026)",
    "fast_vollib": "import fast_vollib",
}


def process(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def rows() -> list[Row]:
    """The whole process, the start of Python included, beside what peers take to be imported."""
    process(OURS)  # fills the cache, if it has to be
    within, note = _within(OURS), f"first price alone {_within(PRICING):.2f} s"
    case = "import and warm-up, after Python's own start"
    found = [Row(case, within, WANTED, "bound", "s", WANTED / within, None, note)]
    for name, code in PEERS.items():
        if name != "python" and importlib.util.find_spec(name.partition(".")[0]) is None:
            continue
        found.append(
            compare(
                "import and warm-up",
                lambda: process(OURS),
                lambda code=code: process(code),  # type: ignore[misc]
                f"{name} alone",
                rounds=5,
            )
        )
    return found


def _within(code: str) -> float:
    """Least of three times that the code takes in a process that has started."""
    timed = f"import time; t = time.perf_counter(); exec({code!r}); print(time.perf_counter() - t)"
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True, text=True)
        times.append(float(done.stdout))
    return min(times)


if __name__ == "__main__":
    report("warmup", rows)
