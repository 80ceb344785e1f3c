"""A post-mortem out of the record: timeline, cause, fix; each sentence names the entries and the evidence it rests on.

`[J12]` is entry 12 of the journal, `[E003]` a piece of evidence. What no record can know is left open for a person.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import jinja2

from opslib.errors import NotFound
from opslib.incidents import wording

__all__ = ["TEMPLATES", "PostMortem", "Sentence", "Template", "gather", "render"]

Template = Literal["000", "001", "003", "004"]
TEMPLATES: tuple[Template, ...] = ("000", "001", "003", "004")
Entry = Mapping[str, Any]
_LEFT_OUT = {"plan-waits", "suppression-over", "intake-problem", "run-queued", "proposal-refused"}


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it rests on."""

    text: str
    rests_on: tuple[str, ...]

    def __str__(self) -> str:
        """The sentence with its references in brackets before its full stop."""
        return f"{self.text.rstrip('.')} [{', '.join(self.rests_on)}]."


@dataclass
class PostMortem:
    """What a record tells of an incident.

    Attributes
    ----------
    incident, title, platform, severity : str
    verified : str
        `intact`, or `open` where something goes on that is not sealed yet.
    began, ended : datetime, datetime or None
        First alert, or opening; the last alert's end, or closing.
    summary : Sentence
    milestones : list of (str, str, str)
        What, time of day [UTC], reference; a dash where it did not happen.
    timeline : list of (str, Sentence)
        Time of day [UTC], and what happened.
    cause, ruled_out, unseen, fix, risk : list of Sentence
    evidence : list of (str, str)
        Each reference and where it is in the record.
    """

    incident: str
    title: str
    platform: str
    severity: str
    verified: str
    began: dt.datetime
    ended: dt.datetime | None
    summary: Sentence
    milestones: list[tuple[str, str, str]] = field(default_factory=list)
    timeline: list[tuple[str, Sentence]] = field(default_factory=list)
    cause: list[Sentence] = field(default_factory=list)
    ruled_out: list[Sentence] = field(default_factory=list)
    unseen: list[Sentence] = field(default_factory=list)
    fix: list[Sentence] = field(default_factory=list)
    risk: list[Sentence] = field(default_factory=list)
    evidence: list[tuple[str, str]] = field(default_factory=list)

    @property
    def duration(self) -> str:
        """How long it lasted."""
        return "not over yet" if self.ended is None else wording.span((self.ended - self.began).total_seconds())


def gather(entries: Sequence[Entry], verified: str) -> PostMortem:
    """What the journal of one record tells.

    Parameters
    ----------
    entries : sequence of mapping
        The whole journal, in order.
    verified : str
        What `verify` said of the record.

    Raises
    ------
    NotFound
        When the journal does not begin with the opening of an incident.
    """
    opening = next((entry for entry in entries if entry["kind"] == "incident-opened"), None)
    if opening is None:
        raise NotFound("the journal does not tell how the incident began; `runbook verify` says what is wrong with it")
    body = opening["body"]
    first = _of(entries, "alert-accepted")
    last = _last(entries, "resolved") if _last(entries, "alert-resolved") is None else _last(entries, "alert-resolved")
    over = last is not None and not any(
        entry["kind"] == "alert-accepted" and entry["seq"] > last["seq"] for entry in entries
    )
    found = PostMortem(
        incident=str(opening["incident"]),
        title=str(body["title"]),
        platform=str(body["platform"]),
        severity=str(body.get("severity") or "not told"),
        verified=verified,
        began=_at(first or opening),
        ended=_at(last) if last is not None and over else None,
        summary=_summary(entries, opening),
    )
    found.timeline = [*_timeline(entries)]
    found.milestones = [*_milestones(entries)]
    for run in _runs(entries):
        _conclude(found, run)
    found.fix = [*_fix(entries)]
    found.risk = [*_risk(entries)]
    found.evidence = [*_evidence(found, entries)]
    return found


def render(found: PostMortem, template: Template) -> str:
    """The post-mortem in Markdown, laid out as one of the seeds has it."""
    return _templates().get_template(f"postmortem-{template}.md").render(pm=found)


