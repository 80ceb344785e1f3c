"""A24 triage: what can be said of an alert that has no playbook of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

TARGETS = 'up{job!="runbook"}'  # this service itself is no part of the platform
CHANGES = {"at": "", "key": "what", "from": "", "to": "", "by": ""}  # the columns of the table, and their headings
SHOWN = 200  # characters of a text from outside that are shown


def described(alert: Mapping[str, Any]) -> pd.DataFrame:
    """What an alert says of itself, a row a label or annotation; long texts are cut."""
    import pandas as pd

    rows = [
        (kind, str(name)[:SHOWN], str(value)[:SHOWN])
        for kind in ("labels", "annotations")
        for name, value in sorted(dict(alert.get(kind) or {}).items())
    ]
    rows += [
        ("", name, str(alert[name])[:SHOWN]) for name in ("startsAt", "generatorURL", "problem") if alert.get(name)
    ]
    return pd.DataFrame(rows, columns=["of", "name", "value"])


def health(ops: Ops) -> pd.DataFrame:
    """Ask every system that the platform has whether it is well.

    Returns
    -------
    DataFrame, one row a part
        `part`, `state` (`ok`, the platform's own word, or `not seen`) and `detail`. Its evidence is that of all looks.
    """
    import pandas as pd

    looks: dict[str, tuple[str, Callable[[], Any]]] = {
        "api": ("the API's health", ops.http.health),
        "redis": ("Redis", ops.redis.ping),
        "prometheus": ("Prometheus", lambda: ops.prometheus.query(TARGETS)),
    }
    rows, marks = [], []
    for system, (what, probe) in looks.items():
        if not ops.has(system):
            continue
        answer = ops.look(what, probe)
        if answer is None:
            rows.append((system, "not seen", ops.unseen[-1]))
            continue
        marks += [mark] if (mark := getattr(answer, "evidence", None)) else []
        rows.append((system, *_state(system, answer)))
    table = pd.DataFrame(rows, columns=["part", "state", "detail"])
    table.attrs["evidence"] = marks
    return table


def _state(system: str, answer: Any) -> tuple[str, str]:
    """What an answer says of a part."""
    if system == "prometheus":
        down = [str(row.get("instance", "")) for row in answer.to_dict("records") if float(row["value"]) == 0]
        up = f"{len(answer)} target{'' if len(answer) == 1 else 's'} up"
        return ("ok", up) if not down else ("degraded", f"down: {', '.join(down)}")
    if system == "redis":
        return "ok", f"answers in {answer['took_ms']:g} ms"
    word = str(answer.get("status", "")) if isinstance(answer, Mapping) else str(answer)
    return ("ok", word) if word in ("healthy", "ok", "up") else (word or "unclear", str(dict(answer))[:SHOWN])


def changes(ops: Ops) -> pd.DataFrame | None:
    """The latest changes of configuration that the platform itself knows of, oldest first; None where it tells none."""
    import pandas as pd

    status = ops.look("recent changes", ops.http.json, "/api/status") if ops.has("api") else None
    if status is None or "config_changes" not in status:
        return None
    found = pd.DataFrame(status["config_changes"], columns=list(CHANGES))
    return found.assign(at=pd.to_datetime(found["at"], utc=True, format="ISO8601", errors="coerce"))


def rules(firing: pd.DataFrame) -> pd.DataFrame:
    """The rules that fire or are about to, with the time since when."""
    import pandas as pd

    return firing.assign(since=pd.to_datetime(firing["since"], utc=True, format="ISO8601"))


def symptom(alert: Mapping[str, Any], parts: pd.DataFrame, firing: pd.DataFrame | None) -> tuple[bool | None, str]:
    """Whether anything is wrong, and what, in one sentence without a full stop.

    A part that is not well confirms, and so does any rule that fires where Prometheus can be asked, the alert's own
    first; where nothing could be asked it is not known.
    """
    name = str(dict(alert.get("labels") or {}).get("alertname", "")) or "the alert"
    unwell = parts[parts["state"] != "ok"]
    if len(unwell):
        return True, ", ".join(f"{row.part} is {row.state}" for row in unwell.itertuples())
    fires = [] if firing is None else sorted(set(firing["alertname"][firing["state"] == "firing"]))
    if name in fires:
        return True, f"{name} still fires while every part answers"
    if fires:
        told = f"{' and '.join(fires)} {'fires' if len(fires) == 1 else 'fire'}"
        return True, f"{name} does not fire any more, but {told} while every part answers"
    if not len(parts):
        return None, f"{name} names no platform whose parts could be asked"
    if firing is None and alert:
        return None, f"every part answers, and whether {name} still fires could not be asked"
    return False, f"every part answers and {name} does not fire any more"
