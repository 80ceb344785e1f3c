"""The policy: who may do what, what two persons must approve, guards, budgets, standing approvals."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from opslib import yamls
from opslib.actions.action import Action
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Level, PlannedAction, Undo
from opslib.canonical import canonical, digest
from opslib.errors import ConfigurationError
from opslib.people import LEVEL
from opslib.settings import Settings

LEVELS: tuple[Level, ...] = ("L1", "L2", "L3", "L4")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


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


class MarketHours(Part):
    """A window of the week in which kinds of action are not applied, unless they reduce risk."""

    platforms: tuple[str, ...] = ()
    days: tuple[Day, ...] = Field(min_length=1)
    start: dt.time
    end: dt.time
    timezone: str = "UTC"
    forbids: tuple[str, ...] = Field(min_length=1)
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


class Window(Part):
    """A dated window, such as an expiry, in which kinds of action are not applied, unless they reduce risk."""

    platforms: tuple[str, ...] = ()
    start: dt.datetime
    end: dt.datetime
    forbids: tuple[str, ...] = Field(min_length=1)
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


class Guards(Part):
    """What must hold before a change is made."""

    market_hours: tuple[MarketHours, ...] = ()
    expiry_windows: tuple[Window, ...] = ()
    trading_stopped_forbids_new_risk: bool = True
    hot_reload_max_var_pct: float | None = Field(default=None, gt=0)


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

    def forbidden(self, action: PlannedAction, platform: str, facts: dict[str, Any], now: dt.datetime) -> list[str]:
        """Why the trading guards forbid an action now; empty when they do not.

        An action that reduces risk, or only stops new risk, is never forbidden.

        Parameters
        ----------
        action : PlannedAction
        platform : str
        facts : dict
            The action's observation: `trading` (bool), `max_var_pct` [% of NAV], `ready` and `least_ready` [pods].
        now : datetime
        """
        if action.risk_reducing or action.stops_new_risk:
            return []
        kind, guards = ACTIONS[action.action].kind, self.guards
        windows: list[MarketHours | Window] = [*guards.market_hours, *guards.expiry_windows]
        reasons = [
            f"{'market hours' if isinstance(window, MarketHours) else 'window'}: {window.reason}"
            for window in windows
            if platform in (window.platforms or (platform,)) and kind in window.forbids and window.covers(now)
        ]
        if guards.trading_stopped_forbids_new_risk and facts.get("trading") is False:
            reasons.append("trading is stopped on the platform; start it before adding risk")
        if facts.get("ready") and facts.get("least_ready") == 0:
            reasons.append(f"no ready pod of {action.target.name} would be left")
        limit = guards.hot_reload_max_var_pct
        if limit is not None and ACTIONS[action.action].hot_reload:
            var = facts.get("max_var_pct")
            if var is None or var > limit:
                told = "is not known" if var is None else f"is {var:.2f} %"
                reasons.append(f"VaR {told}; no hot reload above {limit:g} %")
        return reasons


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
