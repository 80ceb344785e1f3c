"""The record of an apply: a notebook and its page with before, what was done, after and the firing check."""

# nbformat has no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opslib.actions.documents import Plan
from opslib.canonical import file_digest
from opslib.figures import heading, label, measured
from opslib.incidents.wording import stamp
from opslib.record import archive, remote
from opslib.runs import html as pages
from opslib.runs.formats import NotebookNode, nbformat, v4
from opslib.settings import Settings

_BEFORE, _AFTER, _LIMIT = "#E69F00", "#0072B2", "#000000"  # told apart by the colour-blind


def warm() -> None:
    """Load what drawing and page writing need, which takes seconds, before it is needed."""
    check = {"by": {"": 1.0}, "value": 1.0, "limit": 1.0, "unit": "", "measure": ""}
    cell = _picture({"check_before": check, "check": check})
    pages.render(v4.new_notebook(cells=[] if cell is None else [cell]))


def write(
    settings: Settings,
    incident: Mapping[str, Any],
    plan: Plan,
    result: Mapping[str, Any],
    *,
    state: str,
    reason: str,
    decisions: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Write `NN-apply.ipynb` and `.html` into the incident's folder.

    Parameters
    ----------
    settings : Settings
    incident : mapping
        A row of `incidents`.
    plan : Plan
    result : mapping
        What the applier saw and did: number, before, steps, after, check.
    state, reason : str
        What became of the plan, and why.
    decisions : sequence of mapping
        Who decided what about it.

    Returns
    -------
    list of dict
        `path` (within the folder) and `sha256` of each file.

    Raises
    ------
    RecordError
        When a file cannot be written.
    """
    folder = archive.folder(settings, incident)
    stem = f"{int(result['number']):02d}-apply"
    document = notebook(plan, result, state=state, reason=reason, decisions=decisions)
    written = [
        archive.write_atomic(folder / f"{stem}.ipynb", (nbformat.writes(document) + "\n").encode()),
        archive.write_atomic(folder / f"{stem}.html", pages.render(document).encode()),
    ]
    remote.try_to_push(settings, incident["folder"])
    return [{"path": path.name, "sha256": file_digest(Path(path))} for path in written]


def notebook(
    plan: Plan,
    result: Mapping[str, Any],
    *,
    state: str,
    reason: str,
    decisions: Sequence[Mapping[str, Any]],
) -> NotebookNode:
    """The notebook of an apply, with its outputs; running it changes nothing."""
    before, after = result.get("before", []), result.get("after", [])
    cells = [
        _text("summary", _summary(plan, result, state, reason, decisions)),
        _text("before", ["## Before", *_observed(before)]),
        _text("done", ["## What was done", *_done(plan, result)]),
        _text("after", ["## After", *(_observed(after) or ["The platform could not be examined afterwards."])]),
    ]
    picture = _picture(result)
    if picture is not None:
        cells.append(picture)
    cells.append(_text("check", ["## Firing check", *_check(result, reason)]))
    cells.append(_text("next", ["## Next", *_next(plan, state)]))
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "runbook": {"name": "apply", "title": f"Apply plan {plan.hash[:12]}"},
        "run": {
            "incident": plan.incident,
            "run": result.get("run"),
            "number": result.get("number"),
            "platform": plan.platform,
            "mode": "apply",
            "plan": plan.hash,
            "state": state,
            "started_at": result.get("began_at"),
            "ended_at": result.get("ended_at"),
        },
    }
    made: NotebookNode = v4.new_notebook(cells=cells, metadata=metadata)
    return made


def _summary(
    plan: Plan, result: Mapping[str, Any], state: str, reason: str, decisions: Sequence[Mapping[str, Any]]
) -> list[str]:
    approved = [
        f"{row['person']} ({row['role']}){', who broke the glass: ' + row['reason'] if row['break_glass'] else ''}"
        for row in decisions
        if row["decision"] == "approve"
    ]
    asked = [f"{row['person']} ({row['role']})" for row in decisions if row["decision"] == "apply"]
    rows = [
        ("Incident", plan.incident),
        ("Platform", f"{plan.platform} ({plan.document.environment})"),
        ("Plan", plan.hash),
        ("Reason for it", plan.document.reason),
        ("Approved by", ", ".join(approved)),
        ("Apply requested by", ", ".join(asked)),
        ("Began", stamp(result.get("began_at"))),
        ("Ended", stamp(result.get("ended_at"))),
        ("Outcome", f"{state}: {reason}"),
    ]
    title = "; ".join(action.summary for action in plan.document.actions)
    return [f"# Apply: {_plain(title)}", "", *_table(("", ""), rows)]


def _observed(observations: Iterable[Mapping[str, Any]]) -> list[str]:
    """Tables of what an action depends on: its target's fields, and measures by item."""
    lines: list[str] = []
    shown: list[str] = []
    for seen in observations:
        target = seen["target"]
        key = json.dumps(seen, sort_keys=True)
        if key in shown:
            continue
        shown.append(key)
        lines += ["", f"**{_plain(target['kind'])} {_plain(target['name'])}** ({_plain(target['uid'])})", ""]
        fields = {**target["fields"], "configuration": target["generation"]}
        lines += _table(("Field", "Value"), [(label(name), measured(name, value)) for name, value in fields.items()])
        measures = seen["measures"]
        if measures:
            first = next(iter(measures.values()))
            names = {item for values in measures.values() for item in values}
            items = sorted(names, key=lambda name: (-first.get(name, 0.0), name))
            rows = [
                (item, *(measured(name, values.get(item), unit=False) for name, values in measures.items()))
                for item in items
            ]
            lines += ["", *_table(("", *map(heading, measures)), rows)]
    return lines


def _done(plan: Plan, result: Mapping[str, Any]) -> list[str]:
    rows = []
    for planned, step in zip(plan.document.actions, result.get("steps", []), strict=False):
        told = step.get("error") or json.dumps(step.get("answer", {}), sort_keys=True)
        given = json.dumps(planned.arguments, sort_keys=True)
        rows.append((stamp(step["at"]), step["action"], given, step["state"], told[:500]))
    if not rows:
        return ["", "Nothing was done."]
    return ["", *_table(("At", "Action", "Arguments", "State", "Answer"), rows)]


def _check(result: Mapping[str, Any], reason: str) -> list[str]:
    before, after = result.get("check_before"), result.get("check")
    if not before or not after:
        return ["", f"{_plain(reason)}."]
    holds = "still holds" if after["firing"] else "no longer holds"
    measured = f"The {_plain(after['measure'])} went from {_read(before['value'])} to {_read(after['value'])}"
    waited = f"{result.get('waited_s', 0):.1f} s after the change"
    return [
        "",
        f"{measured} {_plain(after['unit'])} (the alert fires {_fires(after)}); "
        f"the alert's condition {holds} {waited}.",
    ]


def _read(value: float) -> str:
    """A figure of a check; small ones with the digits that matter."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"


def _fires(check: Mapping[str, Any]) -> str:
    """Where an alert fires, in words: `above 2`."""
    words = {">": "above", "<": "below", ">=": "from", "<=": "up to", "==": "at", "!=": "at anything but"}
    return f"{words[check.get('sign', '>')]} {check['limit']:g}"


def _next(plan: Plan, state: str) -> list[str]:
    undo = [action.undo for action in plan.document.actions]
    lines = ["", *(f"- Residual risk: {_plain(action.residual_risk)}." for action in plan.document.actions)]
    if all(one.kind == "inverse" for one in undo):
        command = f"runbook undo {plan.incident} --plan {plan.hash[:16]}"
        lines.append(f"- To take it back: `{command}` makes a plan of its own; it {_plain(undo[0].reason)}.")
    else:
        lines += [f"- It cannot be taken back: {_plain(one.reason)}." for one in undo if one.kind != "inverse"]
    if state != "verified":
        lines.append("- The condition is not known to be gone: call the next level.")
    return lines


def _picture(result: Mapping[str, Any]) -> NotebookNode | None:
    """The checked measure per item, before and after, against its limit."""
    before, after = result.get("check_before"), result.get("check")
    if not before or not after or not before["by"]:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    items = sorted(before["by"], key=lambda name: -before["by"][name])
    places = range(len(items))
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.bar([x - 0.2 for x in places], [before["by"][i] for i in items], 0.4, label="before", color=_BEFORE)
    axes.bar(
        [x + 0.2 for x in places],
        [after["by"].get(i, 0.0) for i in items],
        0.4,
        label="after",
        color=_AFTER,
        hatch="//",
    )
    axes.axhline(after["limit"], color=_LIMIT, linestyle="--", label=f"alert {_fires(after)}")
    axes.set_xticks(list(places), [item.replace("$", r"\$") for item in items])
    axes.set_ylabel(f"VaR [{after['unit']}]" if "VaR" in after["measure"] else f"{after['measure']} [{after['unit']}]")
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=90, metadata={"Software": None})
    values = f"{_read(before['value'])} before, {_read(after['value'])} {after['unit']} after"
    text = f"{after['measure']}: {values}, limit {after['limit']:g}"
    output = v4.new_output(
        "display_data",
        data={"image/png": base64.b64encode(data.getvalue()).decode(), "text/plain": text},
        metadata={"image/png": {"alt": text}},
    )
    source = "# As the applier measured it, before and after the change; this cell changes nothing."
    drawn = {"runbook": {"status": "succeeded"}}
    cell: NotebookNode = v4.new_code_cell(source, id="picture", outputs=[output], execution_count=None, metadata=drawn)
    return cell


def _text(name: str, lines: Iterable[str]) -> NotebookNode:
    cell: NotebookNode = v4.new_markdown_cell("\n".join(lines), id=name)
    return cell


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(_plain(name) for name in head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in rows]


def _plain(value: object) -> str:
    """Text that means nothing to Markdown or HTML."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return "".join(f"\\{char}" if char in "\\`*_[]|#!~$" else char for char in text)
