"""The values a run gets: defaults, the platform's file, what is given; strict, with all mistakes named at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opslib.canonical import plain
from opslib.errors import ParameterError
from opslib.runs.catalogue import Runbook
from opslib.runs.declaration import NAME, Parameter

if TYPE_CHECKING:
    from opslib.platforms import Platform  # which validates with this module the values in a platform's file


def resolve(
    runbook: Runbook, platform: Platform, given: Mapping[str, Any], alert: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The parameters of one run, as JSON types only.

    Parameters
    ----------
    runbook : Runbook
        Whose declaration holds.
    platform : Platform
        `platform.runbooks[runbook.name]` comes before the defaults; an empty default of `symbols` gets its symbols.
    given : Mapping
        What the request gives; comes before both.
    alert : Mapping or None
        The alert, handed over whole as one dictionary; nothing of it becomes a name.

    Raises
    ------
    ParameterError
        With every unknown, missing and mistyped parameter, and where each came from; `mistakes` lists them.
    """
    declared = {parameter.name: parameter for parameter in runbook.parameters}
    mistakes = []
    if runbook.platforms and "*" not in runbook.platforms and platform.name not in runbook.platforms:
        mistakes.append(f"platform: {runbook.name} is for {', '.join(runbook.platforms)}, not {platform.name}")
    values: dict[str, Any] = {name: each.default for name, each in declared.items() if not each.required}
    if declared.get("symbols", Parameter("", "")).type == "list[str]" and not values.get("symbols"):
        values["symbols"] = list(platform.symbols)
    sources = ((f"params/platforms/{platform.name}.yaml", platform.runbooks.get(runbook.name, {})), ("given", given))
    for source, some in sources:
        for name, value in some.items():
            mistake = _mistake(runbook, declared, name, value, platform.name)
            if mistake:
                mistakes.append(f"{_shown(name)}: {mistake} ({source})")
            elif declared[name].type == "float":
                values[name] = float(value)
            else:
                values[name] = value
    if alert is not None and not isinstance(alert, Mapping):
        mistakes.append(f"alert: it is a {type(alert).__name__}; an alert is an object with `labels` (given)")
    values |= {"platform": platform.name, "alert": dict(alert) if isinstance(alert, Mapping) else {}}
    mistakes += [f"{name}: missing; it has no default" for name in declared if name not in values]
    if mistakes:
        raise _refused(runbook, mistakes)
    resolved: dict[str, Any] = plain({name: values[name] for name in declared})
    return resolved


def wrong(runbook: Runbook, values: Mapping[Any, Any], platform: str) -> list[tuple[str, str]]:
    """What is wrong with the values that a platform's file gives a runbook: each name, and why."""
    declared = {parameter.name: parameter for parameter in runbook.parameters}
    found = ((name, _mistake(runbook, declared, name, value, platform)) for name, value in values.items())
    return [(_shown(name), mistake) for name, mistake in found if mistake]


def _mistake(runbook: Runbook, declared: Mapping[str, Parameter], name: Any, value: Any, platform: str) -> str | None:
    """What is wrong with one value, or None."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return "not a parameter's name"
    if name not in declared or name == "alert":
        known = ", ".join(other for other in declared if other not in ("platform", "alert")) or "none"
        return f"{runbook.name} has no such parameter; it has {known}"
    if name == "platform":
        return None if value == platform else f"the run is on {platform}, not {value!r:.60}"
    return declared[name].problem(value)


def _shown(name: Any) -> str:
    """A name as a mistake shows it: one that is none in quotes."""
    return name if isinstance(name, str) and NAME.fullmatch(name) else repr(str(name)[:80])


def from_text(runbook: Runbook, given: Mapping[str, str]) -> dict[str, Any]:
    """Values typed as text (`-p K=V`), read as the declared types say: a `str` stays exactly as typed.

    What does not read as its type stays text, so that `resolve` names it together with every other mistake.
    """
    declared = {parameter.name: parameter for parameter in runbook.parameters}
    values: dict[str, Any] = {}
    for name, text in given.items():
        values[name] = text
        if name in declared and declared[name].type != "str":
            with suppress(ValueError, RecursionError):
                values[name] = json.loads(text, parse_constant=_no_constant)
    return values


def _no_constant(text: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(f"{text} is not a number")


def _refused(runbook: Runbook, mistakes: list[str]) -> ParameterError:
    """The error that lists the mistakes."""
    listed = "\n".join(f"  {mistake}" for mistake in mistakes)
    return ParameterError(f"the parameters of {runbook.name} do not validate:\n{listed}", mistakes=mistakes)
