"""The platforms: where they are, what their limits are, whom to call. Read from `params/platforms/*.yaml`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from opslib import yamls
from opslib.errors import ConfigurationError, UnknownRunbook
from opslib.runs import catalogue, parameters
from opslib.settings import Settings

__all__ = ["UNKNOWN", "Contact", "Mistakes", "Platform", "check", "contacts", "load", "names", "read_yaml"]

UNKNOWN = "unknown"
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")
EndpointRole = Literal["recorder", "applier"]
Environment = Literal["production", "staging", "sandbox"]
ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)


class Strict(BaseModel):
    """A model in which an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Contact(Strict):
    """Whom to call at one level of authority.

    Attributes
    ----------
    who, how, within : str
        The role, where it is reached, and how soon it answers.
    """

    who: str
    how: str
    within: str


Minutes = Annotated[float, Field(ge=0, le=7 * 24 * 60)]


class ContactsFile(Strict):
    """`params/contacts.yaml`: whom to call, by level of authority, and when.

    Attributes
    ----------
    levels : dict
    updates : dict
        By severity: how often those who wait hear more [min].
    paths : dict
        By runbook, `RUNBOOK/CAUSE`, or `default`: when a level is called, after the incident was opened [min].
    """

    levels: dict[Literal["L1", "L2", "L3", "L4"], Contact]
    updates: dict[str, Annotated[Minutes, Field(gt=0)]] = Field(default_factory=dict)
    paths: dict[str, dict[Literal["L2", "L3", "L4"], Minutes]] = Field(default_factory=dict)
    note: str = ""


# A packed chart on this machine or of a web server, or one of a registry with its version: never one that moves.
Chart = Annotated[
    str,
    Field(
        pattern=r"^(/[^\s]+\.tgz|https://[^\s@]+\.tgz|oci://[^\s@:]+(:\d+)?(/[^\s@:]+)+[:@][A-Za-z0-9][A-Za-z0-9._:+-]*)$"
    ),
]


