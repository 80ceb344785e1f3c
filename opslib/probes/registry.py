"""The probes there are, by name, and how one is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from opslib.errors import ProbeError

if TYPE_CHECKING:
    import pyarrow as pa

F = TypeVar("F", bound=Callable[..., Any])

CONNECT_S = 2.0
READ_S = 5.0
LARGEST = 8 * 1024 * 1024
ROWS = 50_000
MODULES = (
    "certificates",
    "changes",
    "files",
    "gpu",
    "http",
    "kubernetes",
    "kubernetes_exec",
    "kubernetes_logs",
    "kubernetes_secrets",
    "kubernetes_workloads",
    "postgres",
    "postgres_sessions",
    "postgres_statements",
    "postgres_tables",
    "prometheus",
    "prometheus_rules",
    "redis",
    "redis_health",
    "redis_keys",
    "redis_latency",
)
# Probes whose name does not begin with the system that they need.
_SYSTEMS = {
    "certificates": "api",
    "changes": "kubernetes",
    "gpu": "kubernetes",
    "gpu.metrics": "prometheus",
    "http": "api",
    "logs": "kubernetes",
}


@dataclass(frozen=True)
class Target:
    """A system to look at.

    Attributes
    ----------
    system : str
        Its name in the platform: `redis`, `api`, `prometheus`.
    url : str
        Its address, with the credentials of the read-only identity.
    commands : mapping
        The commands that the runbook declares it runs in pods, by name: words, some of them `{placeholders}`.
    incident : str
        Whose look it is; systems that list their clients are told.
    """

    system: str
    url: str = field(repr=False)
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    incident: str = ""

    @property
    def where(self) -> str:
        """The address without credentials, for messages."""
        parts = urlsplit(self.url)
        if parts.scheme == "kubeconfig":
            return parse_qs(parts.query).get("namespace", ["default"])[0]
        if parts.scheme == "file":
            return parts.path
        return f"{parts.hostname or ''}:{parts.port or _PORTS.get(parts.scheme, '')}"

    def error(self, what: str) -> ProbeError:
        """A `ProbeError` that says which system, where, and what went wrong."""
        return ProbeError(f"{self.system} at {self.where}: {what}", system=self.system)


_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379, "postgresql": 5432, "postgres": 5432}


@dataclass(frozen=True)
class Frame:
    """A table that a probe saw.

    Attributes
    ----------
    table : pyarrow.Table
    index : str or None
        The column that is the rows' name in the notebook.
    note : str or None
        What of it could not be seen, in words.
    """

    table: pa.Table
    index: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Probe:
    """A probe: its name, the system that it needs unless an argument `system` names another, and the function."""

    name: str
    function: Callable[..., Any]

    @property
    def system(self) -> str:
        """The system that the name begins with, or that its kind of probe is known to need."""
        first = self.name.partition(".")[0]
        return _SYSTEMS.get(self.name) or _SYSTEMS.get(first, first)


_probes: dict[str, Probe] = {}


def probe(name: str) -> Callable[[F], F]:
    """Declare a function `(target, **arguments) -> Frame | JSON` as the probe of that name."""

    def declare(function: F) -> F:
        _probes[name] = Probe(name, function)
        return function

    return declare


def names() -> list[str]:
    """All probes, sorted."""
    _load()
    return sorted(_probes)


def find(name: str) -> Probe:
    """The probe of that name.

    Raises
    ------
    ProbeError
        When there is none.
    """
    _load()
    if name not in _probes:
        raise ProbeError(f"there is no probe {name!r}; there are {', '.join(names())}")
    return _probes[name]


def call(name: str, target: Target, arguments: dict[str, Any]) -> Any:
    """Run a probe: a `Frame`, or a value of JSON types.

    Raises
    ------
    ProbeError
        When there is no such probe, the arguments do not fit it, or it could not see.
    """
    found = find(name)
    try:
        bound = inspect.signature(found.function).bind(target, **arguments)
    except TypeError as error:
        raise ProbeError(f"{name}: {error}") from error
    return found.function(*bound.args, **bound.kwargs)


def _load() -> None:
    for module in MODULES:
        import_module(f"opslib.probes.{module}")
