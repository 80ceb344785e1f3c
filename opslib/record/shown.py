"""What a notebook is told of its run and of the plans that it proposes."""

from __future__ import annotations

import datetime as dt
from html import escape
from typing import Any

from opslib import figures

_TOLD = ("measure", "unit", "before", "after", "limit", "rows")  # of a preview: in a line of their own


class Context:
    """The run that the notebook is part of.

    Attributes
    ----------
    incident, run, platform, runbook, mode : str
    parameters : dict
        As resolved and validated.
    alert : dict
        As delivered, redacted; empty for a run by hand.
    systems : tuple of str
        What the platform has: `api`, `redis`, `prometheus`.
    environment : str
        production, staging or sandbox.
    contacts : dict
        Whom to call, by level of authority: `who`, `how`, `within`.
    paths : dict
        By runbook, or runbook and cause: which level is called so many minutes after the incident was opened.
    updates : dict
        By severity: how often those who wait hear more [min].
    severity : str
        Of the incident; empty in a record that does not tell it.
    opened_at, started_at : datetime or None
        When the incident was opened and the run began [UTC]; None in a record that does not tell it.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.incident: str = facts["incident"]
        self.run: int = facts["run"]
        self.platform: str = facts["platform"]
        self.runbook: str = facts["runbook"]
        self.mode: str = facts["mode"]
        self.parameters: dict[str, Any] = facts["parameters"]
        self.alert: dict[str, Any] = facts.get("alert") or {}
        self.systems: tuple[str, ...] = tuple(facts["systems"])
        self.environment: str = facts["environment"]
        self.contacts: dict[str, dict[str, str]] = facts.get("contacts") or {}
        self.paths: dict[str, dict[str, float]] = facts.get("paths") or {}
        self.updates: dict[str, float] = facts.get("updates") or {}
        self.severity: str = facts.get("severity") or ""
        self.opened_at: dt.datetime | None = _moment(facts.get("opened_at"))
        self.started_at: dt.datetime | None = _moment(facts.get("started_at"))

    def __repr__(self) -> str:
        """One line: incident, runbook, platform, mode."""
        return f"{self.incident}, run {self.run}: {self.runbook} on {self.platform} ({self.environment}), {self.mode}"

    def _repr_html_(self) -> str:
        facts = {
            "Run": repr(self),
            "Can look at": ", ".join(self.systems) or "nothing",
            "Parameters": _facts(self.parameters),
            "Alert": _facts(self.alert.get("labels") or {}),
        }
        return _listed(facts)


class Plan(dict[str, Any]):
    """A plan as proposed: what would change, what that does, who may approve it. Nothing has been changed."""

    @property
    def hash(self) -> str:
        """What an approval names."""
        return str(self["hash"])

    @property
    def state(self) -> str:
        """The state when it was proposed."""
        return str(self["state"])

    @property
    def actions(self) -> list[dict[str, Any]]:
        """The actions, in the order in which they are applied."""
        return list(self.get("actions") or [])

    @property
    def summary(self) -> str:
        """What would be done, in one line."""
        return "; ".join(str(action.get("summary") or action["action"]) for action in self.actions)

    @property
    def authority(self) -> str:
        """Who may approve it at least: the highest authority of its actions."""
        return max((str(action.get("authority")) for action in self.actions), default="L1")

    @property
    def risk(self) -> str:
        """What stays at risk with it, or is lost by it."""
        risks = [str(action.get("residual_risk") or "") for action in self.actions]
        return "; ".join(dict.fromkeys(risk for risk in risks if risk)) or "nothing known"

    @property
    def shows(self) -> str:
        """When its effect is there at the latest."""
        spans = [action.get("effect_within_s") for action in self.actions]
        known = [float(span) for span in spans if isinstance(span, int | float)]
        return f"within {_span(max(known))}" if known else "at a time that is not known"

    def __repr__(self) -> str:
        """The plan in a few lines."""
        lines = [f"plan {self.hash[:12]}: {self.state}, expires {_clock(self.get('expires_at'))}"]
        for action in self.actions:
            lines.append(f"  {action.get('summary') or action['action']}")
            lines.append(f"    expected: {action.get('expected_effect', '')} (within {_seconds(action)})")
            undo = action.get("undo") or {}
            taken_back = f"{undo.get('kind', 'none')} ({undo.get('reason', '')})"
            lines.append(f"    authority {action.get('authority')}; undo: {taken_back}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [
            f"<p><b>Plan <code>{escape(self.hash[:12])}</code></b>: {escape(self.state)}, expires "
            f"{escape(_clock(self.get('expires_at')))}. Nothing has been changed yet.</p>"
        ]
        for action in self.actions:
            preview: dict[str, Any] = action.get("preview") or {}
            parts.append(f"<p><b>{escape(str(action.get('summary') or action['action']))}</b>")
            parts.append(f"<br>{escape(figures.effect(preview))}</p>" if figures.effect(preview) else "</p>")
            parts.append(_changes(preview))
            facts = {
                "Expected": f"{action.get('expected_effect', '')}; within {_seconds(action)}",
                "Touches": figures.touched(action.get("blast_radius") or {}),
                "Stays at risk": str(action.get("residual_risk") or "nothing known"),
                "Who may approve": f"{action.get('authority')} or above",
                "Undo": _undo(action),
            }
            if not preview.get("rows"):
                facts["Preview"] = _facts({name: value for name, value in preview.items() if name not in _TOLD})
            parts.append(_listed(facts))
        return "".join(parts)


def _moment(value: Any) -> dt.datetime | None:
    """The time of an RFC 3339 text."""
    return dt.datetime.fromisoformat(value) if isinstance(value, str) and value else None


def _listed(facts: dict[str, str]) -> str:
    """Facts as a table without a head; those that say nothing are left out."""
    rows = "".join(
        f"<tr><th style='text-align:left;white-space:nowrap'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in facts.items()
        if text
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _changes(preview: dict[str, Any]) -> str:
    """The preview's rows as a table: what goes from where to where."""
    table = figures.changes(preview)
    if not table.rows:
        return ""
    left, right = "style='text-align:left'", "style='text-align:right;white-space:nowrap'"
    heads = [f"<th {left}>{escape(name)}</th>" for name in table.plain]
    heads += [f"<th {right}>{escape(name)}</th>" for name in table.pairs]
    lines = []
    for plain, pairs in table.rows:
        cells = [f"<td {left}>{escape(_short(text))}</td>" for text in plain]
        cells += [f"<td {right}>{escape(now)} → <b>{escape(after)}</b></td>" for now, after in pairs]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _facts(value: Any) -> str:
    """Facts in one line, with units and without brackets: `spread 0.4 %, rows 12`."""
    if isinstance(value, dict):
        words = {name: figures.label(name) if name.isidentifier() else name for name in value}
        return ", ".join(
            f"{words[name]} {_facts(item) if isinstance(item, dict | list) else figures.measured(name, item)}"
            for name, item in value.items()
        )
    if isinstance(value, list):
        return ", ".join(_facts(item) for item in value)
    return "" if value is None else figures.figure(value)


def _short(text: str) -> str:
    """A time to the second; every other text as it is."""
    try:
        return f"{dt.datetime.fromisoformat(text):%H:%M:%S}" if len(text) > len("2026-01-05T12:00") else text
    except ValueError:
        return text


def _clock(value: Any) -> str:
    """The time of day of an RFC 3339 text."""
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return "at an unknown time"
    return f"at {moment.astimezone(dt.UTC):%H:%M:%S} UTC"


def _seconds(action: dict[str, Any]) -> str:
    within = action.get("effect_within_s")
    return _span(within) if isinstance(within, int | float) else "an unknown time"


def _span(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _undo(action: dict[str, Any]) -> str:
    undo = action.get("undo") or {}
    kind = str(undo.get("kind", "none"))
    return f"{'not possible' if kind == 'none' else 'possible'}: {undo.get('reason', '')}"
