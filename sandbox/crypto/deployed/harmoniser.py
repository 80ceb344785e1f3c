"""The risk harmoniser as a process: `python -m sandbox.crypto.deployed.harmoniser FILE`.

It makes the risk desk's steps for whoever asks through the platform's Redis: volatility estimates, positions, value at
risk, circuit breaker, stressed VaR. FILE holds `{"sandbox_id": ..., "redis": {NAME: address}}`, the owner's alone.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import redis

from sandbox.crypto.deployed.leader import Leader
from sandbox.crypto.deployed.requests import answer_one
from sandbox.crypto.desk import RiskDesk, Task
from sandbox.crypto.parameters import N_SYMBOLS
from sandbox.errors import NotUp

__all__ = ["answer", "main"]

_IDLE_S = 1.0
_AGAIN_S = 0.2
_MOST_SCENARIOS = 50_000_000

_log = logging.getLogger("risk-harmoniser")


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer one question of the strategist.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is not understood.
    """
    desk = RiskDesk(np.ones(N_SYMBOLS), 0)
    desk.adopt(question["desk"])
    if question["do"] == "step":
        changed = desk.step(Task.read(question["task"]))
        return {"changed": changed, "desk": desk.document()}
    if question["do"] == "stress":
        scenarios = int(question["scenarios"])
        if not 1 <= scenarios <= _MOST_SCENARIOS:
            raise ValueError(f"{scenarios} scenarios are not between 1 and {_MOST_SCENARIOS}")
        desk.stress(scenarios, np.random.default_rng(int(question["seed"])))
        return {"stressed_var_pct": desk.harmoniser.stressed_var_pct}
    raise ValueError(f"there is no {question['do']!r}")


def serve(leader: Leader, ended: threading.Event) -> None:
    """Answer until ended, wherever the leader is."""
    lost = False
    while not ended.is_set():
        try:
            heard = answer_one(leader.client(), answer, _IDLE_S)
        except (NotUp, redis.RedisError) as problem:
            if not lost:
                _log.warning("Redis does not take questions: %s", problem)
            lost = True
            leader.look_elsewhere()
            ended.wait(_AGAIN_S)
            continue
        if lost:
            _log.info("Redis takes questions again")
        lost = False
        if not heard:
            leader.look_elsewhere()


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    facts = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ended.set())
    leader = Leader(facts["redis"], facts["sandbox_id"], "trading-platform")
    serve(leader, ended)
    leader.look_elsewhere()


if __name__ == "__main__":
    main()
