"""Looks that end in time: a system that has not answered by then is given up, and the notebook goes on.

A probe bounds each of its reads; this bounds the sum of them. What is given up goes on in its own thread until its own
time-outs end it: nobody hears of it any more, so it leaves no evidence, and it keeps nothing but its own connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from opslib.errors import ProbeError

MOST_GIVEN_UP = 4
T = TypeVar("T")


class Looks:
    """The looks of one session, each within the same time.

    Parameters
    ----------
    budget_s : float
        How long a look may take altogether [s].
    """

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self._lock = threading.Lock()
        self._given_up: dict[str, list[threading.Thread]] = {}

    def within(self, system: str, name: str, look: Callable[[], T]) -> T:
        """What a look sees.

        Parameters
        ----------
        system : str
            Which is looked at; one that does not answer keeps nobody from looking at the others.
        name : str
            Of the probe, for messages.
        look : callable
            Called in a thread of its own.

        Raises
        ------
        ProbeError
            When there is no answer in time, or when so many looks at the system that were given up still go on that no
            further one is begun; and what the look itself raises.
        """
        with self._lock:
            late = [thread for thread in self._given_up.pop(system, []) if thread.is_alive()]
            if late:
                self._given_up[system] = late
            if len(late) >= MOST_GIVEN_UP:
                raise ProbeError(f"{name}: not asked, since {system} still owes an answer to {len(late)} earlier calls")
        answer: Future[T] = Future()
        thread = threading.Thread(target=_look, args=(look, answer), name=f"look {name}", daemon=True)
        thread.start()
        wait([answer], self.budget_s)
        if answer.done():
            return answer.result()
        with self._lock:
            self._given_up.setdefault(system, []).append(thread)
        raise ProbeError(f"{name}: no answer within {self.budget_s:g} s altogether")


def _look(look: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(look())
    except BaseException as error:  # whoever waits raises it
        answer.set_exception(error)
