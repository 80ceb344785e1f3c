"""The policy: who may do what, what two persons must approve, guards, budgets, standing approvals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from opslib import yamls
from opslib.actions.action import Action
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Level, PlannedAction, Target, Undo
from opslib.actions.files import is_switch
from opslib.canonical import canonical, digest
from opslib.errors import ConfigurationError
from opslib.people import LEVEL
from opslib.settings import Settings

LEVELS: tuple[Level, ...] = ("L1", "L2", "L3", "L4")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WORKLOADS = ("deployment", "statefulset")
_SHOWN = 10  # orders that a sentence names


class Part(BaseModel):
    """A part of the policy file; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(Part):
    """How often one target may be changed within an hour, by standing approvals and altogether."""

    automatic: int = Field(default=1, ge=0)
    any: int = Field(default=12, ge=1)


class Rule(Part):
    """What is particular about one action."""

    authority: Level | None = None
    two_persons: bool = False
    budget_per_hour: Budget | None = None


class Guard(Part):
    """Something that holds back kinds of action, or actions by name, on some platforms or all."""

    platforms: tuple[str, ...] = ()
    forbids: tuple[str, ...] = Field(min_length=1)


class MarketHours(Guard):
    """A window of the week in which kinds of action are not applied, unless they reduce risk."""

    days: tuple[Day, ...] = Field(min_length=1)
    start: dt.time
    end: dt.time
    timezone: str = "UTC"
    reason: str

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"there is no time zone {name!r}") from error
        return name

    def covers(self, now: dt.datetime) -> bool:
        """Whether `now` lies in the window; one that ends before it starts goes over midnight."""
        local = now.astimezone(ZoneInfo(self.timezone))
        time, day = local.time(), local.weekday()
        if self.start <= self.end:
            return DAYS[day] in self.days and self.start <= time < self.end
        return (DAYS[day] in self.days and time >= self.start) or (DAYS[day - 1] in self.days and time < self.end)


class Window(Guard):
    """A dated window, such as an expiry, in which kinds of action are not applied, unless they reduce risk."""

    start: dt.datetime
    end: dt.datetime
    reason: str

    @field_validator("start", "end")
    @classmethod
    def _zoned(cls, when: dt.datetime) -> dt.datetime:
        if when.tzinfo is None:
            raise ValueError("needs an offset, such as 2026-12-25T08:00:00Z")
        return when

    def covers(self, now: dt.datetime) -> bool:
        """Whether `now` lies in the window."""
        return self.start <= now < self.end


class KillSwitch(Guard):
    """A file below a platform's folder that stops new risk while it is there, and what is not done meanwhile."""

    file: str = Field(default="KILL_SWITCH", min_length=1)

    @field_validator("file")
    @classmethod
    def _named(cls, file: str) -> str:
        if not is_switch(file):
            raise ValueError(f"{file} is not named as a kill switch (KILL_SWITCH), so plans would write or remove it")
        return file


