"""One cell on one kernel: sent, watched, stopped when it has to be, and told truthfully."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import zmq

from opslib.runs.kernels import Kernel
from opslib.runs.outputs import CellOutputs

Asked = Literal["cancelled", "stopped", "handed-back"]
Reason = Literal["", "error", "exit", "timed-out", "kernel-died", "cancelled", "stopped", "handed-back"]
_POLL_MS = 50
_GRACE_S = 2.0
_IDLE_S = 5.0  # after the reply, if nothing comes, not even that the kernel is idle


@dataclass(frozen=True)
class CellResult:
    """How a cell ended.

    Attributes
    ----------
    status : {"succeeded", "failed", "interrupted"}
    reason : str
        Why it did not succeed; empty when it did.
    sentence : str
        The reason for a reader, as the end of "The cell ...".
    took_s : float
        How long it ran [s].
    """

    status: Literal["succeeded", "failed", "interrupted"]
    reason: Reason
    sentence: str
    took_s: float


class Stop:
    """A request to end the run, from another thread or a signal: the first one counts."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.reason: Reason = ""
        self.sentence = ""

    def ask(self, reason: Asked, sentence: str) -> None:
        """Ask the run to end; `sentence` ends "The cell ..."."""
        if not self._asked.is_set():
            self.reason, self.sentence = reason, sentence
            self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()


def execute(
    kernel: Kernel,
    source: str,
    outputs: CellOutputs,
    *,
    timeout_s: float,
    deadline: float,
    stop: Stop,
    idle: Callable[[], None],
) -> CellResult:
    """Run one cell to its end.

    Parameters
    ----------
    kernel : Kernel
        That answers.
    source : str
        The code.
    outputs : CellOutputs
        Gets what it prints and shows.
    timeout_s : float
        How long the cell may take [s].
    deadline : float
        When the run has to have ended, on the monotonic clock [s].
    stop : Stop
        Looked at all the time.
    idle : callable
        Called between messages; may save the notebook.
    """
    begun = time.monotonic()
    watch = _Watch(kernel, outputs, kernel.client.execute(source, allow_stdin=False, stop_on_error=True))
    until = min(begun + timeout_s, deadline)
    cut: tuple[Reason, str] | None = None
    while not watch.done:
        moved = watch.step()
        idle()
        if not moved and not kernel.alive():
            watch.drain()
            if not watch.done:
                return CellResult("failed", "kernel-died", kernel.why_dead(), time.monotonic() - begun)
        now = time.monotonic()
        if cut is None and stop.asked:
            cut = stop.reason, stop.sentence
        elif cut is None and now > until:
            whose = f"its time-out of {timeout_s:g} s" if until < deadline else "the time-out of the whole run"
            cut = "timed-out", f"ran past {whose} and was interrupted."
        else:
            if cut is not None and now > until:
                break
            continue
        kernel.interrupt()
        until = now + _GRACE_S
    took = time.monotonic() - begun
    if cut is not None:
        return CellResult("interrupted", cut[0], cut[1], took)
    return watch.result(took)


class _Watch:
    """The messages that answer one request, until reply and idle have both come."""

    def __init__(self, kernel: Kernel, outputs: CellOutputs, request: str) -> None:
        self._client = kernel.client
        self._outputs = outputs
        self._request = request
        self._idle = False
        self._reply: dict[str, Any] | None = None
        self._silent_s = 0.0

    @property
    def done(self) -> bool:
        """Whether all has come, or the reply has and nothing more comes."""
        return self._reply is not None and (self._idle or self._silent_s > _IDLE_S)

    def step(self) -> bool:
        """Take what is there, waiting a little for it; whether anything was."""
        iopub, shell = self._client.iopub_channel, self._client.shell_channel
        poller = zmq.Poller()
        for channel in (iopub, *[shell] * (self._reply is None)):
            poller.register(channel.socket, zmq.POLLIN)
        ready = dict(poller.poll(_POLL_MS))
        for channel in (iopub, shell):
            if channel.socket in ready:
                self._take(channel.get_msg(timeout=0))
        self._silent_s = 0.0 if ready else self._silent_s + _POLL_MS / 1000
        return bool(ready)

    def drain(self) -> None:
        """Take all that is there."""
        for channel in (self._client.iopub_channel, self._client.shell_channel):
            while channel.socket.poll(0):
                self._take(channel.get_msg(timeout=0))

    def _take(self, message: dict[str, Any]) -> None:
        if message["parent_header"].get("msg_id") != self._request:
            return
        content = message["content"]
        if message["msg_type"] == "execute_reply":
            self._reply = content
        elif message["msg_type"] == "status":
            self._idle = self._idle or content["execution_state"] == "idle"
        elif message["msg_type"] == "execute_input":
            self._outputs.cell.execution_count = content["execution_count"]
        else:
            self._outputs.take(message)

    def result(self, took_s: float) -> CellResult:
        """How the cell ended, by the kernel's own reply."""
        reply = self._reply or {}
        if reply.get("status") != "ok":
            name, value = str(reply.get("ename", "")), str(reply.get("evalue", ""))
            if name == "SystemExit":
                return CellResult("failed", "exit", f"ended the notebook with SystemExit({value}).", took_s)
            if name == "KeyboardInterrupt":
                return CellResult("interrupted", "error", "was interrupted.", took_s)
            shown = f"{name}: {value[:500]}" if value else name or "no reason that the kernel told"
            return CellResult("failed", "error", f"raised {shown}", took_s)
        if any(payload.get("source") == "ask_exit" for payload in reply.get("payload") or []):
            return CellResult("failed", "exit", "asked the kernel to exit.", took_s)
        return CellResult("succeeded", "", "", took_s)
