"""The private channel through which the platform is changed from outside: a Unix socket of the owner's.

One JSON object a line each way; the words are those of `sandbox.crypto.changes`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from sandbox.crypto import store_changes
from sandbox.crypto.changes import CHANGES
from sandbox.crypto.heart import Heart
from sandbox.crypto.platform import Platform
from sandbox.crypto.status import status
from sandbox.errors import ControlRefused, NotOurs, NotUp, SandboxError

__all__ = ["ask", "serve", "within_reach"]

_TIMEOUT_S = 15.0
_LONGEST_NAME = 100  # bytes; the kernel takes 107


async def serve(heart: Heart, path: Path) -> asyncio.Server:
    """Listen on the socket; its folder keeps others out, and so does its mode."""
    path.unlink(missing_ok=True)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            answer = await asyncio.to_thread(_answer, heart, line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            pass  # the asker went away or sent an endless line: there is nobody to answer
        finally:
            writer.close()

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with within_reach(path) as name:
        listener.bind(name)
    path.chmod(0o600)
    return await asyncio.start_unix_server(converse, sock=listener, limit=65_536)


def ask(path: str, sandbox_id: str, do: str, **facts: Any) -> dict[str, Any]:
    """Send one request and return the answer.

    Raises
    ------
    NotUp
        Nobody listens.
    NotOurs
        The platform carries another sandbox-id.
    ControlRefused
        The platform refused the change, with its reason.
    """
    request = json.dumps({"sandbox_id": sandbox_id, "do": do, "facts": facts}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_TIMEOUT_S)
            with within_reach(Path(path)) as name:
                line.connect(name)
            line.sendall(request)
            with line.makefile("rb") as source:
                answer: dict[str, Any] = json.loads(source.readline() or b"{}")
    except OSError as problem:
        raise NotUp(
            f"the platform does not answer on its control socket ({problem}): run `runbook sandbox up`"
        ) from problem
    if not answer.get("ok"):
        _refuse(answer)
    return answer


@contextmanager
def within_reach(path: Path) -> Iterator[str]:
    """A name of the socket that is short enough for the kernel, as long as its folder's own may be (Linux)."""
    if len(os.fsencode(path)) <= _LONGEST_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _refuse(answer: dict[str, Any]) -> NoReturn:
    message = str(answer.get("error") or "the platform gave no answer")
    raise (NotOurs if answer.get("kind") == "NotOurs" else ControlRefused)(message)


def _answer(heart: Heart, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if request["sandbox_id"] != heart.sandbox_id:
            raise NotOurs()
        return {"ok": True, **_carry_out(heart, request["do"], request["facts"])}
    except SandboxError as problem:
        return {"ok": False, "kind": type(problem).__name__, "error": str(problem)}
    except (ValidationError, ValueError, TypeError, KeyError) as problem:
        return {"ok": False, "kind": "ControlRefused", "error": f"the request is not understood: {problem}"}


def _carry_out(heart: Heart, do: str, facts: dict[str, Any]) -> dict[str, Any]:
    if do == "status":
        return {"status": status(heart)}
    if do == "restore":
        heart.restore()
        return {}
    if do in store_changes.CHANGES:
        store_changes.CHANGES[do].model_validate(facts).apply(heart)
        return {}
    if do not in CHANGES:
        raise ControlRefused(f"there is no change {do!r}; there are {', '.join([*CHANGES, *store_changes.CHANGES])}")
    apply: Callable[[Platform, int], None] = CHANGES[do].model_validate(facts).apply
    with heart.lock:
        rules = heart.platform.router.rules
        apply(heart.platform, heart.now_ms())
        if heart.platform.router.rules is not rules:
            heart.keep_rules()
    return {}
