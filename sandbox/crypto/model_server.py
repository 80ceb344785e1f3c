"""The model server: instances that hold a few models each in memory and answer the router's calls.

A call to a model that an instance holds is quick. Any other has to be loaded first, in place of the one that was used
least lately: its weights are unpacked and read, which is real work. So a server whose clients ask for more models than
its instances hold spends its time on loading, and answers late; more instances hold more models.

What an answer says is computed by `sandbox.crypto.models`; what is served here is the time that it takes.
"""

from __future__ import annotations

import queue
import threading
import time
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable
from statistics import median

import numpy as np

__all__ = ["USUAL_INSTANCES", "ModelServer", "SteppedModelServer", "ThreadedModelServer"]

USUAL_INSTANCES = 2
MOST_INSTANCES = 16
SLOTS = 2  # models that an instance holds in memory
REQUESTED_WITHIN_S = 30.0  # a model asked for within this time counts as in use

_WEIGHTS = 1_400_000  # numbers in a model
_LATENCIES_KEPT = 60


class Instance:
    """What one instance holds in memory."""

    def __init__(self) -> None:
        self.held: OrderedDict[str, object] = OrderedDict()
        self.loads = 0

    def holds(self, model: str) -> bool:
        """Whether a model is held; it counts as used."""
        if model in self.held:
            self.held.move_to_end(model)
            return True
        return False

    def keep(self, model: str, weights: object) -> None:
        """Hold a model that was loaded, in place of the one that was used least lately."""
        self.loads += 1
        self.held[model] = weights
        while len(self.held) > SLOTS:
            self.held.popitem(last=False)


class ModelServer(ABC):
    """Calls that wait, answers that came, and what the instances hold."""

    def __init__(self) -> None:
        self.instances = [Instance() for _ in range(USUAL_INSTANCES)]
        self._place: dict[str, int] = {}  # in the order of the first call
        self._asked_ms: dict[str, float] = {}  # calls without an answer yet
        self._took_ms: dict[str, float] = {}
        self._used_ms: dict[str, float] = {}
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._turn = 0
        self._aside_waiting = 0  # calls of the latest round that were not served yet

    @abstractmethod
    def clock_ms(self) -> float:
        """A clock that only goes forward [ms]."""

    @abstractmethod
    def _submit(self, number: int, model: str, *, routed: bool) -> None:
        """Give a call to an instance; `routed` where somebody waits for its answer."""

    @property
    @abstractmethod
    def load_s(self) -> float:
        """What it takes to load one model [s]."""

    def ask(self, models: Iterable[str]) -> None:
        """Call each model once; one that has not answered yet is not called again."""
        now = self.clock_ms()
        for model in models:
            if model not in self._asked_ms:
                self._asked_ms[model] = now
                self._call(model, routed=True)

    def ask_aside(self, models: list[str], work_s: float) -> None:
        """Score models that no symbol is traded with, in turn, as often as it would take `work_s` to load them [s].

        The calls go to one instance after the other: to those models of the list that one instance serves. A round
        begins once the one before is done.
        """
        if self._aside_waiting > 0:
            return
        for model in models:
            self._place.setdefault(model, len(self._place))
        self._turn += 1
        number = self._turn % len(self.instances)
        here = [model for model in models if self._place[model] % len(self.instances) == number]
        self._aside_waiting = round(work_s / self.load_s) if here else 0
        for count in range(self._aside_waiting):
            self._call(here[count % len(here)], routed=False)

    def waited_ms(self, model: str) -> float:
        """How long the call of a model has been waiting for its answer [ms]; 0 where it was answered."""
        asked = self._asked_ms.get(model)
        return 0.0 if asked is None else max(0.0, self.clock_ms() - asked)

    def took_ms(self, model: str) -> float:
        """How long the last answer of a model took [ms]."""
        return self._took_ms.get(model, 0.0)

    @property
    def latency_ms(self) -> tuple[float, float]:
        """Median and 95th percentile of the latest answers, those that are waited for included [ms]."""
        seen = sorted([*self._latencies, *(self.waited_ms(model) for model in list(self._asked_ms))])
        return (median(seen), seen[int(0.95 * (len(seen) - 1))]) if seen else (0.0, 0.0)

    @property
    def models_in_use(self) -> int:
        """How many different models were called lately."""
        since = self.clock_ms() - 1000.0 * REQUESTED_WITHIN_S
        return sum(used >= since for used in self._used_ms.values())

    @property
    def loads(self) -> int:
        """How many models were loaded since the start."""
        return sum(instance.loads for instance in self.instances)

    def scale(self, instances: int) -> None:
        """Run as many instances; they start with nothing in memory."""
        self.instances = [Instance() for _ in range(instances)]
        self._asked_ms.clear()
        self._aside_waiting = 0

    def reset(self) -> None:
        """Be as after the start."""
        self.scale(USUAL_INSTANCES)
        self._place.clear()
        self._used_ms.clear()
        self._latencies.clear()
        self._took_ms.clear()

    def _call(self, model: str, *, routed: bool) -> None:
        place = self._place.setdefault(model, len(self._place))
        self._used_ms[model] = self.clock_ms()
        self._submit(place % len(self.instances), model, routed=routed)

    def _served(self, model: str, at_ms: float, *, routed: bool) -> None:
        if not routed:
            self._aside_waiting -= 1
            return
        asked = self._asked_ms.pop(model, None)
        if asked is not None:
            self._took_ms[model] = at_ms - asked
            self._latencies.append(at_ms - asked)


