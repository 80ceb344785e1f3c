"""Faults of playbook A06: a cache that finds less than half of what is asked for."""

from __future__ import annotations

import random

from sandbox.derivatives.access import Access
from sandbox.derivatives.service.release import Release
from sandbox.faults.fault import Fault
from sandbox.faults.on_derivatives import deploy, fault
from sandbox.progress import Progress

__all__ = ["FAULTS", "missed"]


def memory_full(access: Access, rng: random.Random, _progress: Progress) -> None:
    """Redis may hold far less than the ladders need."""
    with access.cache() as client:
        base = int(client.info("memory")["used_memory_startup"])
        client.config_set("maxmemory", base + rng.randint(500, 900) * 1024)


def cold_after_restart(access: Access, _rng: random.Random, _progress: Progress) -> None:
    """Redis is restarted; it keeps nothing on disk."""
    access.kube("delete", "pod", "redis-0", "--wait=true", "--grace-period=1")


def keys_expiring(access: Access, rng: random.Random, progress: Progress) -> None:
    """A release that lets results live for seconds; those that are there end soon too."""
    life = rng.randint(2, 5)
    progress("rolling out a release")
    deploy(access, Release(f"2.4.{rng.randint(1, 9)}", cache_ttl_s=life), "fresher results")
    with access.cache() as client, client.pipeline(transaction=False) as pipe:
        for key in client.scan_iter("greeks:*", count=5000):
            pipe.expire(key, life)
        pipe.execute()


def key_pattern_changed(access: Access, rng: random.Random, progress: Progress) -> None:
    """A release that looks for results under another key, with the second in it."""
    key = rng.choice(
        (
            "greeks:v2:{underlying}:{kind}:{strike:.4f}:{days}:{spot:.4f}:{now:.0f}",
            "greeks:{now:.0f}:{underlying}:{kind}:{strike:g}:{days}:{spot:g}",
        )
    )
    progress("rolling out a release")
    deploy(access, Release(f"2.4.{rng.randint(1, 9)}", cache_key=key, cache_ttl_s=60), "keys of version 2")


def missed(access: Access) -> str | None:
    """Whether less than half of what is asked for is found."""
    value = access.value("derivatives_cache_hit_pct")
    return f"{value:.0f} % of cached Greeks are found" if value is not None and value < 50.0 else None


FAULTS: dict[str, Fault] = {
    "cold-after-restart": fault(cold_after_restart, missed, 90.0),
    "key-pattern-changed": fault(key_pattern_changed, missed, 90.0),
    "keys-expiring": fault(keys_expiring, missed, 90.0),
    "memory-full": fault(memory_full, missed, 90.0),
}
