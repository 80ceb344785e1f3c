"""The runbooks there are: every notebook under `notebooks/`, as its own metadata and parameters cell declare it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from opslib.errors import ConfigurationError, UnknownRunbook
from opslib.runs.declaration import Parameter, declared, problem
from opslib.settings import Settings

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
Words = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Facts(BaseModel):
    """The `runbook` object of a notebook's metadata."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(pattern=r"^[A-Z]{1,2}\d{2}$")
    title: str = Field(min_length=1)
    kind: Literal["alert", "procedure", "routine", "incident"]
    platforms: Words = Field(default_factory=list)
    trigger: Words = Field(default_factory=list)
    severity: str = ""
    respond_within: str = ""
    authority: Literal["", "L1", "L2", "L3", "L4"] = ""
    target: Words = Field(default_factory=list)
    cell_timeout_s: float | None = Field(default=None, gt=0)
    run_timeout_s: float | None = Field(default=None, gt=0)
    card: bool = False
    queue_timeout_s: float | None = Field(default=None, gt=0)
    cooldown_s: float | None = Field(default=None, ge=0)
    runs_per_hour: int | None = Field(default=None, ge=1)
    reads: Words = Field(default_factory=list)
    proposes: Words = Field(default_factory=list)
    commands: dict[str, list[str]] = Field(default_factory=dict)

    @field_validator("commands")
    @classmethod
    def _plain(cls, commands: dict[str, list[str]]) -> dict[str, list[str]]:
        wrong = [f"{name}: {why}" for name, words in commands.items() if (why := problem(words))]
        if wrong:
            raise ValueError("; ".join(wrong))
        return commands


@dataclass(frozen=True)
class Bounds:
    """What a runbook declares of its place in the queue; None where it declares nothing.

    Attributes
    ----------
    queue_timeout_s : float or None
        How long one of its runs may wait [s].
    cooldown_s : float or None
        How long after a run that succeeded an alert of the same target starts none [s]; 0: never so.
    runs_per_hour : int or None
        How many of its runs alerts may start in an hour, on one platform.
    """

    queue_timeout_s: float | None = None
    cooldown_s: float | None = None
    runs_per_hour: int | None = None


