"""End sessions of PostgreSQL: those named by process and start, so that a process number used again is never hit."""

from __future__ import annotations

import datetime as dt
import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from opslib import postgres as client
from opslib.actions.action import ActionArguments, Context, Description, Observation
from opslib.actions.documents import Bounds, Target, Undo
from opslib.actions.postgres import Postgres, Reason, changing, every, one, reading, server
from opslib.errors import ActionFailed, PlanError
from opslib.record import redaction

_GONE_S = 10.0  # a session ends once it has rolled back
_STEP_S = 0.1


class Session(BaseModel):
    """One session: its process, when that began, and, where only this transaction is meant, when that began."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pid: int = Field(gt=0)
    backend_start: str
    transaction_start: str | None = None

    @field_validator("backend_start", "transaction_start")
    @classmethod
    def _is_time(cls, value: str | None) -> str | None:
        if value is not None and dt.datetime.fromisoformat(value).tzinfo is None:
            raise ValueError("needs an offset, as the probes tell it")
        return value


class TerminateArguments(ActionArguments):
    """The sessions to end, as the probes tell them, and why."""

    sessions: Annotated[tuple[Session, ...], Field(min_length=1, max_length=100, strict=False)]
    reason: Reason = "they hold up the others"


class TerminateSessions(Postgres):
    """End sessions; what each had not committed is rolled back, and its client has to connect again."""

    name = "postgres.terminate-sessions"
    kind = "basic-fix"
    Arguments = TerminateArguments
    arguments: TerminateArguments

    def observe(self, context: Context) -> Observation:
        """Which of the sessions are still the ones meant."""
        with reading(context) as connection:
            where, found = server(connection), self._there(connection)
        target = Target(
            kind="postgres-sessions",
            name=where["database"],
            uid=where["uid"],
            live={"sessions": Bounds(previewed=len(found), low=1, high=len(self.arguments.sessions))},
        )
        return Observation(target, {"sessions": [_told(row) for row in found]})

    def _there(self, connection: client.Connection) -> list[dict[str, Any]]:
        wanted = self.arguments.sessions
        return every(
            connection,
            "sessions",
            pids=[session.pid for session in wanted],
            starts=[session.backend_start for session in wanted],
            transactions=[session.transaction_start for session in wanted],
        )

    def describe(self, context: Context, seen: Observation) -> Description:
        """The list of the sessions, with what each does and whom it holds up."""
        del context  # all of it was observed
        rows = seen.facts["sessions"]
        if not rows:
            raise PlanError("none of these sessions is there any more; there is nothing to end")
        other = [row for row in rows if row["kind"] != "client backend"]
        if other:
            what = other[0]["kind"] or "session that we may not see"
            raise PlanError(f"{other[0]['pid']} is a {what}; only sessions of clients are ended")
        count, freed = len(rows), sum(row["blocks"] or 0 for row in rows)
        gone = len(self.arguments.sessions) - count
        return Description(
            summary=f"End {count} session{'s' if count > 1 else ''} of {seen.target.name}: "
            + ", ".join(f"{row['pid']} ({row['application'] or row['user']}, {row['state']})" for row in rows[:5])
            + (" ..." if count > 5 else ""),
            preview={"count": count, "rows": rows, "already_gone": gone},
            expected_effect=f"{freed} session{'s' if freed != 1 else ''} waiting for them may go on; "
            f"{count} connection{'s are' if count > 1 else ' is'} free",
            blast_radius={"sessions": count},
            residual_risk="what they had not committed is lost; their clients see an error and connect again, and may "
            "do the same again",
            undo=Undo(kind="none", reason="a session that was ended cannot be brought back"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """End each, if it is still the one meant, and wait until they are gone."""
        del key  # a session that is gone cannot be ended twice
        sent: list[int] = []
        passed: list[int] = []
        with changing(context, "autocommit", statement_s=10.0) as connection:
            for session in self.arguments.sessions:
                row = one(
                    connection,
                    "terminate",
                    pid=session.pid,
                    start=session.backend_start,
                    transaction=session.transaction_start,
                )
                (sent if row is not None and row["sent"] else passed).append(session.pid)
            deadline = time.monotonic() + _GONE_S
            while left := [row["pid"] for row in self._processes(connection, sent)]:
                if time.monotonic() > deadline:
                    raise ActionFailed(f"told to end, but still there after {_GONE_S:g} s: {left}", sent=True)
                time.sleep(_STEP_S)
        if not sent:
            raise ActionFailed("none of the sessions was the one meant any more; nothing was ended", sent=False)
        return {"ended": sent, "not_the_ones_meant": passed}

    def _processes(self, connection: client.Connection, sent: list[int]) -> list[dict[str, Any]]:
        """Of the sessions told to end, those whose process is still there, whatever its transaction."""
        wanted = [session for session in self.arguments.sessions if session.pid in sent]
        return every(
            connection,
            "sessions",
            pids=[session.pid for session in wanted],
            starts=[session.backend_start for session in wanted],
            transactions=[None] * len(wanted),
        )

    def done(self, context: Context, before: Observation) -> bool:
        """Whether there were some, and none is there any more."""
        if not before.facts["sessions"]:
            return False
        with reading(context) as connection:
            return not self._there(connection)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A session as a preview shows it, in JSON types."""
    told = {name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in row.items()}
    if row["transaction_s"] is not None:
        told["transaction_s"] = round(row["transaction_s"], 1)
    told["query"] = redaction.default()(row["query"] or "")  # a statement may hold a password
    return told
