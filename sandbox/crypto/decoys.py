"""True but unrelated noise: things that happen on a platform every day and explain nothing."""

from __future__ import annotations

import random

from sandbox.crypto.parameters import SYMBOLS
from sandbox.crypto.steps import Step

__all__ = ["decoys"]

_KINDS = ("switch-once", "publish-reload", "miss-feed", "slow-request")


def decoys(rng: random.Random, count: int) -> list[Step]:
    """Return `count` harmless steps: a model switch, a reload of unchanged rules, a feed warning, a slow request."""
    order: list[str] = []
    while len(order) < count:
        order += rng.sample(_KINDS, len(_KINDS))
    steps: list[Step] = []
    for kind in order[:count]:
        facts = {"symbol": rng.choice(SYMBOLS)} if kind in ("switch-once", "miss-feed") else {}
        steps.append(Step(rng.uniform(0.1, 0.6), kind, facts))
    return steps
