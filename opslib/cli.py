"""The command `runbook`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import structlog
import typer
from typer.core import TyperGroup
from typer.main import get_command

from opslib.commands.output import err, in_letters_of_the_terminal, printable
from opslib.errors import RunbookError, UsageError

# Command -> (module under opslib.commands, attribute). Only the module of the command that is called is imported.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("list", "list_"),
    "new": ("new", "new"),
    "run": ("run", "run"),
    "serve": ("serve", "serve"),
    "worker": ("worker", "worker"),
    "routes": ("routes", "app"),
    "alerts": ("alerts", "alerts"),
    "incidents": ("incidents", "incidents"),
    "show": ("incidents", "show"),
    "ack": ("incidents", "ack"),
    "note": ("incidents", "note"),
    "escalate": ("incidents", "escalate"),
    "resolve": ("incidents", "resolve"),
    "cancel": ("run", "cancel"),
    "people": ("people", "app"),
    "approve": ("actions", "approve"),
    "reject": ("actions", "reject"),
    "apply": ("actions", "apply"),
    "undo": ("actions", "undo"),
    "hold": ("actions", "hold"),
    "verify": ("verify", "verify"),
    "replay": ("replay", "replay"),
    "backtest": ("replay", "backtest"),
    "postmortem": ("postmortem", "postmortem"),
    "lab": ("lab", "lab"),
    "schedule": ("schedule", "schedule"),
    "rbac": ("rbac", "rbac"),
    "doctor": ("doctor", "doctor"),
}
PLUGINS = "runbook.commands"  # entry points: commands that live outside opslib


class Commands(TyperGroup):
    """The commands, each loaded when it is called."""

    def list_commands(self, _context: Any) -> list[str]:
        """In the order of their use, those from outside last."""
        return [*COMMANDS, *sorted(point.name for point in entry_points(group=PLUGINS))]

    def get_command(self, _context: Any, name: str) -> Any:
        """The command of that name, or None."""
        if name in COMMANDS:
            module, attribute = COMMANDS[name]
            return command(getattr(importlib.import_module(f"opslib.commands.{module}"), attribute), name)
        for point in entry_points(group=PLUGINS, name=name):
            return command(point.load(), name)
        return None


def command(target: Any, name: str) -> Any:
    """A Typer app, or a function that is one command, as click's."""
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name)(target)
        target = single
    found = get_command(target)
    found.name = name
    return found


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, help="Executable runbooks for the on-call.")


@app.callback()
def _root() -> None:
    """Executable runbooks: an alert becomes an executed, sealed notebook."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exit codes: 0 done, 1 failed or does not hold, 2 wrong usage or parameters."""
    structlog.configure(logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr))
    in_letters_of_the_terminal()
    try:
        get_command(app)(args=list(arguments) if arguments is not None else None)
    except UsageError as error:
        err.print(f"runbook: {printable(error)}", markup=False)
        sys.exit(2)
    except RunbookError as error:
        err.print(f"runbook: {printable(error)}", markup=False)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except UnicodeEncodeError as error:
        err.print(f"runbook: {printable(error.object)!r} is no UTF-8 text; write it in UTF-8", markup=False)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        err.print(
            f"runbook: {printable(f'{where}{error.strerror or error}')}; `runbook doctor` says more", markup=False
        )
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("runbook: interrupted", markup=False)
        sys.exit(130)
