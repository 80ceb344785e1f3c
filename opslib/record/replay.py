"""A recorder that answers from the archive: a notebook that runs against it sees what the archived run saw.

It asks no platform, holds no credential, and writes nothing.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from opslib.canonical import canonical, plain
from opslib.errors import NoEvidence, ProbeError, RecorderError
from opslib.record import redaction
from opslib.record.archived import ArchivedRun
from opslib.record.client import failure
from opslib.record.serving import Answer, Operation, Served
from opslib.settings import Settings

__all__ = ["Answers", "ReplaySession", "named", "same_actions"]

_SHOWN = 200


class Answers:
    """What an archived run was answered, call by call.

    Parameters
    ----------
    archived : ArchivedRun
    redact : callable
        As when it was archived: arguments are known by what they were without secrets.

    Attributes
    ----------
    proposed : list of list of dict
        `action` and `arguments` of each action that was proposed by now.
    missing : list of str
        The calls that had no evidence.
    used : set of str
        The evidence that was asked for.
    """

    def __init__(self, archived: ArchivedRun, redact: Callable[[Any], Any]) -> None:
        self.archived = archived
        self.proposed: list[list[dict[str, Any]]] = []
        self.missing: list[str] = []
        self.used: set[str] = set()
        self._redact = redact
        self._ordinals: Counter[tuple[str, bytes]] = Counter()
        self._lock = threading.Lock()

    def see(self, probe: str, arguments: dict[str, Any]) -> Answer:
        """The archived answer of a call.

        Raises
        ------
        NoEvidence
            When the record holds none; it is remembered by name.
        ProbeError
            When the archived run could not see either.
        """
        redacted = self._redact(plain(arguments))
        key = (probe, canonical(redacted))
        with self._lock:
            self._ordinals[key] += 1
            ordinal = self._ordinals[key]
            entry = self.archived.answers.get((*key, ordinal))
            if entry is None:
                call = named(probe, redacted, ordinal)
                self.missing.append(call)
                raise NoEvidence(f"the record of {self.archived.incident} holds no answer for {call}")
            self.used.add(entry["id"])
        if not entry["ok"]:
            raise ProbeError(entry["error"], evidence=entry["id"])
        found = self.archived.answer(entry)
        return {"evidence": entry["id"], "value": found.result}, found.arrow

    def propose(self, actions: Iterable[dict[str, Any]]) -> Any:
        """The archived plan, when the same actions are proposed; another one cannot be previewed without a platform.

        Raises
        ------
        NoEvidence
            When others are proposed, or more often.
        RunbookError
            The refusal of then.
        """
        asked = [{"action": str(one.get("action")), "arguments": plain(one.get("arguments") or {})} for one in actions]
        with self._lock:
            place = len(self.proposed)
            then = self.archived.proposals[place] if place < len(self.archived.proposals) else None
            if then is not None and same_actions(asked, then.actions):
                self.proposed.append(then.actions)
                if then.refusal is not None:
                    raise failure({"type": then.refusal[0], "message": then.refusal[1]})
                return self._redact(plain(then.plan))
            self.proposed.append(asked)
            call = f"a plan of {'; '.join(named(one['action'], one['arguments'], 1) for one in asked) or 'no action'}"
            self.missing.append(call)
        raise NoEvidence(f"the record of {self.archived.incident} holds no preview for {call}")


class ReplaySession(Served):
    """Answers one notebook from the evidence of one archived run.

    Parameters
    ----------
    settings : Settings
    archived : ArchivedRun
    parameters : dict, optional
        What the notebook is told that its parameters are; those of the archived run where it is left out.
    other : bool
        Whether the notebook may be another one than the archived: the clock and randomness that it asks for beyond
        what is archived are made up, the same each time.

    Attributes
    ----------
    answers : Answers
    verdict : dict or None
        What the notebook concluded last.
    """

    def __init__(
        self,
        settings: Settings,
        archived: ArchivedRun,
        parameters: dict[str, Any] | None = None,
        *,
        other: bool = False,
    ) -> None:
        self._redact = redaction.default(settings)
        self.answers = Answers(archived, self._redact)
        self.verdict: dict[str, Any] | None = None
        self._archived = archived
        self._parameters = archived.facts["parameters"] if parameters is None else parameters
        self._other = other
        super().__init__(settings.runtime / "replay", int(archived.facts["run"]))

    def operation(self, name: str) -> Operation | None:
        """What answers requests of that name."""
        return {
            "hello": self._context,
            "context": self._context,
            "probe": self._probe,
            "now": self._now,
            "random": self._random,
            "conclude": self._conclude,
            "propose": self._propose,
            "apply": self._apply,
            "live": self._live,
        }.get(name)

    def redacted(self, text: str) -> str:
        """A text without secrets."""
        return str(self._redact(text))

    def _context(self, request: dict[str, Any]) -> Answer:
        del request
        facts = self._archived.facts
        told = {name: facts[name] for name in ("incident", "run", "platform", "runbook", "mode")}
        return plain({**told, "parameters": self._parameters, "alert": self._archived.alert, **self._platform()}), b""

    def _platform(self) -> dict[str, Any]:
        """What the archived run was told of its platform; of a record that does not say it, what was looked at."""
        session = self._archived.session
        seen = {_system(body) for body in self._archived.answers.values()} - {"clock", "random"}
        return {
            "systems": session.get("systems", sorted(seen)),
            "environment": session.get("environment", "sandbox"),
            "title": session.get("title", self._archived.facts["platform"]),
            "contacts": session.get("contacts", {}),
            **{name: session[name] for name in ("paths", "updates", "severity", "opened_at") if name in session},
            "started_at": session.get("started_at", self._begun()),
        }

    def _probe(self, request: dict[str, Any]) -> Answer:
        return self.answers.see(str(request.get("probe")), request.get("arguments") or {})

    def _now(self, request: dict[str, Any]) -> Answer:
        del request
        try:
            return self.answers.see("clock.now", {})
        except NoEvidence:
            if not self._other:
                raise
            return {"evidence": "", "value": self._begun()}, b""

    def _begun(self) -> str:
        """When the archived run looked first."""
        first = min((body["at"] for body in self._archived.answers.values()), default="1970-01-01T00:00:00Z")
        return dt.datetime.fromisoformat(first).isoformat()

    def _random(self, request: dict[str, Any]) -> Answer:
        n = request.get("n")
        try:
            return self.answers.see("random.numbers", {"n": n})
        except NoEvidence:
            if not self._other or not isinstance(n, int) or not 0 < n <= 10_000:
                raise
            generator = random.Random(f"{self._archived.incident} {n}")
            return {"evidence": "", "value": [generator.random() for _ in range(n)]}, b""

    def _conclude(self, request: dict[str, Any]) -> Answer:
        from opslib.diagnosis.verdict import Verdict

        try:
            concluded = Verdict.model_validate(request.get("verdict"))
        except ValidationError as error:
            raise RecorderError(f"the verdict does not validate: {error}") from error
        unknown = {name for cause in concluded.causes for name in cause.evidence} - self.answers.used
        if unknown:
            raise RecorderError(f"the verdict cites evidence that this run has not seen: {', '.join(sorted(unknown))}")
        verdict = self._redact(plain(concluded.model_copy(update={"plan": None}).model_dump(mode="json")))
        self.verdict = verdict
        return verdict, b""

    def _propose(self, request: dict[str, Any]) -> Answer:
        if self._archived.facts["mode"] == "observe":
            return None, b""
        return self.answers.propose(request.get("actions") or []), b""

    def _apply(self, request: dict[str, Any]) -> Answer:
        del request
        raise RecorderError("this is a replay: nothing is applied")

    def _live(self, request: dict[str, Any]) -> Answer:
        del request
        raise RecorderError("this is a replay: it asks no platform; `runbook lab --investigate INC` can go on live")


def same_actions(asked: list[dict[str, Any]], planned: list[dict[str, Any]]) -> bool:
    """Whether actions that are proposed are those of a plan, whose arguments have their defaults filled in."""
    return len(asked) == len(planned) and all(
        one["action"] == other["action"]
        and canonical({**other["arguments"], **one["arguments"]}) == canonical(other["arguments"])
        for one, other in zip(asked, planned, strict=True)
    )


def named(probe: str, arguments: dict[str, Any], ordinal: int) -> str:
    """A call as a person reads it: `redis.series(metric='var_pct')`, and the how many-th where it is not the first."""
    listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    shown = listed if len(listed) <= _SHOWN else f"{listed[:_SHOWN]}…"
    return f"{probe}({shown})" + (f", call {ordinal}" if ordinal > 1 else "")


def _system(entry: dict[str, Any]) -> str:
    """The system that a piece of evidence came from."""
    first = str(entry["probe"]).partition(".")[0]
    return str(entry["arguments"].get("system") or ("api" if first == "http" else first))
