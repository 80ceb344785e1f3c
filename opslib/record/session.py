"""A recorder's session: what one run may ask, over a socket of its own with a name that cannot be guessed."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from opslib import platforms, probes, store
from opslib.canonical import canonical, plain, storable
from opslib.errors import (
    ConfigurationError,
    NoEvidence,
    NotFound,
    ProbeError,
    RecorderError,
    RunbookError,
    StoreError,
)
from opslib.record import archive, archived, declared, evidence, journal, redaction, spool
from opslib.record.looks import Looks
from opslib.record.replay import Answers
from opslib.record.serving import Answer, Operation, Served
from opslib.settings import Settings
from opslib.sql import queries

ACTOR = "recorder"
_MOST_NUMBERS = 10_000
_AGAIN_S = 5.0
_log = structlog.get_logger("opslib.recorder")


@dataclass(frozen=True)
class Subject:
    """The run that a session serves; `alert` is the alert as delivered, redacted.

    `replays` is the number of an earlier run of the same incident, whose evidence answers until `ops.live()`.
    """

    incident: str
    run: int
    platform: str
    runbook: str
    mode: str
    parameters: dict[str, Any] = field(default_factory=dict)
    alert: dict[str, Any] | None = None
    replays: int | None = None


class Scribe:
    """Writes journal entries over one connection; into the spool while the database is away.

    Within `with kept:` it is made with a connection that was kept, and gives it back when it is closed.
    """

    def __init__(self, settings: Settings, incident: str) -> None:
        self._settings = settings
        self._incident = incident
        self._connection: store.Connection | None = None
        self._kept = store.kept_in_use()
        self._away_until = 0.0

    def write(
        self,
        kind: str,
        body: Mapping[str, Any],
        at: dt.datetime | None = None,
        also: Callable[[store.Connection], object] | None = None,
    ) -> None:
        """Write one entry, and what belongs into the same transaction.

        Raises
        ------
        RecordError
            When neither the database nor the spool can be written.
        """
        at = at or dt.datetime.now(dt.UTC)
        if time.monotonic() >= self._away_until:
            try:
                spool.drain(self._settings, self._incident)
                connection = self._open()
                with connection.transaction():
                    journal.append(connection, self._incident, kind, body, actor=ACTOR, at=at, settings=self._settings)
                    if also is not None:
                        also(connection)
            except (StoreError, psycopg.OperationalError) as error:
                _log.warning("the database is away; the journal is spooled", incident=self._incident, why=str(error))
                self.close()
                self._away_until = time.monotonic() + _AGAIN_S
            else:
                return
        redacted = redaction.default(self._settings)(plain(dict(body)))
        spool.add(self._settings, self._incident, kind, redacted, actor=ACTOR, at=at)

    def _open(self) -> store.Connection:
        if self._connection is None or self._connection.closed:
            found = self._kept and self._kept.take(self._settings, "worker", autocommit=True)
            self._connection = found or store.connect(self._settings, autocommit=True)
        return self._connection

    def read(self, query: str, **values: Any) -> dict[str, Any] | None:
        """One row, or None where there is none or the database is away."""
        try:
            return self._open().execute(query, values).fetchone()
        except (StoreError, psycopg.OperationalError):
            self.close()
            return None

    def close(self) -> None:
        """Give the connection back, or close it."""
        connection, self._connection = self._connection, None
        if connection is not None and not (self._kept and self._kept.keep(self._settings, "worker", connection)):
            connection.close()


class Session(Served):
    """Serves one run until it is closed.

    Parameters
    ----------
    settings : Settings
    subject : Subject

    Attributes
    ----------
    path : Path
        The socket; whoever knows its name may ask, and gets results alone.

    Raises
    ------
    ConfigurationError
        When the platform's file does not validate.
    NotFound
        When there is no such incident.
    """

    def __init__(self, settings: Settings, subject: Subject) -> None:
        self.settings = settings
        self.subject = subject
        self._platform = platforms.load(settings, subject.platform)
        self._started_at = dt.datetime.now(dt.UTC)
        self._declared = declared.of(settings, subject.runbook, subject.mode)
        self._scribe = Scribe(settings, subject.incident)
        with store.transaction(settings) as connection:
            row = connection.execute(queries("journal").incident, {"incident": subject.incident}).fetchone()
            if row is None:
                raise NotFound(f"there is no incident {subject.incident}")
            pieces = connection.execute(queries("journal").evidence, {"incident": subject.incident}).fetchall()
            self._incident = {"severity": row["severity"], "opened_at": row["opened_at"].isoformat()}
            told = {"run": subject.run, **self._systems()}  # for a replay, which asks no platform
            journal.append(connection, subject.incident, "session", told, actor=ACTOR, settings=settings)
            journal.export(connection, settings, subject.incident)  # tells `verify` whose folder this is
        self._folder = archive.folder(settings, row)
        self._least = len(pieces)
        self._seen = {str(piece["id"]) for piece in pieces if piece["run"] == subject.run}
        self._closed = False
        self._redact = redaction.default(settings)
        self._looks = Looks(settings.probe_budget_s)
        self._ordinals: Counter[tuple[str, bytes]] = Counter()
        self._lock = threading.Lock()
        self._then = self._archived()
        super().__init__(settings.runtime / "ops", subject.run)

    def _archived(self) -> Answers | None:
        """The answers of the run that this one replays first.

        Raises
        ------
        NotFound
            When the record holds no such run.
        """
        if self.subject.replays is None:
            return None
        for run in archived.runs_in(self._folder):
            if run.facts["number"] == self.subject.replays:
                return Answers(run, self._redact)
        raise NotFound(f"{self.subject.incident} has no run {self.subject.replays} that has ended")

    def operation(self, name: str) -> Operation | None:
        """What answers requests of that name."""
        found = _OPERATIONS.get(name)
        return None if found is None else found.__get__(self)

    def redacted(self, text: str) -> str:
        """A text without secrets."""
        return str(self._redact(text))

    def close(self) -> None:
        """Serve no longer: what is still being looked at leaves no trace any more."""
        with self._lock:  # before anybody can notice the end, so that nothing is written after it was noticed
            self._closed = True
            self._scribe.close()
        super().close()

    def _must_be_open(self) -> None:
        """Raise when the session has ended; the caller holds the lock."""
        if self._closed:
            raise RecorderError("the run has ended; nothing more goes on its record")

    def _context(self, request: dict[str, Any]) -> Answer:
        del request
        return {**plain(asdict(self.subject)), **self._systems()}, b""

    def _systems(self) -> dict[str, Any]:
        try:
            declared = self._platform.declared()
        except ConfigurationError:
            declared = {}
        systems = sorted(name for name, url in declared.items() if url and not name.endswith(("_admin", "_preview")))
        return {
            "systems": systems,
            "environment": self._platform.environment,
            "title": self._platform.title,
            "contacts": {level: contact.model_dump() for level, contact in self._platform.contacts.items()},
            "paths": self._platform.paths_of(self.subject.runbook),
            "updates": self._platform.updates,
            **self._incident,
            "started_at": self._started_at.isoformat(),
        }

    def _probe(self, request: dict[str, Any]) -> Answer:
        arguments = request.get("arguments") or {}
        name = str(request.get("probe"))

        def look() -> Any:
            system = self._declared.system(name, arguments)
            return self._looks.within(system, name, lambda: self._call(system, name, arguments))

        return self._see(name, arguments, look)

    def _call(self, system: str, name: str, arguments: dict[str, Any]) -> Any:
        try:
            url = self._platform.endpoint(system, role="recorder")
        except ConfigurationError as error:
            raise ProbeError(str(error), system=system) from error
        redaction.learn(url)
        commands = self._declared.commands if system == "kubernetes" else {}
        return probes.call(name, probes.Target(system, url, commands, self.subject.incident), arguments)

    def _now(self, request: dict[str, Any]) -> Answer:
        del request
        return self._see("clock.now", {}, lambda: dt.datetime.now(dt.UTC))

    def _random(self, request: dict[str, Any]) -> Answer:
        n = request.get("n")
        if not isinstance(n, int) or not 0 < n <= _MOST_NUMBERS:
            raise RecorderError(f"ask for 1 to {_MOST_NUMBERS:,} random numbers")
        generator = random.SystemRandom()
        return self._see("random.numbers", {"n": n}, lambda: [generator.random() for _ in range(n)])

    def _see(self, name: str, arguments: dict[str, Any], look: Callable[[], Any]) -> Answer:
        """Look, put what was seen into the record, and hand out exactly that; what is replayed is there already."""
        if self._then is not None:
            return self._seen_then(self._then, name, arguments)
        redacted, cut = self._redact.counted(plain(arguments))
        key = (name, canonical(redacted))
        with self._lock:
            self._ordinals[key] += 1
            ordinal = self._ordinals[key]
        at, start = dt.datetime.now(dt.UTC), time.perf_counter()
        outcome: Any
        try:
            outcome = look()
        except ProbeError as error:
            outcome = error
        except Exception as error:
            _log.exception("a probe failed", run=self.subject.run, probe=name)
            outcome = ProbeError(f"{name} failed: {type(error).__name__}: {error}")
        took_ms = (time.perf_counter() - start) * 1000
        subject = self.subject
        call = evidence.Call(subject.incident, subject.run, name, redacted, ordinal, at, took_ms, cut)
        with self._lock:
            self._must_be_open()
            seen = evidence.write(self._folder, call, outcome, self._redact, self._least)
            self._least = int(seen.entry["id"][1:])
            self._seen.add(seen.entry["id"])
            self._scribe.write("evidence", seen.entry, at)
        if not seen.entry["ok"]:
            raise ProbeError(seen.entry["error"], evidence=seen.entry["id"])
        return {"evidence": seen.entry["id"], "value": seen.result}, seen.arrow

    def _seen_then(self, then: Answers, name: str, arguments: dict[str, Any]) -> Answer:
        """What the run that is replayed was answered."""
        with self._lock:
            self._must_be_open()
        try:
            answer = then.see(name, arguments)
        except NoEvidence as error:
            raise NoEvidence(f"{error}; `ops.live()` goes on with the platform itself") from error
        finally:
            self._seen |= then.used
        return answer

    def _live(self, request: dict[str, Any]) -> Answer:
        """From now on look at the platform itself; on the record."""
        del request
        if self.subject.mode != "interactive":
            raise RecorderError("a run of a playbook looks at the platform anyway")
        with self._lock:
            self._must_be_open()
            if self._then is not None:
                self._then = None
                self._scribe.write("went-live", {"run": self.subject.run, "replayed": self.subject.replays})
        return None, b""

    def _conclude(self, request: dict[str, Any]) -> Answer:
        from opslib.diagnosis.verdict import Verdict

        try:
            concluded = Verdict.model_validate(request.get("verdict"))
        except ValidationError as error:
            raise RecorderError(f"the verdict does not validate: {error}") from error
        # The plan of a run is the one that it proposed, never what its notebook says of one.
        verdict = self._redact(plain(concluded.model_copy(update={"plan": None}).model_dump(mode="json")))
        values = {"run": self.subject.run, "verdict": Jsonb(storable(verdict))}

        def keep(connection: store.Connection) -> None:
            if connection.execute(queries("journal").set_verdict, values).fetchone() is None:
                raise RecorderError("the run has ended; its verdict stands")

        with self._lock:
            self._must_be_open()
            unknown = {name for cause in concluded.causes for name in cause.evidence} - self._seen
            if unknown:
                cited = ", ".join(sorted(unknown))
                raise RecorderError(f"the verdict cites evidence that this run has not seen: {cited}")
            self._scribe.write("verdict", {"run": self.subject.run, "verdict": verdict}, also=keep)
        return verdict, b""

    def _propose(self, request: dict[str, Any]) -> Answer:
        from opslib.actions import plans

        if self.subject.mode == "observe":
            return None, b""
        with self._lock:
            self._must_be_open()
        actions = request.get("actions") or []
        if self._then is not None:
            return self._then.propose(actions), b""
        try:
            self._declared.check(str(one.get("action")) for one in actions)
            with store.transaction(self.settings) as connection:
                plan = plans.propose(
                    self.settings,
                    connection,
                    run_id=self.subject.run,
                    actions=actions,
                    reason=str(request.get("reason") or ""),
                    platform=self._platform,
                )
        except RunbookError as error:
            why = {"type": type(error).__name__, "error": str(error)}
            with self._lock:
                self._must_be_open()
                self._scribe.write("proposal-refused", {"run": self.subject.run, "actions": plain(actions), **why})
            raise
        return self._redact(plain(plan.as_json())), b""

    def _apply(self, request: dict[str, Any]) -> Answer:
        from opslib import people
        from opslib.actions import approval

        if self.subject.mode != "interactive":
            raise RecorderError(
                "a playbook proposes and never applies; a person applies from JupyterLab or the console"
            )
        redaction.learn(str(request.get("token")))
        with store.connect(self.settings) as connection:
            person = people.authenticate(connection, str(request.get("token")))
        plan = approval.apply(self.settings, str(request.get("hash")), person, incident=self.subject.incident)
        return self._redact(plain(plan.as_json())), b""


_OPERATIONS: dict[str, Callable[[Session, dict[str, Any]], Answer]] = {
    "hello": Session._context,
    "context": Session._context,
    "probe": Session._probe,
    "now": Session._now,
    "random": Session._random,
    "conclude": Session._conclude,
    "propose": Session._propose,
    "apply": Session._apply,
    "live": Session._live,
}
