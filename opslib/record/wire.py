"""Messages over a Unix socket: a length, a JSON header, then as many bytes of an Arrow stream as it names."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from opslib.errors import RecorderError

SOCKET = "RUNBOOK_OPS_SOCKET"
DOOR = "door:"
HERE, GONE = b"+", b"-"
LARGEST_HEADER = 12 * 1024 * 1024
LARGEST_BODY = 32 * 1024 * 1024
_LENGTH = struct.Struct(">I")


def dial(place: str, timeout_s: float) -> socket.socket:
    """A connection to the recorder.

    Parameters
    ----------
    place : str
        The path of a socket; or `door:N`, in a confined kernel, which may connect to nothing itself: who guards it
        connects, and hands the connection through the descriptor N.
    timeout_s : float
        Of each step later on [s].

    Raises
    ------
    OSError
        When nobody answers there.
    """
    if not place.startswith(DOOR):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        try:
            connection.connect(place)
        except OSError:
            connection.close()
            raise
        return connection
    with socket.socket(fileno=os.dup(int(place.removeprefix(DOOR)))) as door:
        door.send(HERE)
        _, descriptors, _, _ = socket.recv_fds(door, 1, 1)
    if not descriptors:
        raise ConnectionRefusedError("nobody answers")
    connection = socket.socket(fileno=descriptors[0])
    connection.settimeout(timeout_s)
    return connection


def send(connection: socket.socket, header: dict[str, Any], arrow: bytes = b"") -> None:
    """Send one message.

    Raises
    ------
    RecorderError
        When the message is larger than the other side takes.
    OSError
        When the other side is gone.
    """
    data = json.dumps({**header, "arrow": len(arrow)}, allow_nan=False).encode()
    if len(data) > LARGEST_HEADER or len(arrow) > LARGEST_BODY:
        raise RecorderError(f"a message of {len(data) + len(arrow)} bytes is more than the recorder passes on")
    connection.sendall(_LENGTH.pack(len(data)) + data + arrow)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None when the other side has closed between two.

    Raises
    ------
    RecorderError
        When what comes is no message, or the other side went away within one.
    OSError
        When reading fails or takes longer than the socket's time-out.
    """
    length = _exactly(connection, _LENGTH.size, may_end=True)
    if length is None:
        return None
    size = _LENGTH.unpack(length)[0]
    if size > LARGEST_HEADER:
        raise RecorderError(f"a header of {size} bytes is no message")
    try:
        header = json.loads(_exactly(connection, size) or b"")
        arrow = int(header.get("arrow", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise RecorderError("what came is no message") from error
    if not 0 <= arrow <= LARGEST_BODY:
        raise RecorderError(f"a body of {arrow} bytes is no message")
    return header, (_exactly(connection, arrow) or b"")


def _exactly(connection: socket.socket, size: int, *, may_end: bool = False) -> bytes | None:
    parts, missing = [], size
    while missing:
        part = connection.recv(min(missing, 1 << 20))
        if not part:
            if may_end and missing == size:
                return None
            raise RecorderError("the other side went away in the middle of a message")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
