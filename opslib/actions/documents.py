"""Plan documents: what is to be changed, what it depends on, and the hash that an approval names."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from opslib.canonical import canonical, digest

Level = Literal["L1", "L2", "L3", "L4"]
State = Literal[
    "proposed", "approved", "rejected", "expired", "void", "applying", "verified", "partial", "failed", "undone"
]

# Where a plan may go from where. A state that is missing on the left is an end.
TRANSITIONS: dict[State, tuple[State, ...]] = {
    "proposed": ("approved", "rejected", "expired", "void"),
    "approved": ("applying", "rejected", "expired", "void"),
    "applying": ("verified", "partial", "failed"),
    "verified": ("undone",),
    "partial": ("undone",),
    "failed": ("undone",),
}
# Kinds of target of which two may mean the same thing under two names (patterns, descriptions of connections), or take
# from each other what both rely on (the other nodes, the instance that leads): all of a platform are one when it comes
# to applying.
AS_ONE = {
    **dict.fromkeys(("redis-clients", "redis-instance", "redis-keys", "redis-series", "redis-setting"), "redis"),
    "node": "nodes",
}
# Kinds of target that platforms of one cluster share, or that bear the names of their namespaces.
OF_CLUSTER = frozenset(
    {
        *("daemonset", "deployment", "pod", "statefulset"),
        *("helm-release", "horizontalpodautoscaler", "ingress", "node", "secret"),
    }
)
ENDED: frozenset[State] = frozenset({"rejected", "expired", "void", "verified", "partial", "failed", "undone"})


class Part(BaseModel):
    """A part of a plan document: strict, closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(Part):
    """A live quantity as previewed, and how far it may move before the plan is void (both ends included)."""

    previewed: float
    low: float | None = None
    high: float | None = None


class Target(Part):
    """What an action changes, and the state of it that the plan depends on."""

    kind: str
    name: str
    uid: str = Field(description="tells this thing from another of the same name")
    generation: str | None = Field(default=None, description="the version of its configuration")
    fields: dict[str, Any] = Field(default={}, description="must be exactly so when the plan is applied")
    live: dict[str, Bounds] = Field(default={}, description="may move within bounds")
    also: tuple[str, ...] = Field(default=(), description="keys of other targets that change with it")

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not so: a plan of before this was known keeps its hash."""
        told: dict[str, Any] = handler(self)
        if not self.also:
            told.pop("also")
        return told

    @property
    def key(self) -> str:
        """One name for the thing."""
        return f"{self.kind}/{self.name}"

    @property
    def lock(self) -> str:
        """The name under which it is locked: two plans with the same one are never applied at once."""
        return AS_ONE.get(self.kind, self.key)

    def locks(self, platform: str) -> tuple[str, ...]:
        """The names of all that changes with it, on a platform or on the cluster that it shares with others."""
        kinds = ((self.kind, self.lock), *((key.partition("/")[0], key) for key in self.also))
        return tuple(f"{'cluster' if kind in OF_CLUSTER else platform}/{lock}" for kind, lock in kinds)


class Undo(Part):
    """How a change is taken back: by its inverse, by restoring what was kept, or not at all and why."""

    kind: Literal["inverse", "restore", "none"]
    reason: str
    action: str | None = None
    arguments: dict[str, Any] | None = None
    automatic: bool = Field(default=False, description="taken back by itself where the change has no effect in time")

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not so: a plan of before this was known keeps its hash."""
        told: dict[str, Any] = handler(self)
        if not self.automatic:
            told.pop("automatic")
        return told


class PlannedAction(Part):
    """One action of a plan, as previewed."""

    action: str
    arguments: dict[str, Any]
    target: Target
    summary: str
    preview: dict[str, Any]
    expected_effect: str
    effect_within_s: float = Field(gt=0)
    authority: Level
    approvers: int = Field(default=1, ge=1, le=2, description="how many persons must approve")
    risk_reducing: bool
    stops_new_risk: bool
    blast_radius: dict[str, Any]
    residual_risk: str
    undo: Undo


class Document(Part):
    """A plan: everything that an approval approves."""

    version: Literal[1] = 1
    incident: str
    run: int
    platform: str
    environment: str
    initiator: str = Field(description="who started the run, or asked for the undo")
    reason: str
    nonce: str = Field(default_factory=lambda: secrets.token_hex(16))
    proposed_at: dt.datetime
    expires_at: dt.datetime
    undo_of: str | None = None
    actions: tuple[PlannedAction, ...] = Field(min_length=1)

    @property
    def text(self) -> str:
        """The canonical JSON (RFC 8785), exactly the bytes hashed."""
        return canonical(self.model_dump()).decode()

    @property
    def hash(self) -> str:
        """SHA-256 of `text`, in hexadecimal."""
        return digest(self.text.encode())

    @property
    def targets(self) -> tuple[str, ...]:
        """The locks of what the plan changes, in order of locking."""
        return tuple(sorted({lock for action in self.actions for lock in action.target.locks(self.platform)}))


@dataclass(frozen=True)
class Plan:
    """A plan with its state.

    Attributes
    ----------
    hash : str
        SHA-256 of the document, in hexadecimal.
    state : str
        proposed, approved, rejected, expired, void, applying, verified, partial, failed or undone.
    document : Document
    expires_at : datetime
    undo_of : str or None
        Hash of the plan that this one takes back.
    reason : str or None
        Why it is void, failed or partial.
    result : dict or None
        What applying it saw and did: before, steps, after, check.
    """

    hash: str
    state: State
    document: Document
    expires_at: dt.datetime
    undo_of: str | None = None
    reason: str | None = None
    result: dict[str, Any] | None = None

    @property
    def incident(self) -> str:
        """The incident it belongs to."""
        return self.document.incident

    @property
    def platform(self) -> str:
        """The platform that it changes."""
        return self.document.platform

    def as_json(self) -> dict[str, Any]:
        """The plan as verdicts, pages and the command line show it."""
        return {
            "hash": self.hash,
            "state": self.state,
            "incident": self.incident,
            "platform": self.platform,
            "expires_at": self.expires_at.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "undo_of": self.undo_of,
            "reason": self.document.reason,
            "why": self.reason,
            "actions": [
                action.model_dump(mode="json", exclude={"risk_reducing", "stops_new_risk"})
                for action in self.document.actions
            ],
        }


def parse(text: str) -> Document:
    """The document of a canonical text.

    Raises
    ------
    pydantic.ValidationError
        When it is not a plan document.
    """
    return Document.model_validate_json(text)
