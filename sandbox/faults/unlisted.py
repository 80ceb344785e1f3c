"""What breaks a platform in a way that no playbook knows: it should say so, and name none of its causes.

The names are those of the sandbox alone. Each is done by the platform's own means, so that its traces are true.
"""

from __future__ import annotations

import random

from sandbox.crypto.steps import Step
from sandbox.derivatives import manifests
from sandbox.derivatives.access import Access
from sandbox.faults import api_error_rate, cache_miss_rate, on_crypto, on_derivatives, postgres_down, var_breach
from sandbox.faults.fault import Fault
from sandbox.progress import Progress

__all__ = ["UNLISTED"]


def kelly_raised(rng: random.Random) -> list[Step]:
    """Somebody more than doubles the Kelly fraction: every position grows alike, market and models stay as they are."""
    facts = {"value": round(rng.uniform(0.6, 0.68), 3)}
    return [Step(rng.uniform(0.0, 1.5), "kelly-fraction", facts)]


def keys_removed(access: Access, rng: random.Random, _progress: Progress) -> None:
    """Another team's housekeeping removes what is in the cache, again and again."""
    access.kube.send("apply", [manifests.housekeeping("greeks:*", round(rng.uniform(1.0, 2.5), 2))])


def _no_pod(access: Access) -> str | None:
    away, words = postgres_down.unreachable(access)
    return f"the database does not answer: {words}" if away and words == postgres_down.NO_POD else None


UNLISTED: dict[str, Fault] = {
    "cache-miss-rate/keys-removed": on_derivatives.fault(keys_removed, cache_miss_rate.missed, 90.0),
    "postgres-down/scaled-to-nothing": on_derivatives.fault(api_error_rate.database_down, _no_pod, 90.0),
    "var-breach/kelly-raised": on_crypto.fault(kelly_raised, var_breach.shows),
}