class ThreadedModelServer(ModelServer):
    """Instances that are threads and really unpack and read the weights. Close it after use."""

    def __init__(self) -> None:
        super().__init__()
        self._packed = zlib.compress(np.arange(_WEIGHTS, dtype=np.int32).tobytes(), 1)
        self._load_s = self._measure()
        self._queues: list[queue.SimpleQueue[tuple[str, bool] | None]] = []
        self._start()

    @property
    def load_s(self) -> float:
        """What it takes to load one model [s of a processor]."""
        return self._load_s

    def clock_ms(self) -> float:
        """The monotonic clock [ms]."""
        return time.monotonic() * 1000.0

    def scale(self, instances: int) -> None:
        """Run as many instances; what waits at the old ones is dropped."""
        self.close()
        super().scale(instances)
        self._start()

    def close(self) -> None:
        """End the instances."""
        for waiting in self._queues:
            while not waiting.empty():
                waiting.get()
            waiting.put(None)
        self._queues = []

    def _start(self) -> None:
        for instance in self.instances:
            waiting: queue.SimpleQueue[tuple[str, bool] | None] = queue.SimpleQueue()
            self._queues.append(waiting)
            facts = (instance, waiting)
            threading.Thread(target=self._serve, args=facts, name="model-instance", daemon=True).start()

    def _submit(self, number: int, model: str, *, routed: bool) -> None:
        self._queues[number].put((model, routed))

    def _serve(self, instance: Instance, waiting: queue.SimpleQueue[tuple[str, bool] | None]) -> None:
        while (call := waiting.get()) is not None:
            model, routed = call
            if not instance.holds(model):
                instance.keep(model, self._load())
            self._served(model, self.clock_ms(), routed=routed)

    def _load(self) -> float:
        weights = np.frombuffer(zlib.decompress(self._packed), dtype=np.int32)
        return float(weights[:: 1 + _WEIGHTS // 1000].sum())

    def _measure(self) -> float:
        costs = []
        for _ in range(5):
            begun = time.thread_time()
            self._load()
            costs.append(time.thread_time() - begun)
        return max(median(costs), 1e-4)


class SteppedModelServer(ModelServer):
    """The same with a clock that is moved by hand and stated costs: for a platform that is stepped without servers."""

    LOAD_MS = 6.0
    CALL_MS = 0.2

    def __init__(self) -> None:
        super().__init__()
        self._now_ms = 0.0
        self._free_ms = [0.0] * len(self.instances)  # when each instance has done what it was given
        self._answers: list[tuple[float, str, bool]] = []

    @property
    def load_s(self) -> float:
        """What it takes to load one model [s]."""
        return self.LOAD_MS / 1000.0

    def clock_ms(self) -> float:
        """Moved by `advance` alone."""
        return self._now_ms

    def advance(self, ms: float) -> None:
        """Let time pass."""
        self._now_ms += ms
        for at_ms, model, routed in [answer for answer in self._answers if answer[0] <= self._now_ms]:
            self._served(model, at_ms, routed=routed)
        self._answers = [answer for answer in self._answers if answer[0] > self._now_ms]

    def scale(self, instances: int) -> None:
        """Run as many instances; what waits at the old ones is dropped."""
        super().scale(instances)
        self._free_ms = [self._now_ms] * instances
        self._answers = []

    def _submit(self, number: int, model: str, *, routed: bool) -> None:
        instance, cost = self.instances[number], self.CALL_MS
        if not instance.holds(model):
            instance.keep(model, None)
            cost = self.LOAD_MS
        self._free_ms[number] = max(self._free_ms[number], self._now_ms) + cost
        self._answers.append((self._free_ms[number], model, routed))
