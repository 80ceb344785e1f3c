"""How long the runs of other hosts have been silent, as far as this process could listen.

Neither the database's clock nor a time without database counts: only a beat that stays the same over several looks, by
the monotonic clock of whoever looks, is silence. So a clock that is set, or a database that was away, loses no run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

SILENT_S = 15.0
LOOKS = 4
APART_S = 2.0


@dataclass
class _Heard:
    beat: datetime | None
    since: float
    looked: float
    looks: int = 1


class Silence:
    """Remembers the last beat of each run.

    Parameters
    ----------
    clock : callable
        Monotonic [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[int, _Heard] = {}

    def look(self, beats: Mapping[int, datetime | None]) -> dict[int, float]:
        """Take note of the last beat of every run that goes on.

        Returns
        -------
        dict
            How long each silent run has been so [s]; those that beat, or were not looked at often enough, are left out.
        """
        now = self._clock()
        heard = {}
        for run, beat in beats.items():
            one = self._heard.get(run)
            if one is None or one.beat != beat:
                one = _Heard(beat, now, now)
            elif now - one.looked >= APART_S:
                one.looked, one.looks = now, one.looks + 1
            heard[run] = one
        self._heard = heard
        return {
            run: now - one.since for run, one in heard.items() if one.looks >= LOOKS and now - one.since >= SILENT_S
        }
