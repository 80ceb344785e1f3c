"""The object `ops` of a notebook: everything it sees, says and proposes goes through here.

    import opslib
    ops = opslib.connect()
    var = ops.redis.series("var_pct", symbols)

It talks to the recorder over the socket named in `RUNBOOK_OPS_SOCKET`, holds no credential, and hands out
exactly what the recorder put on the record. Every DataFrame carries the id of its evidence in
`.attrs["evidence"]`; every other answer in `.evidence`.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
import threading
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, TypeVar

from opslib import errors
from opslib.errors import ProbeError, RecorderError, RunbookError
from opslib.probes.calls import Http, Prometheus, Redis, frame, seen
from opslib.probes.calls_files import Certificates, Files
from opslib.probes.calls_kubernetes import Changes, Gpu, Kubernetes, Logs
from opslib.probes.calls_postgres import Postgres
from opslib.probes.seen import Seen, SeenList, SeenText
from opslib.record import wire
from opslib.record.shown import Context, Plan

__all__ = ["Context", "Ops", "Plan", "Seen", "SeenList", "SeenText", "connect"]

_ANSWER_S = 60.0
T = TypeVar("T")


class Ops:
    """What a notebook may do. Made by `opslib.connect()`.

    Attributes
    ----------
    context : Context
        Incident, run, platform, runbook, mode, parameters, alert.
    redis : Redis
    http : Http
    prometheus : Prometheus
    kubernetes : Kubernetes
    gpu : Gpu
    logs : Logs
    changes : Changes
    postgres : Postgres
    files : Files
    certificates : Certificates
    unseen : list of str
        What `look` could not see, and why.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._ids = count(1)
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.context = Context(self._ask("hello")[0])
        self.redis = Redis(self)
        self.http = Http(self)
        self.prometheus = Prometheus(self)
        self.kubernetes = Kubernetes(self)
        self.gpu = Gpu(self)
        self.logs = Logs(self)
        self.changes = Changes(self)
        self.postgres = Postgres(self)
        self.files = Files(self)
        self.certificates = Certificates(self)
        self.unseen: list[str] = []

    def __repr__(self) -> str:
        """What this run is, and what it can look at."""
        return f"{self.context!r}; can look at {', '.join(self.context.systems) or 'nothing'}"

    def has(self, system: str) -> bool:
        """Whether the platform has a system: `redis`, `api`, `prometheus`."""
        return system in self.context.systems

    def now(self) -> dt.datetime:
        """The time, UTC, out of the record: a replay gets the same."""
        value = self._ask("now")[0]["value"]
        return dt.datetime.fromisoformat(value)

    def random(self, n: int) -> list[float]:
        """`n` random numbers from 0 (included) to 1 (excluded), out of the record: a replay gets the same."""
        numbers: list[float] = self._ask("random", n=n)[0]["value"]
        return numbers

    def look(self, what: str, probe: Callable[..., T], /, *arguments: Any, **named: Any) -> T | None:
        """The answer of a probe, or None (said, and remembered in `unseen`) when it could not see.

        Parameters
        ----------
        what : str
            In words: "the switches of the last hour".
        probe : callable
            `ops.redis.series` and the like.
        *arguments, **named : Any
            Its arguments.
        """
        try:
            return probe(*arguments, **named)
        except ProbeError as error:
            self.unseen.append(f"{what} ({error})")
            print(f"Not seen: {what} ({error}). The diagnosis goes on without it.")
            return None

    def conclude(self, verdict: Any) -> None:
        """Put the verdict on the record.

        Parameters
        ----------
        verdict : dict, or an object with `model_dump`
            confirmed, cause, confidence, causes, unseen, summary.

        Raises
        ------
        RecorderError
            When it does not validate; the message lists what is wrong.
        """
        document = verdict.model_dump(mode="json") if hasattr(verdict, "model_dump") else dict(verdict)
        self._ask("conclude", verdict=document)

    def propose(
        self, action: str | Iterable[tuple[str, dict[str, Any]]], /, *, reason: str = "", **arguments: Any
    ) -> Plan | None:
        """Propose a change, to be approved by a person with the authority; nothing is changed.

        Parameters
        ----------
        action : str, or list of (str, dict)
            The action's name with its arguments following, or several with theirs, applied in that order; of an
            empty list nothing becomes.
        reason : str
            Why, for who approves it.
        **arguments : Any
            Of the one action.

        Returns
        -------
        Plan or None
            None in a run that only observes, where there is no action, and, said, where a guard of the policy holds
            one back now.

        Raises
        ------
        PlanError, UsageError
            When the action refuses its arguments or the platform's state.
        """
        if isinstance(action, str):
            actions = [{"action": action, "arguments": arguments}]
        else:
            if arguments:
                raise errors.UsageError("give each of several actions its arguments in the list")
            actions = [{"action": name, "arguments": dict(own)} for name, own in action]
        if not actions:
            print("Nothing is proposed.")
            return None
        try:
            shown = self._ask("propose", actions=actions, reason=reason)[0]
        except errors.Forbidden as error:
            print(f"Nothing is proposed: {error}.")
            return None
        if shown is None:
            print("This run only observes: no plan was made.")
            return None
        return Plan(shown)

    def apply(self, plan: str | Plan, token: str) -> dict[str, Any]:
        """Apply an approved plan as the person whose token this is; in JupyterLab alone.

        Raises
        ------
        NotAllowed, PlanError
            When the person may not, or the plan is not approved.
        RecorderError
            In a playbook, which proposes and never applies.
        """
        name = plan.hash if isinstance(plan, Plan) else plan
        result: dict[str, Any] = self._ask("apply", hash=name, token=token)[0]
        return result

    def live(self) -> None:
        """In a notebook that was opened to investigate, from here on ask the platform itself; the record says so.

        Raises
        ------
        RecorderError
            In a playbook's run, which does so anyway, and in a replay, which never does.
        """
        self._ask("live")
        print("From here on the platform itself is asked, and what it answers goes on the record.")

    def probe(self, name: str, /, **arguments: Any) -> Any:
        """Call a probe by its name: a DataFrame, `Seen`, `SeenList`, `SeenText`, a number or None.

        Raises
        ------
        ProbeError
            When it could not see; that is on the record too.
        """
        answer, arrow = self._ask("probe", probe=name, arguments=arguments)
        if arrow:
            table = frame(arrow, answer["evidence"])
            self._partly(name, table.attrs.get("note"))
            return table
        return seen(answer["value"], answer["evidence"])

    def _partly(self, name: str, note: str | None) -> None:
        """Say what of an answer could not be seen, and remember it in `unseen`, once."""
        if note:
            print(f"Seen in part: {name}: {note}.")
            if f"{name}: {note}" not in self.unseen:
                self.unseen.append(f"{name}: {note}")

    def _ask(self, operation: str, **facts: Any) -> tuple[Any, bytes]:
        """Ask the recorder and wait for its answer."""
        with self._lock:
            try:
                connection = self._connected()
                wire.send(connection, {"id": next(self._ids), "op": operation, **facts})
                message = wire.receive(connection)
            except (OSError, RecorderError) as error:
                self._disconnect()
                raise RecorderError(f"{_GONE} ({error})") from error
            if message is None:
                self._disconnect()
                raise RecorderError(_GONE)
        reply, arrow = message
        if not reply.get("ok"):
            raise _failure(reply.get("error") or {})
        return reply.get("result"), arrow

    def _connected(self) -> socket.socket:
        if self._connection is None:
            self._connection = wire.dial(self._path, _ANSWER_S)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._lock:
            self._disconnect()


_GONE = "the recorder of this run is gone: what follows would not be on the record. Run the playbook again."


def _failure(error: dict[str, Any]) -> RunbookError:
    kind = getattr(errors, str(error.get("type")), RecorderError)
    known = isinstance(kind, type) and issubclass(kind, RunbookError)
    facts = {"evidence": error["evidence"]} if "evidence" in error else {}
    return (kind if known else RecorderError)(str(error.get("message") or "") or None, **facts)


def connect() -> Ops:
    """The `ops` of this notebook.

    Raises
    ------
    RecorderError
        Outside a run, or when its recorder is gone.
    """
    path = os.environ.get(wire.SOCKET)
    if not path:
        raise RecorderError("this is no run: start the notebook with `runbook run`, or open it in `runbook lab`")
    return Ops(path)
