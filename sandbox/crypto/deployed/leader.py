"""Which of the platform's instances of Redis leads: found by asking, since that changes."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from sandbox.crypto.publisher import MARKER
from sandbox.errors import NotUp

__all__ = ["Leader"]

_CONNECT_S = 1.0
_ANSWER_S = 3.0  # more than any command of ours blocks


class Leader:
    """A client of the instance that takes writes and carries the platform's mark.

    An instance that was restarted says that it leads, and is empty; one that was cut off while another was promoted
    says so too, and nobody writes there. So a part that hears nothing asks for the other one by `look_elsewhere`.

    Parameters
    ----------
    addresses : mapping
        By name of the instance, with the full identity.
    sandbox_id : str
        The mark.
    name : str
        As `CLIENT LIST` shows the connection.
    """

    def __init__(self, addresses: Mapping[str, str], sandbox_id: str, name: str) -> None:
        self._addresses, self._sandbox_id, self._name = dict(addresses), sandbox_id, name
        self._client: redis.Redis | None = None
        self._last = ""

    def client(self) -> redis.Redis:
        """The client; the same one until it is told to look elsewhere.

        Raises
        ------
        NotUp
            None of the instances leads.
        """
        if self._client is None:
            self._client = self._find()
        return self._client

    def look_elsewhere(self) -> None:
        """Look anew at the next call, first at the instances that were not in use so far."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _find(self) -> redis.Redis:
        said: list[str] = []
        for name in sorted(self._addresses, key=lambda one: one == self._last):
            client = redis.Redis.from_url(
                self._addresses[name],
                decode_responses=True,
                socket_connect_timeout=_CONNECT_S,
                socket_timeout=_ANSWER_S,
                client_name=self._name,
            )
            try:
                role = str(client.info("replication")["role"])
                if role == "master" and client.get(MARKER) == self._sandbox_id:
                    self._last = name
                    return client
                said.append(f"{name} is {role}" if role != "master" else f"{name} does not carry the platform's mark")
            except redis.RedisError as problem:
                said.append(f"{name}: {problem}")
            client.close()
        raise NotUp(f"no instance of Redis leads ({'; '.join(said)}): run `runbook sandbox heal --platform crypto`")
