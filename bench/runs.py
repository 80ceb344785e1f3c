"""From an alert's POST to its first cell and to its end, beside papermill's own command on the same notebook."""

from __future__ import annotations

import subprocess
import time
from datetime import timedelta
from statistics import median, quantiles

from bench.service import BIN, Service, serving
from bench.timing import Row, report
from bench.usage import cpu_s, memory_mb
from opslib.runs import descendants

ROUNDS = 12
AT_ONCE = 24
PAIRS = 3
IDLE_S = 30.0
_TRIES = 5
COMMAND = "papermill's command, whole"
_PAPERMILL_S, _SETTLE_S = 120.0, 10.0
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD")
CELLS = (
    "import pandas as pd, matplotlib.pyplot as plt, numba, numpy as np, kubernetes, psycopg, redis",
    "frame = pd.DataFrame({'x': np.arange(1000), 'y': np.arange(1000) ** 2})\nframe.describe()",
    "frame.plot(x='x', y='y')\nplt.show()",
    "total = frame['y'].sum()\nprint(total)",
    "print('done')",
)


def papermill(service: Service, number: int) -> subprocess.Popen[bytes]:
    """Papermill's own command on the same notebook, begun."""
    out = service.folder / f"out-{number}.ipynb"
    words = [BIN / "papermill", service.notebook, out, "--no-progress-bar", "--log-level", "ERROR"]
    nowhere = subprocess.DEVNULL  # standard output is for the document
    return subprocess.Popen(words, cwd=service.folder, env=service.environment, stdout=nowhere, stderr=nowhere)


def _ended(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        if process.wait(_PAPERMILL_S) != 0:
            raise RuntimeError("papermill's command failed")


def _labels(number: int) -> dict[str, str]:
    return {"alertname": "Heavy", "platform": "bench", "severity": "critical", "number": str(number)}


def _ms(took: timedelta) -> float:
    return 1000 * took.total_seconds()


def _row(case: str, ours: float, peer: float, peer_name: str, unit: str, ratio: float, note: str = "") -> Row:
    return Row(case, ours, peer, peer_name, unit, ratio, None, note)


def latency(service: Service) -> list[Row]:
    """From a POST on, in turn with papermill's command."""
    firsts, ends, peers = [], [], []
    for number in range(ROUNDS):
        service.rest()
        incident, sent = service.post(**_labels(number))
        cells, end = service.moments(incident)
        begun = time.perf_counter()
        _ended(papermill(service, number))
        peers.append(1000 * (time.perf_counter() - begun))
        firsts.append(_ms(cells["cell-0"] - sent))  # after those of parameters
        ends.append(_ms(end - sent))
    whole = median(peers)
    first, end = median(firsts), median(ends)
    p95 = f"p95 {quantiles(firsts, n=20, method='inclusive')[-1]:.0f}, longest {max(firsts):.0f}"
    return [
        _row("POST to first cell done", first, whole, COMMAND, "ms", whole / first, p95),
        _row("POST to the run's end, five heavy cells", end, whole, COMMAND, "ms", whole / end),
    ]


def throughput(service: Service) -> Row:
    """Many alerts at once, and papermill's command two at a time."""
    service.rest()
    posted = [service.post(**_labels(ROUNDS + number)) for number in range(AT_ONCE)]
    last = max(service.moments(incident)[1] for incident, _ in posted)
    ours = 60 * AT_ONCE / (last - posted[0][1]).total_seconds()
    begun = time.perf_counter()
    for pair in range(PAIRS):
        _ended(*(papermill(service, ROUNDS + 2 * pair + one) for one in range(2)))
    theirs = 60 * 2 * PAIRS / (time.perf_counter() - begun)
    note = f"{AT_ONCE} alerts at once, one worker"
    return _row("notebooks a minute", ours, theirs, f"{COMMAND}, two at a time", "1/min", ours / theirs, note)


def memory(service: Service, what: str) -> Row:
    """Of the kernels that wait, each with its guard."""
    service.rest()
    time.sleep(_SETTLE_S)
    parked = set(descendants.named("--parked")) & set(descendants.named(str(service.settings.runtime)))
    below = {guard: descendants.below(guard) for guard in parked}
    guards = parked - {kernel for kernels in below.values() for kernel in kernels}
    kept = median(memory_mb([guard, *below[guard]]) for guard in guards)
    alone = median(memory_mb([guard, *below[guard]], "Private_Dirty") for guard in guards)
    told = f"guard and kernel, {len(guards)} of them warm; {alone:.0f} MB are its alone"
    return _row(f"memory of a warm kernel (PSS), {what}", kept, 60.0, "bound", "MB", 60.0 / kept, told)


def at_rest(service: Service) -> Row:
    """What the service does while nothing happens: with all kernels ready, and none ended in the middle."""
    assert service.process is not None
    for _ in range(_TRIES):
        service.rest()
        every = [service.process.pid, *descendants.below(service.process.pid)]
        before = cpu_s(every)
        time.sleep(IDLE_S)
        idle = 100 * (cpu_s(every) - before) / IDLE_S
        if set(every) <= {service.process.pid, *descendants.below(service.process.pid)}:
            break
    within = f"over {IDLE_S:.0f} s, with PostgreSQL and one worker"
    return _row("idle service, of one core", idle, 3.0, "bound", "%", 3.0 / max(idle, 0.01), within)


def diagnosis(service: Service) -> Row:
    """Playbook A11 on a crypto platform where the value at risk of every symbol is too high."""
    took = []
    try:
        service.runbook("sandbox", "up", "crypto", "--no-monitoring")
        service.runbook("sandbox", "break", "var-breach/all-symbols")
        for symbol in SYMBOLS:
            service.rest()
            incident, sent = service.post(alertname="VarBreach", platform="crypto", severity="critical", symbol=symbol)
            took.append(_ms(service.moments(incident)[1] - sent))
    finally:
        service.runbook("sandbox", "down")
    middle = median(took)
    told = f"{len(took)} alerts, longest {max(took):.0f}"
    return _row("A11, POST to stored verdict", middle, 1500.0, "bound", "ms", 1500.0 / middle, told)


def rows() -> list[Row]:
    """Latency, throughput, memory and idleness with a heavy notebook; then with the project's own runbooks."""
    with serving(CELLS) as service:
        found = [*latency(service), throughput(service), memory(service, "heavy notebook"), at_rest(service)]
    with serving() as service:
        return [*found, memory(service, "these runbooks"), diagnosis(service)]


if __name__ == "__main__":
    report("runs", rows)