class PlatformFile(Strict):
    """A file under `params/platforms/`, as written."""

    title: str
    environment: Environment
    endpoints: dict[str, SecretStr | None] = Field(default_factory=dict)
    symbols: list[str] = Field(default_factory=list)
    limits: dict[str, float] = Field(default_factory=dict)
    guards: dict[str, Any] = Field(default_factory=dict)
    contacts: dict[Literal["L1", "L2", "L3", "L4"], Contact] = Field(default_factory=dict)
    charts: dict[str, Chart] = Field(
        default_factory=dict, description="Helm charts that a plan may upgrade to, by name"
    )
    runbooks: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Mistakes:
    """Collects the mistakes of files, to name them all at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, file: str, key: str, what: str) -> None:
        """Note one: which file, which key, what is wrong."""
        self.lines.append(f"{file}: {key}: {what}")

    def add_validation(self, file: str, error: ValidationError) -> None:
        """Note all that pydantic found; values are left out, since they may be secret."""
        for fact in error.errors(include_url=False, include_input=False, include_context=False):
            key = ".".join(str(part) for part in fact["loc"]) or "(the whole file)"
            self.add(file, key, fact["msg"][0].lower() + fact["msg"][1:])

    def raise_any(self) -> None:
        """Raise `ConfigurationError` with every mistake, if there are any."""
        if self.lines:
            count = f"{len(self.lines)} mistake{'s' if len(self.lines) > 1 else ''} in the parameter files"
            raise ConfigurationError("\n".join([f"{count}:", *self.lines]), mistakes=list(self.lines))


class Platform(Strict):
    """One platform, validated.

    Attributes
    ----------
    name, title : str
    environment : {"production", "staging", "sandbox"}
    endpoints : dict
        As declared, secrets unexpanded; empty for a sandbox platform, whose endpoints `runbook sandbox up` writes.
    runbooks : dict
        Parameters by runbook, which the runbook's own declaration validates.
    contacts : dict
        By level, L1 to L4.
    updates, paths : dict
        Of `params/contacts.yaml`: how often those who wait hear more, and when a level is called [min].
    limits, guards : dict
        Figures of the platform, and what must hold before a change.
    charts : dict
        Helm charts that a plan may upgrade to, by name.
    symbols : list of str
    file : Path
        Where this was read.
    state : Path
        The state folder of the home, for a sandbox platform.
    """

    name: str
    title: str
    environment: Environment
    endpoints: dict[str, SecretStr | None]
    runbooks: dict[str, dict[str, Any]]
    contacts: dict[str, Contact]
    limits: dict[str, float]
    symbols: list[str]
    guards: dict[str, Any]
    charts: dict[str, str]
    file: Path
    state: Path
    updates: dict[str, float] = Field(default_factory=dict)
    paths: dict[str, dict[str, float]] = Field(default_factory=dict)

    def paths_of(self, runbook: str) -> dict[str, dict[str, float]]:
        """The paths that a runbook may need: its own, those of its causes, and the default."""
        return {name: one for name, one in self.paths.items() if name.partition("/")[0] in (runbook, "default")}

    def declared(self) -> dict[str, str | None]:
        """The endpoints that there are now; of a sandbox platform, those of the running sandbox.

        Raises
        ------
        ConfigurationError
            When the sandbox is not up.
        """
        if self.environment != "sandbox":
            return {name: value.get_secret_value() if value else None for name, value in self.endpoints.items()}
        place = self.state / "sandbox" / f"{self.name}.json"
        try:
            endpoints = json.loads(place.read_text("utf-8"))["endpoints"]
        except FileNotFoundError:
            raise ConfigurationError(
                f"the sandbox of {self.name} is not up; start it with `runbook sandbox up {self.name}`"
            ) from None
        except (json.JSONDecodeError, KeyError) as error:
            raise ConfigurationError(f"{place} is damaged; `runbook sandbox down` and `up` write it again") from error
        return {str(name): None if value is None else str(value) for name, value in endpoints.items()}

    def has(self, name: str) -> bool:
        """Whether the platform has such a system, and it is there to be asked."""
        try:
            return self.declared().get(name) is not None
        except ConfigurationError:
            return False

    def endpoint(self, name: str, role: EndpointRole = "recorder") -> str:
        """The address of a system, credentials included; for the recorder and the applier alone.

        Parameters
        ----------
        name : str
            `api`, `redis`, `prometheus`, `alertmanager`, ...
        role : {"recorder", "applier"}
            The applier gets `<name>_admin` where that is declared; the recorder never does.

        Raises
        ------
        ConfigurationError
            When the platform declares no such system, the sandbox is not up, or a variable is not set.
        """
        endpoints = self.declared()
        value = endpoints.get(f"{name}_admin") if role == "applier" else None
        value = value or (None if name.endswith("_admin") and role == "recorder" else endpoints.get(name))
        if value is None:
            there = ", ".join(key for key, text in endpoints.items() if text and not key.endswith("_admin")) or "none"
            raise ConfigurationError(f"{self.name} declares no {name}; its systems: {there} ({self.file.name})")
        return self._expanded(name, value) if self.environment != "sandbox" else value

    def _expanded(self, name: str, value: str) -> str:
        """`value` with each `${NAME}` replaced from the environment, quoted for a URL."""
        missing = [variable for variable in _VARIABLE.findall(value) if variable not in os.environ]
        if missing:
            raise ConfigurationError(
                f"{self.file.name}: endpoints.{name}: set {', '.join(missing)} in the environment of this process"
            )
        return _VARIABLE.sub(lambda found: quote(os.environ[found[1]], safe=""), value)


def read_yaml(path: Path, mistakes: Mistakes) -> dict[str, Any] | None:
    """The mapping in a YAML file; what is wrong with the file itself goes to `mistakes`."""
    try:
        document = yamls.load(path.read_text("utf-8"))
    except FileNotFoundError:
        mistakes.add(path.name, "(the whole file)", f"is missing from {path.parent}")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mistakes.add(path.name, "(the whole file)", " ".join(str(error).split()))
    else:
        if isinstance(document, dict):
            return document
        mistakes.add(path.name, "(the whole file)", "must be a mapping")
    return None


def names(settings: Settings) -> list[str]:
    """The platforms that have a file, sorted."""
    found = (settings.params / "platforms").glob("*.yaml")
    return sorted(path.stem for path in found if NAME.fullmatch(path.stem))


def load(settings: Settings, name: str) -> Platform:
    """One platform.

    `unknown` is a platform without systems, for alerts that do not say which platform they are of.

    Raises
    ------
    ConfigurationError
        When there is no such platform, or its file or `contacts.yaml` does not validate: every mistake, as
        "file: key: what".
    """
    if name == UNKNOWN:
        return _platform(settings, name, PlatformFile(title="A platform that is not known", environment="production"))
    if name not in names(settings):
        there = ", ".join(names(settings)) or "none"
        raise ConfigurationError(f"there is no platform {name!r} under {settings.params / 'platforms'}; known: {there}")
    mistakes = Mistakes()
    document = _document(settings, name, mistakes)
    _read_contacts(settings, mistakes)
    mistakes.raise_any()
    if document is None:
        raise ConfigurationError
    return _platform(settings, name, document)


def contacts(settings: Settings) -> dict[str, Contact]:
    """Whom to call, by level, from `params/contacts.yaml`; a platform's own contacts go first.

    Raises
    ------
    ConfigurationError
        When the file does not validate.
    """
    mistakes = Mistakes()
    found = _read_contacts(settings, mistakes)
    mistakes.raise_any()
    return {} if found is None else {str(level): one for level, one in found.levels.items()}


def check(settings: Settings, mistakes: Mistakes) -> None:
    """Validate every platform with the values it gives to runbooks, and the contacts; mistakes go to `mistakes`."""
    for path in sorted((settings.params / "platforms").glob("*.yaml")):
        if NAME.fullmatch(path.stem) and path.stem != UNKNOWN:
            document = _document(settings, path.stem, mistakes)
            if document is not None:
                _check_values(settings, path.stem, document.runbooks, mistakes)
        else:
            mistakes.add(path.name, "(its name)", "is no name of a platform: small letters, digits, hyphens")
    _read_contacts(settings, mistakes)


def _document(settings: Settings, name: str, mistakes: Mistakes) -> PlatformFile | None:
    """A platform's file; where it does not validate, also what is wrong with the values it gives to runbooks."""
    path = settings.params / "platforms" / f"{name}.yaml"
    raw = read_yaml(path, mistakes)
    if raw is None:
        return None
    try:
        document = PlatformFile.model_validate(raw)
    except ValidationError as error:
        mistakes.add_validation(path.name, error)
        _check_values(settings, name, raw.get("runbooks"), mistakes)
        return None
    before = len(mistakes.lines)
    if document.environment == "sandbox" and document.endpoints:
        mistakes.add(path.name, "endpoints", "a sandbox platform has none here; `runbook sandbox up` writes them")
    if document.environment != "sandbox" and not document.endpoints:
        mistakes.add(path.name, "endpoints", "say where the systems of the platform are")
    if len(mistakes.lines) > before:
        _check_values(settings, name, document.runbooks, mistakes)
        return None
    return document


