"""One change of the crypto platform, and how it is made: over the control channel, or as anyone would make it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import redis

from opslib import web
from sandbox.crypto import control
from sandbox.crypto.publisher import RELOAD
from sandbox.errors import NotUp
from sandbox.state import State

__all__ = ["Step", "make"]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the platform.

    Attributes
    ----------
    after_s : float
        Time to wait after the step before it [s].
    do : str
        A word of the control channel, `publish-reload` or `slow-request`.
    facts : dict
        What goes with the word.
    """

    after_s: float
    do: str
    facts: dict[str, Any] = field(default_factory=dict)


def make(found: State, step: Step) -> None:
    """Make one change at once.

    Raises
    ------
    NotUp, NotOurs, ControlRefused
        Nothing was changed.
    """
    if step.do == "publish-reload":
        message = json.dumps({"component": "model_router", "config_path": "conf/model_router_rules.yml"})
        try:
            with redis.Redis.from_url(
                found.endpoints.redis_admin, socket_timeout=3.0, socket_connect_timeout=1.0
            ) as client:
                client.publish(RELOAD, message)
        except redis.RedisError as problem:
            raise NotUp(
                f"Redis of the sandbox does not answer ({problem}): run `runbook sandbox up crypto`"
            ) from problem
    elif step.do == "slow-request":
        try:
            web.get(f"{found.endpoints.api}/api/status?audit=true", timeout=10.0).raise_for_status()
        except httpx.HTTPError as problem:
            raise NotUp(f"the platform does not answer ({problem}): run `runbook sandbox up crypto`") from problem
    else:
        control.ask(found.control, found.sandbox_id, step.do, **step.facts)
