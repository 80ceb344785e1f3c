"""Redis' protocol (RESP2) over a plain socket: as much of it as the small processes need."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

__all__ = ["Address", "Line", "ServerError", "packed"]


class ServerError(RuntimeError):
    """The server refused a command; the message says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is, and who one is there."""

    port: int
    password: str
    user: str = "default"
    host: str = "127.0.0.1"


def packed(*words: str | bytes | int | float) -> bytes:
    """A command as it is sent."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Line:
    """A connection with an identity and a name.

    Parameters
    ----------
    address : Address
    name : str
        As `CLIENT LIST` shows it.
    timeout_s : float
        Of connecting and of each answer [s].
    """

    def __init__(self, address: Address, name: str = "", timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection((address.host, address.port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._source = self.socket.makefile("rb")
        self.ask("AUTH", address.user, address.password)
        if name:
            self.ask("CLIENT", "SETNAME", name)

    def ask(self, *words: str | bytes | int | float) -> Any:
        """Send one command; its answer.

        Raises
        ------
        OSError
            The connection is lost, or the answer is late.
        ServerError
        """
        return self.send(packed(*words), 1)[0]

    def send(self, commands: bytes, answers: int) -> list[Any]:
        """Send commands at once; their answers."""
        self.socket.sendall(commands)
        return [self._answer() for _ in range(answers)]

    def close(self) -> None:
        """Hang up."""
        self._source.close()
        self.socket.close()

    def _answer(self) -> Any:
        line = self._source.readline()
        if not line:
            raise ConnectionResetError("the server hung up")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise ServerError(rest.decode("utf-8", "replace"))
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._source.read(int(rest) + 2)[:-2]
        return [self._answer() for _ in range(int(rest))]
