"""A day of healthy history for a Prometheus of the sandbox, written before it starts.

The Prometheus of a real platform knows yesterday. This one is given it: the levels of the platform at rest, the shape
of the day, some noise. It ends further back than rules and playbooks look for changes (`GAP_S`), so that none of them
takes the join for one.
"""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from sandbox import processes
from sandbox.errors import StartFailed

__all__ = ["GAP_S", "LACKING", "SPAN_S", "STEP_S", "History", "backfill", "labels_of", "promtool"]

STEP_S = 60
SPAN_S = 25 * 3600  # so that the last hour of yesterday is whole
GAP_S = 30 * 60  # from the last point until now
LACKING = "promtool is not on PATH, so Prometheus knows no yesterday; Debian's package prometheus has it"
_MEMORY = 0.9  # of the noise, from a point to the next
_MOST = 3.0  # times its spread that a figure leaves its level
_BLOCK = "54h"  # at once, in place of a dozen blocks of two hours
_PATIENCE_S = 30.0

Level = float | Callable[[float], float]


class History:
    """Series of a healthy day, to be written as OpenMetrics text.

    Parameters
    ----------
    now : float
        When Prometheus starts [s since 1970].
    seed : int
        Of the noise.

    Attributes
    ----------
    times : range
        When there is a point [s since 1970].
    """

    def __init__(self, now: float, seed: int = 0) -> None:
        end = int((now - GAP_S) // STEP_S) * STEP_S
        self.times = range(end - SPAN_S, end + 1, STEP_S)
        self._rng = random.Random(seed)
        self._parts: list[str] = []

    def add(self, name: str, labels: Mapping[str, str], values: float | Iterable[float]) -> None:
        """One series: a value for each time, or the same for all."""
        shown = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        every = [float(values)] * len(self.times) if isinstance(values, int | float) else values
        points = zip(self.times, every, strict=True)
        self._parts.append("".join(f"{name}{{{shown}}} {value:.12g} {at}\n" for at, value in points))

    def around(self, level: Level, spread: float) -> list[float]:
        """A figure that wanders about a level, with that standard deviation and never more than three of them off."""
        return [
            _at(level, at) + spread * max(-_MOST, min(_MOST, noise))
            for at, noise in zip(self.times, self._noise(), strict=False)
        ]

    def counted(self, rate: Level) -> list[float]:
        """A counter that rises at about that rate [1/s]."""
        steps = (
            max(0.0, _at(rate, at) * STEP_S * (1.0 + 0.05 * noise))
            for at, noise in zip(self.times, self._noise(), strict=False)
        )
        return [float(round(total)) for total in accumulate(steps)]

    def text(self) -> str:
        """All series as promtool reads them."""
        return "".join(self._parts) + "# EOF\n"

    def _noise(self) -> Iterator[float]:
        """Standard normal values that hang together."""
        fresh = math.sqrt(1.0 - _MEMORY * _MEMORY)
        value = self._rng.gauss(0.0, 1.0)
        while True:
            yield value
            value = _MEMORY * value + fresh * self._rng.gauss(0.0, 1.0)


def _at(level: Level, at: float) -> float:
    return level(at) if callable(level) else level


def labels_of(job: Mapping[str, Any]) -> dict[str, str]:
    """The labels that Prometheus gives to what it scrapes from the only target of a job."""
    (group,) = job["static_configs"]
    (target,) = group["targets"]
    return {"instance": target, "job": job["job_name"], **group["labels"]}


def promtool() -> str | None:
    """Path of promtool, or None."""
    return processes.which("promtool")


def backfill(history: History, folder: Path, tool: str | None) -> None:
    """Put a history into the folder of a Prometheus that has not started yet.

    Parameters
    ----------
    history : History
    folder : Path
        Where that Prometheus keeps its data.
    tool : str or None
        promtool; nothing is done without it.

    Raises
    ------
    StartFailed
        With what promtool says.
    """
    if tool is None:
        return
    folder.mkdir(exist_ok=True)
    source = folder.with_name("history.txt")
    source.write_text(history.text(), "utf-8")
    command = [tool, "tsdb", "create-blocks-from", f"--max-block-duration={_BLOCK}", "openmetrics", "--quiet"]
    try:
        done = subprocess.run(
            [*command, str(source), str(folder)], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise StartFailed(f"promtool made no history within {_PATIENCE_S:.0f} s") from late
    finally:
        source.unlink()
    if done.returncode:
        raise StartFailed(f"promtool made no history:\n{done.stderr.strip()[-2000:]}")