class OpenOrders(Guard):
    """Where a platform tells its working orders, and what is not done to what works them.

    A probe answers a table, or a list that may stand `under` a key. The field `of` names the workload that works an
    order; without it, where it is empty, and for a change of what is no workload, an order counts for every change.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    platforms: tuple[str, ...] = Field(min_length=1)
    probe: str
    arguments: dict[str, Any] = {}
    under: str | None = None
    order: str = "order"
    of: str | None = None
    answer: Literal["refuse", "name"] = "refuse"

    def concerned(self, target: Target, told: list[list[str]]) -> list[str]:
        """The names of those orders, told as pairs of name and workload, that a change of a target concerns."""
        everything = target.kind not in WORKLOADS
        return [name for name, of in told if everything or not of or of in _names(target)]


class Guards(Part):
    """What must hold before a change is made."""

    market_hours: tuple[MarketHours, ...] = ()
    expiry_windows: tuple[Window, ...] = ()
    kill_switches: tuple[KillSwitch, ...] = ()
    open_orders: tuple[OpenOrders, ...] = ()
    trading_stopped_forbids_new_risk: bool = True
    hot_reload_max_var_pct: float | None = Field(default=None, gt=0)


G = TypeVar("G", bound=Guard)


class Range(Part):
    """Bounds of a number, both ends included."""

    low: float
    high: float


class StandingApproval(Part):
    """An approval given in advance: signed, expiring, bounded, for one risk-reducing action and one alert."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    trigger: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")]
    action: str
    bounds: dict[str, Range] = {}
    platforms: tuple[str, ...] = Field(min_length=1)
    environments: tuple[Literal["production", "staging", "sandbox"], ...] = Field(min_length=1)
    expires: dt.datetime
    signed_by: str
    signature: str = ""

    @field_validator("action")
    @classmethod
    def _reduces(cls, name: str) -> str:
        if name not in ACTIONS:
            raise ValueError(f"there is no action {name!r}")
        if not ACTIONS[name].may_stand():
            raise ValueError(f"{name} does not reduce risk, so nothing may approve it in advance")
        return name

    @field_validator("expires")
    @classmethod
    def _zoned(cls, when: dt.datetime) -> dt.datetime:
        if when.tzinfo is None:
            raise ValueError("needs an offset, such as 2026-12-31T00:00:00Z")
        return when

    @property
    def signed_bytes(self) -> bytes:
        """What is signed: the canonical JSON of everything but the signature."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))


class Policy(Part):
    """`params/policy.yaml`, validated."""

    plan_expires_after_minutes: float = Field(default=15, gt=0, le=24 * 60)
    levels: dict[Level, tuple[str, ...]]
    actions: dict[str, Rule] = {}
    budget_per_hour: Budget = Budget()
    guards: Guards = Guards()
    signers: dict[str, str] = {}
    standing_approvals: tuple[StandingApproval, ...] = ()

    @field_validator("actions")
    @classmethod
    def _known(cls, rules: dict[str, Rule]) -> dict[str, Rule]:
        unknown = sorted(set(rules) - set(ACTIONS))
        if unknown:
            raise ValueError(f"there is no action {', '.join(unknown)}; known: {', '.join(sorted(ACTIONS))}")
        return rules

    @field_validator("levels")
    @classmethod
    def _once(cls, levels: dict[Level, tuple[str, ...]]) -> dict[Level, tuple[str, ...]]:
        kinds = [kind for names in levels.values() for kind in names]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        lacking = sorted({action.kind for action in ACTIONS.values()} - set(kinds))
        if twice or lacking:
            told = [f"{kind} stands at two levels" for kind in twice] + [f"{kind} stands at none" for kind in lacking]
            raise ValueError("; ".join(told))
        return levels

    @field_validator("guards")
    @classmethod
    def _there(cls, guards: Guards, info: ValidationInfo) -> Guards:
        known = set(ACTIONS).union(*info.data.get("levels", {}).values())
        entries: tuple[Guard, ...] = (
            *guards.market_hours,
            *guards.expiry_windows,
            *guards.kill_switches,
            *guards.open_orders,
        )
        unknown = sorted({name for entry in entries for name in entry.forbids} - known)
        if unknown and "levels" in info.data:
            raise ValueError(f"what is forbidden is no kind of action and no action: {', '.join(unknown)}")
        return guards

    @property
    def digest(self) -> str:
        """SHA-256 of the policy in force, in hexadecimal."""
        return digest(canonical(self.model_dump(mode="json")))

    def authority(self, action: type[Action], undo: Undo) -> Level:
        """The level that an action needs: its rule's, else its kind's; one more where there is no undo."""
        rule = self.actions.get(action.name, Rule())
        by_kind = [level for level in LEVELS if action.kind in self.levels.get(level, ())]
        level = by_kind[0] if rule.authority is None else rule.authority
        if undo.kind == "none":
            level = LEVELS[min(LEVEL[level], len(LEVELS) - 1)]
        return level

    def approvers(self, action: str) -> int:
        """How many persons must approve it."""
        return 2 if self.actions.get(action, Rule()).two_persons else 1

    def budget(self, action: str) -> Budget:
        """How often one target may be changed by it within an hour."""
        return self.actions.get(action, Rule()).budget_per_hour or self.budget_per_hour

    def holding(self, guards: Iterable[G], action: PlannedAction, platform: str) -> list[G]:
        """Those of some guards that may hold an action back: none where it reduces risk or only stops new risk."""
        if action.risk_reducing or action.stops_new_risk:
            return []
        names = {action.action, ACTIONS[action.action].kind}
        return [one for one in guards if platform in (one.platforms or (platform,)) and names & set(one.forbids)]

    def forbidden(self, action: PlannedAction, platform: str, facts: dict[str, Any], now: dt.datetime) -> list[str]:
        """Why the trading guards forbid an action now; empty when they do not.

        An action that reduces risk, or only stops new risk, is never forbidden.

        Parameters
        ----------
        action : PlannedAction
        platform : str
        facts : dict
            The action's observation: `trading` (bool), `max_var_pct` [% of NAV], `ready` and `least_ready` [pods]; and
            what `guards.look` saw: `kill_switches` and `open_orders`.
        now : datetime
        """
        if action.risk_reducing or action.stops_new_risk:
            return []
        made, guards = ACTIONS[action.action], self.guards
        windows: list[MarketHours | Window] = [*guards.market_hours, *guards.expiry_windows]
        reasons = [
            f"{'market hours' if isinstance(window, MarketHours) else 'window'}: {window.reason}"
            for window in self.holding(windows, action, platform)
            if window.covers(now)
        ]
        stopped = facts.get("trading") is False and made.lifts != "trading"
        if guards.trading_stopped_forbids_new_risk and stopped:
            reasons.append("trading is stopped on the platform; start it before adding risk")
        for switch in self.holding(guards.kill_switches, action, platform):
            if made.lifts != "kill-switch" or action.target.name != switch.file:
                reasons += _switched(switch, facts.get("kill_switches", {}).get(switch.file))
        for guard in self.holding(guards.open_orders, action, platform):
            reasons += _over_orders(guard, action, facts.get("open_orders", {}).get(guard.name))
        if facts.get("ready") and facts.get("least_ready") == 0:
            reasons.append(f"no ready pod of {action.target.name} would be left")
        limit = guards.hot_reload_max_var_pct
        if limit is not None and made.hot_reload:
            var = facts.get("max_var_pct")
            if var is None or var > limit:
                told = "is not known" if var is None else f"is {var:.2f} %"
                reasons.append(f"VaR {told}; no hot reload above {limit:g} %")
        return reasons


def _switched(switch: KillSwitch, on: bool | str | None) -> list[str]:
    """What a kill switch says: that it is set, or that nobody knows; `on` is why where it could not be seen."""
    if on is True:
        return [f"the kill switch {switch.file} is set; no new risk until it is taken away"]
    return (
        [] if on is False else [f"whether the kill switch {switch.file} is set is not known ({on or 'not looked at'})"]
    )


def _over_orders(guard: OpenOrders, action: PlannedAction, told: list[list[str]] | str | None) -> list[str]:
    """Why working orders hold an action back; `told` is why where they could not be seen."""
    if not isinstance(told, list):
        return [f"the working orders of {guard.name} are not known ({told or 'not looked at'})"]
    named = action.preview.get("open_orders", {}).get(guard.name, []) if guard.answer == "name" else []
    over = [name for name in guard.concerned(action.target, told) if name not in named]
    if not over:
        return []
    what = "cancel them or let them fill first" if guard.answer == "refuse" else "the plan does not name them"
    return [f"{len(over)} order{'s' * (len(over) > 1)} of {guard.name} working: {some(over)}; {what}"]


def some(names: list[str]) -> str:
    """Some of many names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _names(target: Target) -> tuple[str, ...]:
    """What an order may call a workload: with its kind, with its namespace, or by its name alone."""
    short = target.name.rpartition("/")[2]
    return short, target.name, f"{target.kind}/{short}", target.key


def load(settings: Settings) -> Policy:
    """The policy of `params/policy.yaml`.

    Raises
    ------
    ConfigurationError
        When it is missing or does not validate: every mistake, as "file: key: what".
    """
    path = settings.params / "policy.yaml"
    try:
        raw = yamls.load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"policy.yaml: (the whole file): is missing from {path.parent}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"policy.yaml: (the whole file): {' '.join(str(error).split())}") from error
    try:
        return Policy.model_validate(raw)
    except ValidationError as error:
        facts = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"policy.yaml: {'.'.join(map(str, f['loc'])) or '(the whole file)'}: {f['msg']}" for f in facts]
        raise ConfigurationError("\n".join([f"{len(lines)} mistakes:", *lines]), mistakes=lines) from error
