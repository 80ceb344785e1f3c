"""How things are said: times, ages, shares, and one sentence for each entry of the journal."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from opslib.figures import changes, exact, figure, label, measured, outcome

_PLAN_WORDS = {
    "proposed": "waits for a decision",
    "approved": "approved, not yet applied",
    "rejected": "rejected",
    "expired": "expired undecided",
    "void": "void",
    "applying": "being applied",
    "verified": "applied, effect verified",
    "partial": "applied in part",
    "failed": "failed",
    "undone": "undone",
}
_RUN_WORDS = {
    "waiting": "waiting for a worker",
    "running": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "timed-out": "ran out of time",
    "cancelled": "cancelled",
    "kernel-died": "its kernel died",
    "lost": "lost: its worker is gone",
}
_ENDINGS = {
    "succeeded": "succeeded",
    "failed": "failed",
    "timed-out": "ran out of time",
    "cancelled": "was cancelled",
    "kernel-died": "ended with its kernel",
    "lost": "was lost with its worker",
}
# The tone of a state: good, busy, warn, bad or plain. A tone is a colour and a sign, never a colour alone.
_TONES = {
    "open": "bad",
    "acknowledged": "warn",
    "mitigated": "busy",
    "resolved": "good",
    "firing": "bad",
    "expired": "plain",
    "waiting": "plain",
    "running": "busy",
    "succeeded": "good",
    "failed": "bad",
    "timed-out": "bad",
    "kernel-died": "bad",
    "lost": "bad",
    "cancelled": "plain",
    "proposed": "warn",
    "approved": "busy",
    "applying": "busy",
    "verified": "good",
    "partial": "warn",
    "rejected": "plain",
    "void": "plain",
    "undone": "plain",
    "critical": "bad",
    "P0": "bad",
    "P1": "bad",
    "high": "bad",
    "warning": "warn",
    "P2": "warn",
}
_MINOR = {
    "kernel",
    "session",
    "cell-started",
    "cell-ended",
    "output",
    "evidence",
    "file",
    "alert-repeated",
    "plan-state",
}
_LONGEST = 400


def moment(value: Any) -> dt.datetime | None:
    """A time with its zone from a time or an RFC 3339 text; None for anything else."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, dt.datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


def clock(value: Any) -> str:
    """The time of day [UTC], with the date when it is not today's."""
    at = moment(value)
    if at is None:
        return "–"
    at = at.astimezone(dt.UTC)
    today = at.date() == dt.datetime.now(dt.UTC).date()
    return at.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def stamp(value: Any) -> str:
    """The whole time as RFC 3339 [UTC]."""
    at = moment(value)
    return at.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if at else ""


def span(seconds: float) -> str:
    """A duration [s] in the two largest units."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds < 600 else f"{seconds // 60:.0f} min"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 86400:.0f} d {seconds % 86400 // 3600:.0f} h"


def age(value: Any) -> str:
    """How long ago, or in how long, a time is."""
    at = moment(value)
    if at is None:
        return "–"
    seconds = (dt.datetime.now(dt.UTC) - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def between(start: Any, end: Any) -> str:
    """The time from start to end, or until now."""
    first, last = moment(start), moment(end) or dt.datetime.now(dt.UTC)
    return span((last - first).total_seconds()) if first else "–"


def percent(value: Any) -> str:
    """A share of one as per cent."""
    return f"{100 * value:.0f} %" if isinstance(value, int | float) else "–"


def tone(state: Any) -> str:
    """The tone of a state or severity."""
    return _TONES.get(str(state), "plain")


def plan_word(state: Any) -> str:
    """A plan's state in words."""
    return _PLAN_WORDS.get(str(state), str(state))


def run_word(state: Any) -> str:
    """A run's state in words."""
    return _RUN_WORDS.get(str(state), str(state))


def ending(state: Any) -> str:
    """How a run ended, to follow its name in a sentence."""
    return _ENDINGS.get(str(state), f"ended as {state}")


def spoken(key: Any) -> str:
    """A key (`single-symbol`, `kelly_fraction`) as words, without its unit."""
    return label(str(key))


def asked(arguments: Any) -> str:
    """What a probe was asked for, in a few words: the values, lists counted where they are long."""
    if not isinstance(arguments, dict):
        return figure(arguments)
    parts = []
    for name, value in arguments.items():
        if isinstance(value, list) and len(value) > 3:
            parts.append(f"{len(value)} {spoken(name)}")
        elif isinstance(value, list):
            parts.append(", ".join(map(str, value)))
        elif isinstance(value, int | float):
            parts.append(f"{spoken(name)} {figure(value)}")
        else:
            parts.append(figure(value))
    return " · ".join(part for part in parts if part)