@dataclass(frozen=True)
class Runbook:
    """One runbook of the catalogue.

    Attributes
    ----------
    name : str
        The notebook's file name without its ending.
    id, title, kind : str
        As in the inventory.
    platforms : list of str
        Where it applies; empty or `*`: everywhere.
    triggers : list of str
        The alerts that it answers.
    severity, respond_within, authority : str
        How bad, how fast, and the level whose authority its fix needs.
    target : list of str
        The labels of an alert that name what the incident is about.
    cell_timeout_s, run_timeout_s : float or None
        Bounds [s] of one cell and of the run; the settings' where None.
    card : bool
        Whether it computes on a card, where there is one: its kernel is then started plainly.
    bounds : Bounds
        What it declares of its place in the queue.
    parameters : list of Parameter
        As the parameters cell declares them.
    path : Path
        The notebook.
    reads, proposes : list of str
        The probes that it may call (`PROBE`, or `PROBE@SYSTEM` for another system than the probe's own), and the
        actions that it may propose. The recorder refuses a run all others, where the notebook declares either.
    declares : bool
        Whether it declares either; one that does not is held to nothing.
    commands : dict
        The commands that it runs in pods, by name: words, some of them `{placeholders}`.
    """

    name: str
    id: str
    title: str
    kind: str
    platforms: list[str]
    triggers: list[str]
    severity: str
    respond_within: str
    authority: str
    target: list[str]
    cell_timeout_s: float | None
    run_timeout_s: float | None
    card: bool
    bounds: Bounds
    parameters: list[Parameter]
    path: Path
    reads: list[str] = field(default_factory=list)
    proposes: list[str] = field(default_factory=list)
    declares: bool = False
    commands: dict[str, list[str]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """This runbook as `runbook list --json` prints it."""
        return {
            "id": self.id,
            "name": self.name,
            "title": self.title,
            "kind": self.kind,
            "platforms": self.platforms,
            "trigger": self.triggers,
            "severity": self.severity,
            "respond_within": self.respond_within,
            "authority": self.authority,
            "parameters": [parameter.document() for parameter in self.parameters],
        }


def runbooks(settings: Settings) -> dict[str, Runbook]:
    """Every runbook, by name, in order of id.

    Raises
    ------
    ConfigurationError
        When notebooks are not runbooks; every mistake is listed.
    """
    good, mistakes = survey(settings)
    if mistakes:
        listed = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise ConfigurationError(f"notebooks that are not runbooks:\n{listed}", mistakes=mistakes)
    return good


def survey(settings: Settings) -> tuple[dict[str, Runbook], list[str]]:
    """The runbooks that can be run, and what is wrong with the others."""
    good: dict[str, Runbook] = {}
    mistakes: list[str] = []
    for path in _notebooks(settings):
        try:
            runbook = read(path)
        except ConfigurationError as error:
            mistakes += error.facts["mistakes"]
            continue
        if runbook.name in good:
            mistakes.append(f"{path}: there is another runbook of this name, {good[runbook.name].path}")
        else:
            good[runbook.name] = runbook
    return dict(sorted(good.items(), key=lambda item: (item[1].id, item[0]))), mistakes


def find(settings: Settings, name: str) -> Runbook:
    """The runbook of that name. Notebooks that other names have may be broken; this does not look at them.

    Raises
    ------
    UnknownRunbook
        When there is none; names the nearest ones. No path is made of `name`.
    ConfigurationError
        When its notebook is not a runbook.
    """
    paths = {path.stem: path for path in _notebooks(settings)}
    if name in paths:
        return read(paths[name])
    import difflib

    near = difflib.get_close_matches(name[:100], paths, n=3) or sorted(paths)[:10]
    known = f"; perhaps {', '.join(near)}" if near else f"; {settings.notebooks} holds none"
    raise UnknownRunbook(f"there is no runbook {name[:100]!r}{known}. `runbook list` shows those there are.")


def read(path: Path) -> Runbook:
    """The runbook in one notebook file.

    Raises
    ------
    ConfigurationError
        When it is not one; `mistakes` says everything that is wrong.
    """
    mistakes: list[str] = []
    try:
        notebook = json.loads(path.read_text("utf-8"))
        cells = notebook["cells"]
        metadata = notebook["metadata"].get("runbook")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_one(path, [f"cannot be read as a notebook: {error}"]) from error
    facts: Facts | None = None
    if not _NAME.fullmatch(path.stem):
        mistakes.append("the file's name must be of small letters, digits and hyphens")
    try:
        facts = Facts.model_validate(metadata)
    except ValidationError as error:
        mistakes += [
            f"metadata.runbook{''.join(f'.{step}' for step in one['loc'])}: {one['msg']}" for one in error.errors()
        ]
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    parameters: list[Parameter] = []
    if len(tagged) != 1 or tagged[0].get("cell_type") != "code":
        mistakes.append("exactly one code cell must have the tag `parameters`")
    else:
        parameters, wrong = declared("".join(tagged[0]["source"]))
        mistakes += wrong
        kinds = {parameter.name: parameter.type for parameter in parameters}
        mistakes += [
            f"the parameters cell must declare `{name}: {kind}`"
            for name, kind in (("platform", "str"), ("alert", "dict"))
            if kinds.get(name) != kind and not wrong
        ]
    if facts is None or mistakes:
        raise _not_one(path, mistakes)
    of_queue = {"queue_timeout_s", "cooldown_s", "runs_per_hour"}
    rest = facts.model_dump(exclude={"trigger", *of_queue})
    bounds = Bounds(**facts.model_dump(include=of_queue))
    rest["declares"] = not facts.model_fields_set.isdisjoint(("reads", "proposes"))
    return Runbook(name=path.stem, triggers=facts.trigger, parameters=parameters, path=path, bounds=bounds, **rest)


def bounds(settings: Settings, name: str) -> Bounds:
    """What a runbook declares of its place in the queue; nothing where there is no such runbook, or a broken one.

    Read again only when its file has changed: intake asks for each delivery.
    """
    for path in sorted(settings.notebooks.glob("*/*.ipynb")):
        if path.stem == name:
            try:
                status = path.stat()
            except OSError:
                break
            return _bounds(path, status.st_mtime_ns, status.st_size)
    return Bounds()


@lru_cache(maxsize=512)
def _bounds(path: Path, _changed_ns: int, _size: int) -> Bounds:
    try:
        return read(path).bounds
    except ConfigurationError:
        return Bounds()


def _notebooks(settings: Settings) -> list[Path]:
    """The notebook files, one folder deep; a name that occurs twice counts once, the first of the folders."""
    found = settings.notebooks.glob("*/*.ipynb")
    return sorted(path for path in found if not path.name.startswith(".") and path.parent.name != ".ipynb_checkpoints")


def _not_one(path: Path, mistakes: list[str]) -> ConfigurationError:
    """The error that lists what is wrong with one notebook."""
    listed = [f"{path.parent.name}/{path.name}: {mistake}" for mistake in mistakes]
    return ConfigurationError("not a runbook:\n" + "\n".join(f"  {one}" for one in listed), mistakes=listed)


def headings(path: Path) -> dict[str, str]:
    """The heading that each cell of a notebook stands under, by cell id."""
    found: dict[str, str] = {}
    heading = ""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            lines = re.findall(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", "".join(cell["source"]), re.MULTILINE)
            heading = lines[-1] if lines else heading
        found[str(cell.get("id", ""))] = heading
    return found