def _check_values(settings: Settings, name: str, given: object, mistakes: Mistakes) -> None:
    """Validate the values that a platform gives to runbooks against what these declare."""
    for runbook, values in given.items() if isinstance(given, dict) else ():
        key = f"runbooks.{runbook}"
        try:
            declared = catalogue.find(settings, str(runbook))
        except UnknownRunbook:
            mistakes.add(f"{name}.yaml", key, "there is no runbook of that name")
        except ConfigurationError as error:
            mistakes.add(f"{name}.yaml", key, f"its notebook is broken: {'; '.join(error.facts['mistakes'])}")
        else:
            for parameter, what in parameters.wrong(declared, values if isinstance(values, dict) else {}, name):
                mistakes.add(f"{name}.yaml", f"{key}.{parameter}", what)


def _read_contacts(settings: Settings, mistakes: Mistakes) -> ContactsFile | None:
    raw = read_yaml(settings.params / "contacts.yaml", mistakes)
    if raw is None:
        return None
    try:
        return ContactsFile.model_validate(raw)
    except ValidationError as error:
        mistakes.add_validation("contacts.yaml", error)
        return None


def _platform(settings: Settings, name: str, document: PlatformFile) -> Platform:
    common = _read_contacts(settings, Mistakes()) or ContactsFile(levels={})
    people = {str(level): one for level, one in {**common.levels, **document.contacts}.items()}
    return Platform(
        name=name,
        title=document.title,
        environment=document.environment,
        endpoints=document.endpoints,
        runbooks=document.runbooks,
        contacts=people,
        limits=document.limits,
        symbols=document.symbols,
        guards=document.guards,
        charts=document.charts,
        file=settings.params / "platforms" / f"{name}.yaml",
        state=settings.state,
        updates=common.updates,
        paths={name: {str(level): after for level, after in one.items()} for name, one in common.paths.items()},
    )