@cache
def _templates() -> jinja2.Environment:
    def load(name: str) -> str:
        return files("opslib.incidents").joinpath("templates", name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown; what comes from outside is escaped by the filter `said`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["said"] = lambda value: _plain(str(value))
    environment.filters["stamp"] = wording.stamp
    return environment


def _plain(text: str) -> str:
    """A text from outside as one line that Markdown and a table show as it is."""
    line = re.sub(r"([\\`*|]|(?<=\])\()", r"\\\1", " ".join(text.split()))
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", line)


def _timeline(entries: Iterable[Entry]) -> Iterator[tuple[str, Sentence]]:
    for entry in entries:
        if wording.minor(entry["kind"]) or entry["kind"] in _LEFT_OUT:
            continue
        rests_on = (_mark(entry), *(_cited(entry["body"]["verdict"]) if entry["kind"] == "verdict" else ()))
        said = wording.sentence(entry["kind"], entry["body"])
        yield _clock(entry), Sentence(f"{wording.doer(entry['actor'])}: {said}", rests_on)


def _milestones(entries: Sequence[Entry]) -> Iterator[tuple[str, str, str]]:
    restored = _last(entries, "alert-resolved")
    closed = _last(entries, "resolved")
    for what, entry in (
        ("Alert triggered", _of(entries, "alert-accepted", "incident-opened")),
        ("Response began", _of(entries, "acknowledged", "run-started")),
        ("Root cause identified", _of(entries, "verdict")),
        ("Fix applied", _of(entries, "apply-started")),
        ("Service restored", restored),
        ("Incident closed", closed),
    ):
        yield (what, _clock(entry), _mark(entry)) if entry is not None else (what, "–", "not on the record")


def _summary(entries: Sequence[Entry], opening: Entry) -> Sentence:
    """What the alert said, else what a person opened."""
    accepted = _of(entries, "alert-accepted")
    alerts = (accepted or {}).get("body", {}).get("alerts") or []
    said = next((alert["annotations"].get("summary") for alert in alerts if alert.get("annotations")), None)
    if accepted is not None and said:
        return Sentence(str(said), (_mark(accepted),))
    return Sentence(f"{opening['body']['title']}, opened by {opening['body']['opened_by']}", (_mark(opening),))


def _runs(entries: Iterable[Entry]) -> list[Entry]:
    """The last verdict of each run."""
    return [*{entry["body"]["run"]: entry for entry in entries if entry["kind"] == "verdict"}.values()]


def _conclude(found: PostMortem, entry: Entry) -> None:
    """Add what one verdict says."""
    verdict = entry["body"]["verdict"]
    mark = _mark(entry)
    found.cause.append(Sentence(verdict["summary"], (mark, *_cited(verdict))))
    for cause in verdict["causes"]:
        told = Sentence(
            f"{cause['key']} ({100 * cause['likelihood']:.0f} %): {cause['because']}", (mark, *cause["evidence"])
        )
        (found.cause if cause["likelihood"] > 0.5 else found.ruled_out).append(told)
    found.unseen += [Sentence(f"Not seen: {item}", (mark,)) for item in verdict["unseen"]]


def _fix(entries: Sequence[Entry]) -> Iterator[Sentence]:
    """What was done, who decided it, and what came of it."""
    applied = [entry["body"]["hash"] for entry in entries if entry["kind"] == "apply-started"]
    for entry in entries:
        name = entry["body"].get("hash")
        if name not in applied:
            continue
        if entry["kind"] == "plan-proposed":
            for action in entry["body"]["document"]["actions"]:
                yield Sentence(f"{action['summary']}; expected: {action['expected_effect']}", (_mark(entry),))
        elif entry["kind"] in ("plan-decided", "plan-break-glass", "apply-ended"):
            yield Sentence(wording.sentence(entry["kind"], entry["body"]), (_mark(entry),))
    if not applied:
        yield Sentence("No plan was applied", (f"J1–J{entries[-1]['seq']}",))


def _risk(entries: Iterable[Entry]) -> Iterator[Sentence]:
    """What stayed at risk after the plans that were applied."""
    entries = list(entries)
    applied = [entry["body"]["hash"] for entry in entries if entry["kind"] == "apply-started"]
    for entry in entries:
        if entry["kind"] == "plan-proposed" and entry["body"]["hash"] in applied:
            for action in entry["body"]["document"]["actions"]:
                yield Sentence(
                    f"After {action['action']}: {action['residual_risk'] or 'nothing known'}", (_mark(entry),)
                )


def _evidence(found: PostMortem, entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Where each piece of evidence that is cited lies, and what it answers."""
    sentences = [found.summary, *found.cause, *found.ruled_out, *found.unseen, *found.fix, *found.risk]
    sentences += [sentence for _, sentence in found.timeline]
    cited = {name for sentence in sentences for name in sentence.rests_on}
    for entry in entries:
        body = entry["body"]
        if entry["kind"] == "evidence" and body["id"] in cited:
            asked = f"{body['probe']} {wording.asked(body['arguments'])}"
            yield body["id"], f"{body['file']}, SHA-256 {body['sha256'][:16]}…, at {body['at']}: {asked}"


def _cited(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for cause in verdict["causes"] for name in cause["evidence"]))


def _of(entries: Iterable[Entry], *kinds: str) -> Entry | None:
    """The first entry of the first of these kinds that there is."""
    entries = list(entries)
    return next((entry for kind in kinds for entry in entries if entry["kind"] == kind), None)


def _last(entries: Sequence[Entry], kind: str) -> Entry | None:
    return _of([*reversed(entries)], kind)


def _mark(entry: Entry) -> str:
    return f"J{entry['seq']}"


def _at(entry: Entry) -> dt.datetime:
    return dt.datetime.fromisoformat(str(entry["at"]))


def _clock(entry: Entry) -> str:
    return f"{_at(entry).astimezone(dt.UTC):%H:%M:%S}"
