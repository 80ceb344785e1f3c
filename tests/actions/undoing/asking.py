"""Plans that are proposed, asked for and taken back, and what is seen of them."""

from __future__ import annotations

from typing import Any

import redis

from opslib import store
from opslib.actions import approval, plans
from opslib.actions.documents import Plan
from sandbox.crypto import redis_server
from tests.actions.world import World

BEFORE, ASKED = "100663296", "201326592"
Step = tuple[str, dict[str, Any]]


def proposed(desk: World, *steps: Step) -> Plan:
    """A plan of these actions with their arguments."""
    with store.transaction(desk.settings) as connection:
        return plans.propose(
            desk.settings, connection, run_id=desk.run, actions=list(steps), reason="slow", platform="crypto"
        )


def asked_for(desk: World, plan: Plan) -> Plan:
    """The plan, approved and asked for."""
    approval.approve(desk.settings, plan.hash, desk.person("cleo"))
    return approval.apply(desk.settings, plan.hash, desk.person("cleo"))


def requested(desk: World, action: str, **arguments: Any) -> Plan:
    """A plan that was proposed, approved and asked for."""
    return asked_for(desk, proposed(desk, (action, arguments)))


def memory(cache: redis_server.RedisServer) -> str:
    with redis.Redis.from_url(cache.url(), decode_responses=True) as client:
        return str(client.config_get("maxmemory")["maxmemory"])  # type: ignore[index]
