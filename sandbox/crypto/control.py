"""The private channel through which the platform is changed from outside: a Unix socket of the owner's.

One JSON object a line each way. The words are physical: a limit, a volatility, a model, an estimator.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.crypto import store_changes
from sandbox.crypto.heart import Heart
from sandbox.crypto.models import View
from sandbox.crypto.parameters import SYMBOLS
from sandbox.crypto.platform import Platform
from sandbox.crypto.status import status
from sandbox.errors import ControlRefused, NotOurs, NotUp, SandboxError

__all__ = ["ask", "serve"]

_TIMEOUT_S = 15.0


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def symbols_of(self, names: list[str]) -> list[int]:
        """Positions of the named symbols."""
        for name in names:
            if name not in SYMBOLS:
                raise ControlRefused(f"unknown symbol {name!r}; there are {', '.join(SYMBOLS)}")
        return [SYMBOLS.index(name) for name in names]


class MarketVolatility(_Change):
    """Volatility of some symbols goes to a multiple of its usual level over some steps."""

    symbols: list[str]
    multiple: float = Field(gt=0, le=50)
    steps: int = Field(ge=1, le=10_000)

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        platform.market.move_volatility(self.symbols_of(self.symbols), self.multiple, self.steps)


class EstimatorRunning(_Change):
    """The volatility estimator runs or stalls."""

    running: bool

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        platform.estimator.running = self.running


class PositionLimit(_Change):
    """The position limit of one symbol is multiplied."""

    symbol: str
    multiple: float = Field(gt=0, le=100)

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.set_limit(place, float(platform.limits[place]) * self.multiple, "risk desk", now_ms)


class EdgeGain(_Change):
    """The signal of one symbol is scaled."""

    symbol: str
    gain: float = Field(gt=0, le=100)

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.edge_gain[place] = self.gain


class DeployModel(_Change):
    """A model is deployed for some symbols."""

    name: str
    version: str
    view: View
    edge_bps: float = Field(gt=0, le=1_000)
    confidence: float | None = Field(default=None, ge=0, le=1)
    symbols: list[str]

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        places = self.symbols_of(self.symbols)
        platform.deploy(self.name, self.version, self.view, self.edge_bps, self.confidence, places, now_ms)


class SwitchOnce(_Change):
    """One symbol is given to another model."""

    symbol: str

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.switch_once(place, now_ms)


class MissFeed(_Change):
    """The feed of one symbol misses a step."""

    symbol: str

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.miss_feed(place)


_CHANGES: dict[str, type[Any]] = {
    "market-volatility": MarketVolatility,
    "estimator-running": EstimatorRunning,
    "position-limit": PositionLimit,
    "edge-gain": EdgeGain,
    "deploy-model": DeployModel,
    "switch-once": SwitchOnce,
    "miss-feed": MissFeed,
}


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

    server = await asyncio.start_unix_server(converse, path, limit=65_536)
    path.chmod(0o600)
    return server


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
            line.connect(path)
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
    if do not in _CHANGES:
        raise ControlRefused(f"there is no change {do!r}; there are {', '.join([*_CHANGES, *store_changes.CHANGES])}")
    apply: Callable[[Platform, int], None] = _CHANGES[do].model_validate(facts).apply
    with heart.lock:
        apply(heart.platform, heart.now_ms())
    return {}