def ward(platform: Any) -> str:
    """Where somebody's role holds: a platform, or every platform of an environment."""
    name = str(platform)
    return f"every {name.removeprefix('environment:')}" if name.startswith("environment:") else name


def doer(actor: Any) -> str:
    """Who did something: a person, or a part of the service without its host and process."""
    name = str(actor)
    return "applier" if name.startswith("applier-") else name


def instant(value: Any) -> str:
    """The moment within the day [UTC], to the millisecond."""
    at = moment(value)
    return at.astimezone(dt.UTC).strftime("%H:%M:%S.%f")[:-3] if at else "–"


def short(value: Any) -> str:
    """The first twelve characters of a hash."""
    return str(value or "")[:12]


def cut(value: Any, most: int = _LONGEST) -> str:
    """A text of at most `most` characters, saying what was cut."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}… [{len(text) - most:,} characters more]"


def minor(kind: str) -> bool:
    """Whether an entry is a detail that the short timeline leaves out."""
    return kind in _MINOR


def sentence(kind: str, body: dict[str, Any]) -> str:
    """An entry of the journal as one sentence."""
    return cut(_sentence(kind, body))


def _sentence(kind: str, body: dict[str, Any]) -> str:
    def of(name: str, default: str = "") -> str:
        value = body.get(name)
        return default if value is None else figure(value) if not isinstance(value, str) else value

    run = f"run {of('number')}" if body.get("number") is not None else "the run"

    def tail(name: str) -> str:
        return f": {of(name)}" if body.get(name) else ""

    because = tail("reason")
    match kind:
        case "incident-opened":
            return f"Incident opened{tail('title')}"
        case "alert-accepted":
            labels = body.get("labels")
            name = labels.get("alertname", "alert") if isinstance(labels, dict) else of("alertname", "alert")
            return f"Alert accepted: {name}"
        case "alert-repeated":
            return f"Alert sent again ({of('repeats', of('count', '1'))} times by now)"
        case "alert-resolved":
            return "Alert resolved by its sender"
        case "run-suppressed":
            return f"No run for {_alerts(body)}{because}"
        case "suppression-over":
            return f"Held back until now, {_alerts(body)} fires on and is examined now"
        case "storm":
            return _storm(body)
        case "look-again":
            return f"{run.capitalize()} could not tell the cause and the alert fires on: looked at again"
        case "run-queued":
            return f"{run.capitalize()} queued{tail('runbook')}"
        case "run-started":
            return f"{run.capitalize()} started{tail('runbook')}"
        case "session":
            return f"The recorder can look at {', '.join(body.get('systems') or []) or 'nothing'}"
        case "went-live":
            return f"After replaying run {of('replayed')} the platform itself is asked"
        case "kernel":
            return f"The kernel is {of('kernel')}"
        case "cell-started":
            return f"Cell {of('index', of('cell_id'))} started"
        case "cell-ended":
            return f"Cell {of('index', of('cell_id'))} {of('status')} after {of('took_s')} s"
        case "output":
            return f"Output: {of('text')}"
        case "evidence":
            seen = "" if body.get("ok", True) else f" — not seen: {of('error')}"
            return f"{of('id')} {of('probe')} {asked(body.get('arguments', ''))}: {of('took_ms')} ms{seen}"
        case "verdict":
            verdict = body.get("verdict")
            said = verdict.get("summary") or verdict.get("cause") if isinstance(verdict, dict) else None
            return f"Verdict: {said or 'recorded'}"
        case "run-ended" if body.get("began") is False and body.get("state") != "cancelled":
            return f"{run.capitalize()} ended without having begun{tail('error')}"
        case "run-ended":
            taken = f"; secrets taken out of its record: {of('redacted')}" if body.get("redacted") else ""
            return f"{run.capitalize()} {ending(body.get('state'))}{tail('error')}{taken}"
        case "file":
            return f"File written: {of('path')}"
        case "proposal-refused":
            return f"No plan was made{tail('error')}"
        case "plan-proposed":
            return f"Plan {short(body.get('hash'))} proposed{_actions(body.get('document'))}"
        case "plan-decided":
            word = {"approve": "approved", "reject": "rejected", "apply": "sent to the applier", "undo": "undone"}
            return (
                f"Plan {short(body.get('hash'))} {word.get(of('decision'), of('decision'))} by {of('person')}"
                f" ({of('role')}){because}"
            )
        case "plan-break-glass":
            passed = body.get("skipped")
            told = ", ".join(map(str, passed)) if isinstance(passed, list) else figure(passed)
            return (
                f"THE GLASS WAS BROKEN: plan {short(body.get('hash'))} approved by {of('person')} ({of('role')}) alone,"
                f" although {told}{because}"
            )
        case "plan-state":
            return f"Plan {short(body.get('hash'))}: {plan_word(body.get('state'))}{because}"
        case "apply-started":
            return f"Plan {short(body.get('hash'))} is being applied"
        case "apply-ended":
            return f"Plan {short(body.get('hash'))}: {plan_word(body.get('state'))}{because}"
        case "acknowledged":
            return f"Acknowledged{tail('text')}"
        case "escalated":
            return f"Escalated to {of('level')}, {of('who')} ({of('how')}){tail('text')}"
        case "note":
            return f"Note: {of('text')}"
        case "resolved":
            return f"Resolved{tail('text')}"
        case "intake-problem":
            kept = "; its body is kept" if body.get("kept") else ""
            return f"A message could not be understood{tail('problem')} ({of('sender')}, {of('bytes')} bytes{kept})"
        case "plan-refused":
            return f"Refused: {of('person')} ({of('role')}), {of('decision')} plan {short(body.get('hash'))}{because}"
        case "plan-waits":
            reasons = body.get("standing_approvals")
            told = "; ".join(map(str, reasons)) if isinstance(reasons, list) else figure(reasons)
            return f"Plan {short(body.get('hash'))} waits for a person, since no standing approval covers it: {told}"
        case "hold-placed":
            return f"Applies are on hold on {of('platform', 'every platform')}{because}"
        case "hold-released":
            return f"The hold on {of('platform', 'every platform')} is released by {of('released_by', of('person'))}"
        case "record-altered":
            told = "is gone" if body.get("found") is None else "was put there by somebody else"
            told = told if body.get("expected") is None or body.get("found") is None else "is not as it was written"
            return f"THE RECORD WAS ALTERED: {of('file')} {told}"
        case "record-restored":
            return f"THE RECORD WAS ALTERED: {of('file')} was not as it was written, and is written again{tail('why')}"
        case "file-found":
            return f"A file without an entry of its own was found and taken into the record: {of('path')}"
        case "cancel-requested":
            return f"{of('person')} asks the run to end{because}"
    return f"{spoken(kind).capitalize()}: {json.dumps(body, ensure_ascii=False)}"


def _alerts(body: dict[str, Any]) -> str:
    """One alert, or a group of several."""
    count = body.get("count", 1)
    return "an alert" if count == 1 else f"a group of {count} alerts"


def _storm(body: dict[str, Any]) -> str:
    """What waits, in a storm."""
    lanes, runs = body.get("lanes"), body.get("runs")
    by_lane = ", ".join(f"{count} {name}" for name, count in lanes.items()) if isinstance(lanes, dict) else ""
    next_ = [f"{run.get('incident')} {run.get('runbook')}" for run in runs[:3]] if isinstance(runs, list) else []
    oldest = body.get("oldest_s")
    waited = span(oldest) if isinstance(oldest, int | float) else "–"
    named = f"; next: {', '.join(next_)}" if next_ else ""
    return f"{body.get('waiting')} runs wait ({by_lane}), the oldest for {waited}{named}. Alerts are accepted on."


def _actions(document: Any) -> str:
    """What a plan would do, after a colon; nothing where its document tells none."""
    try:
        actions = (json.loads(document) if isinstance(document, str) else document)["actions"]
        return ": " + "; ".join(str(action["summary"]) for action in actions)
    except (KeyError, TypeError, ValueError):
        return ""


FILTERS = {
    "age": age,
    "asked": asked,
    "changes": changes,
    "clock": clock,
    "cut": cut,
    "doer": doer,
    "ending": ending,
    "exact": exact,
    "figure": figure,
    "instant": instant,
    "measured": measured,
    "outcome": outcome,
    "percent": percent,
    "plan_word": plan_word,
    "run_word": run_word,
    "short": short,
    "spoken": spoken,
    "stamp": stamp,
    "tone": tone,
    "ward": ward,
}
