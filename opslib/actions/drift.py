"""Drift: whether a target is still as a plan saw it."""

from __future__ import annotations

from opslib.actions.documents import Target


def changes(planned: Target, now: Target) -> list[str]:
    """What is no longer as planned, in words; empty where nothing is.

    Parameters
    ----------
    planned, now : Target
        `planned.live` holds the previewed quantities with their bounds, `now.live` the quantities of now.
    """
    lines = []
    if planned.uid != now.uid:
        lines.append(f"it is another one now (uid {planned.uid}, now {now.uid})")
    for name in sorted(planned.fields.keys() | now.fields.keys()):
        before, after = planned.fields.get(name), now.fields.get(name)
        if before != after:
            lines.append(f"{name} was {_told(before)}, is now {_told(after)}")
    if more := sorted({*now.also} - {*planned.also}):
        lines.append(f"{', '.join(more)} would change with it now, and not when it was planned")
    if planned.generation != now.generation:
        lines.append(f"its configuration was version {planned.generation}, is now {now.generation}")
    for name, bounds in sorted(planned.live.items()):
        seen = now.live.get(name)
        if seen is None:
            lines.append(f"{name} was {bounds.previewed:g}, cannot be seen now")
        elif (bounds.low is not None and seen.previewed < bounds.low) or (
            bounds.high is not None and seen.previewed > bounds.high
        ):
            low = "" if bounds.low is None else f"{bounds.low:g}"
            high = "" if bounds.high is None else f"{bounds.high:g}"
            lines.append(f"{name} was {bounds.previewed:g}, is now {seen.previewed:g}, beyond {low}..{high}")
    return lines


def _told(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
