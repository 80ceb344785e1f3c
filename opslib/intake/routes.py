"""Routing: which runbook an alert starts, and of which incident it is part. Read from `params/routes.yaml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from opslib import platforms
from opslib.canonical import canonical, digest
from opslib.errors import ConfigurationError
from opslib.platforms import Mistakes, Strict
from opslib.schedule import entries as schedule
from opslib.settings import Settings

__all__ = ["UNKNOWN", "Explanation", "Route", "Routed", "Routes", "check", "current", "load"]

FILE = "routes.yaml"
TRIAGE = "triage"
UNKNOWN = platforms.UNKNOWN
_LONGEST_TARGET = 160
_SHORTENED_TO = 120


def _pattern(value: str) -> str:
    if value.startswith("~"):
        try:
            re.compile(value[1:])
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
    return value


class Route(Strict):
    """One route: labels that must match, the runbook, and the labels that name the target."""

    match: dict[str, Annotated[str, AfterValidator(_pattern)]] = Field(min_length=1)
    runbook: str
    target: list[str] = Field(default_factory=list)
    cooldown_s: float | None = Field(default=None, ge=0)
    runs_per_hour: int | None = Field(default=None, ge=1)

    @cached_property
    def _expressions(self) -> dict[str, re.Pattern[str]]:
        return {name: re.compile(value[1:]) for name, value in self.match.items() if value.startswith("~")}

    def misses(self, labels: dict[str, str]) -> list[str]:
        """Why the route does not match; empty where it does."""
        why = []
        for name, wanted in self.match.items():
            have = labels.get(name)
            expression = self._expressions.get(name)
            if have is None:
                why.append(f"no label {name}")
            elif expression is not None and not expression.fullmatch(have):
                why.append(f"{name} is {have!r}, which does not match {wanted[1:]!r}")
            elif expression is None and have != wanted:
                why.append(f"{name} is {have!r}, not {wanted!r}")
        return why


class DefaultRoute(Strict):
    """Where an alert goes that no route matches."""

    runbook: str = TRIAGE
    target: list[str] = Field(default_factory=lambda: ["alertname"])
    cooldown_s: float | None = Field(default=None, ge=0)
    runs_per_hour: int | None = Field(default=None, ge=1)


class RoutesFile(Strict):
    """`params/routes.yaml`: the first route that matches wins."""

    routes: list[Route] = Field(default_factory=list)
    default: DefaultRoute = Field(default_factory=DefaultRoute)


@dataclass(frozen=True)
class Routed:
    """Where an alert goes: platform, runbook and target name its incident; `why` says how that came.

    `cooldown_s` and `runs_per_hour` are the route's own; None where it leaves them to the runbook.
    """

    platform: str
    runbook: str
    target: str
    why: str
    cooldown_s: float | None = None
    runs_per_hour: int | None = None

    @property
    def place(self) -> tuple[str, str, str]:
        """What names the incident."""
        return self.platform, self.runbook, self.target


@dataclass(frozen=True)
class Explanation:
    """What a route said to an alert: whether it was taken, and if not, why."""

    route: str
    runbook: str
    taken: bool
    why: str


class Routes:
    """The routes in force.

    Parameters
    ----------
    document : RoutesFile
    known : list of str
        The platforms that there are.
    problem : str
        Why these are not the routes of the file: then everything goes to triage.
    """

    def __init__(self, document: RoutesFile, known: list[str], problem: str = "") -> None:
        self.routes = list(document.routes)
        self.default = document.default
        self.known = known
        self.problem = problem

    def route(self, labels: dict[str, str]) -> Routed:
        """Where an alert with these labels goes. An alert of no known platform goes to triage."""
        platform, trouble = self._platform(labels)
        if trouble:
            return _routed(platform, self.default, labels, trouble)
        for number, route in enumerate(self.routes, start=1):
            if not route.misses(labels):
                return _routed(platform, route, labels, f"route {number} matches")
        return _routed(platform, self.default, labels, self.problem or "no route matches")

    def explain(self, labels: dict[str, str]) -> list[Explanation]:
        """What each route says to these labels, in order; exactly one is taken."""
        _, trouble = self._platform(labels)
        rows: list[Explanation] = []
        for number, route in enumerate(self.routes, start=1):
            name = f"{number}: " + ", ".join(f"{key}={value}" for key, value in route.match.items())
            misses = route.misses(labels)
            taken = not misses and not trouble and not any(row.taken for row in rows)
            earlier = "" if taken else "an earlier route was taken"
            rows.append(Explanation(name, route.runbook, taken, "; ".join(misses) or trouble or earlier))
        fallback = not any(row.taken for row in rows)
        why = (trouble or self.problem or "no route matches") if fallback else "a route was taken"
        rows.append(Explanation("default", self.default.runbook, fallback, why))
        return rows

    def _platform(self, labels: dict[str, str]) -> tuple[str, str]:
        name = labels.get("platform", "")
        if name in self.known:
            return name, ""
        return platforms.UNKNOWN, f"platform {name!r} is not known" if name else "no label platform"


def _routed(platform: str, route: Route | DefaultRoute, labels: dict[str, str], why: str) -> Routed:
    where = target(route.target, labels)
    return Routed(platform, route.runbook, where, why, route.cooldown_s, route.runs_per_hour)


def target(names: list[str], labels: dict[str, str]) -> str:
    """The values of the labels that name a target, as one line of text; cut, with a digest, where it is long."""
    found = {name: labels[name] for name in names if labels.get(name)}
    values = list(found.values())
    line = values[0] if len(names) == 1 and values else ", ".join(f"{name}={value}" for name, value in found.items())
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in line).split())
    if shown == line and len(line) <= _LONGEST_TARGET:
        return line
    return f"{shown[:_SHORTENED_TO]}…{digest(canonical(found))[:8]}"


def load(settings: Settings) -> Routes:
    """The routes of `params/routes.yaml`.

    Raises
    ------
    ConfigurationError
        When the file does not validate, or names runbooks that do not exist: every mistake.
    """
    mistakes = Mistakes()
    document = _read(settings, mistakes)
    mistakes.raise_any()
    return Routes(document or RoutesFile(), platforms.names(settings))


def current(settings: Settings) -> Routes:
    """The routes as intake uses them: a broken file loses no alert, but sends all of them to triage."""
    try:
        return load(settings)
    except ConfigurationError as error:
        return Routes(RoutesFile(), platforms.names(settings), problem=str(error))


def check(settings: Settings) -> None:
    """Validate routes, platforms with the values they give to runbooks, contacts, policy and schedule together.

    Raises
    ------
    ConfigurationError
        Every mistake in every file, as "file: key: what".
    """
    mistakes = Mistakes()
    _read(settings, mistakes)
    platforms.check(settings, mistakes)
    _check_policy(settings, mistakes)
    schedule.check(settings, mistakes)
    mistakes.raise_any()


def _check_policy(settings: Settings, mistakes: Mistakes) -> None:
    from opslib.actions import policy  # its actions import clients, which intake does without

    try:
        policy.load(settings)
    except ConfigurationError as error:
        mistakes.lines += error.facts.get("mistakes", [str(error)])


def _read(settings: Settings, mistakes: Mistakes) -> RoutesFile | None:
    raw: dict[str, Any] | None = platforms.read_yaml(settings.params / FILE, mistakes)
    if raw is None:
        return None
    try:
        document = RoutesFile.model_validate(raw)
    except ValidationError as error:
        mistakes.add_validation(FILE, error)
        named = [(f"routes.{i}.runbook", r.get("runbook")) for i, r in enumerate(_listed(raw)) if isinstance(r, dict)]
        _check_runbooks(settings, mistakes, [(key, name) for key, name in named if isinstance(name, str)])
        return None
    named_too = [(f"routes.{number}.runbook", route.runbook) for number, route in enumerate(document.routes)]
    _check_runbooks(settings, mistakes, [*named_too, ("default.runbook", document.default.runbook)])
    for number, route in enumerate(document.routes):
        wanted = route.match.get("platform", "~")
        if not wanted.startswith("~") and wanted not in platforms.names(settings):
            mistakes.add(FILE, f"routes.{number}.match.platform", f"there is no platform {wanted!r}")
    return document


def _listed(raw: dict[str, Any]) -> list[Any]:
    routes = raw.get("routes")
    return routes if isinstance(routes, list) else []


def _check_runbooks(settings: Settings, mistakes: Mistakes, named: list[tuple[str, str]]) -> None:
    there = {path.stem for path in settings.notebooks.glob("*/*.ipynb")} | {TRIAGE}
    for key, name in named:
        if name not in there:
            mistakes.add(FILE, key, f"there is no runbook {name!r}; `runbook list` shows those there are")
