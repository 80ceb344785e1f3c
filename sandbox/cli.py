"""`runbook sandbox`: start, break, heal and end trading platforms in a box."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from opslib.commands.output import err, out, print_json
from opslib.settings import Settings
from sandbox import state
from sandbox.errors import UnknownPlatform

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Trading platforms in a box, to learn on and to break.")

_PLATFORMS = ("crypto",)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def up(
    platforms: Annotated[list[str] | None, typer.Argument(metavar="[PLATFORM]...", help="Only crypto so far.")] = None,
    monitoring: Annotated[
        bool | None,
        typer.Option(
            "--monitoring/--no-monitoring", help="With Prometheus and Alertmanager; default: where installed."
        ),
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Where Alertmanager posts; default: the local intake.")] = None,
    json_: Json = False,
) -> None:
    """Start platforms on real servers. Harmless where they run already."""
    from opslib.people import ensure_sandbox_people  # the store is loaded only by the command that needs it
    from sandbox import crypto

    for name in platforms or _PLATFORMS:
        _known(name)
    settings = Settings()
    with _progress() as say:
        found = crypto.up(settings, monitored=monitoring, webhook=webhook or crypto.DEFAULT_WEBHOOK, progress=say)
        say("making demo-l1 to demo-l4, who may act in the sandbox alone")
        ensure_sandbox_people(settings)
    if json_:
        print_json(_status(settings))
    else:
        out.print(f"crypto is up at {found.endpoints.api}", markup=False)


@app.command()
def down(json_: Json = False) -> None:
    """End every platform and remove what it kept. Harmless where nothing runs."""
    from sandbox import crypto

    with _progress() as say:
        ran = crypto.down(Settings(), progress=say)
    if json_:
        print_json({"ended": list(_PLATFORMS) if ran else []})
    else:
        out.print("crypto ended" if ran else "nothing was running")


@app.command()
def status(json_: Json = False) -> None:
    """Show where everything answers."""
    document = _status(Settings())
    if json_:
        print_json(document)
        return
    for name in ("postgres", "prometheus", "alertmanager", "kubeconfig"):
        out.print(f"{name:<14}{_without_password(document[name]) or 'not running'}", markup=False)
    for name in _PLATFORMS:
        endpoints = document["platforms"].get(name)
        if endpoints is None:
            out.print(f"{name:<14}not running; start it with `runbook sandbox up {name}`", markup=False)
            continue
        for what, address in endpoints.items():
            if what in ("api", "redis"):
                out.print(f"{f'{name} {what}':<14}{_without_password(address)}", markup=False)


@app.command("break")
def break_(
    fault: Annotated[str, typer.Argument(metavar="RUNBOOK/CAUSE", help="For example var-breach/single-symbol.")],
    platform: Annotated[str, typer.Option(help="Platform to break.")] = "crypto",
    seed: Annotated[int | None, typer.Option(help="Varies symbol, intensity and timing; default: any.")] = None,
    decoys: Annotated[int, typer.Option(min=0, max=20, help="True but unrelated events beside it.")] = 0,
    json_: Json = False,
) -> None:
    """Break a platform, and wait until it shows.

    Faults: var-breach/ followed by single-symbol, all-symbols, after-model-switch or stale-volatility.
    """
    from sandbox import faults

    _known(platform)
    number = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    with _progress() as say:
        result = faults.break_(Settings(), fault, seed=number, decoys=decoys, progress=say)
    _show(result, json_, f"broken as {fault} with seed {number}")


@app.command()
def heal(
    platform: Annotated[str, typer.Option(help="Platform to heal.")] = "crypto",
    json_: Json = False,
) -> None:
    """Put a platform back to what it is right after `up`, and wait until it is healthy. Healing twice is harmless."""
    from sandbox import faults

    _known(platform)
    with _progress() as say:
        result = faults.heal(Settings(), progress=say)
    _show(result, json_, f"{platform} is healthy")


def _show(result: dict[str, Any], json_: bool, line: str) -> None:
    if json_:
        print_json(result)
        return
    figures = ", ".join(f"{name} {value:.2f}" for name, value in result["var_pct"].items())
    out.print(f"{line}; VaR [% of NAV]: {figures}", markup=False)


def _known(platform: str) -> None:
    if platform not in _PLATFORMS:
        raise UnknownPlatform(f"the sandbox has no platform {platform!r}; it has {', '.join(_PLATFORMS)}")


def _status(settings: Settings) -> dict[str, Any]:
    """The document of `status --json`: addresses, null for what does not run."""
    from opslib import store

    server = store.running(settings) if settings.database_url is None else None
    postgres = server.url("reader") if server is not None else None
    if settings.database_url is not None:
        postgres = settings.database_url.get_secret_value()
    found = state.load(state.file(settings))
    endpoints = found.endpoints if found is not None and found.whole else None
    platforms: dict[str, Any] = {}
    if found is not None and endpoints is not None:
        platforms["crypto"] = {
            "api": endpoints.api,
            "redis": endpoints.redis,
            "redis_admin": endpoints.redis_admin,
            "prometheus": endpoints.prometheus,
            "alertmanager": endpoints.alertmanager,
            "sandbox_id": found.sandbox_id,
        }
    return {
        "postgres": postgres,
        "redis": endpoints.redis_admin if endpoints else None,
        "prometheus": endpoints.prometheus if endpoints else None,
        "alertmanager": endpoints.alertmanager if endpoints else None,
        "kubeconfig": None,
        "platforms": platforms,
    }


def _without_password(address: str | None) -> str:
    """An address as it may be shown on a screen."""
    if not address or "@" not in address:
        return address or ""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


@contextmanager
def _progress() -> Iterator[Any]:
    """A line that moves on a terminal, plain lines elsewhere; always on standard error."""
    console: Console = err
    if not console.is_terminal:
        yield lambda message: console.print(message, markup=False)
        return
    with console.status("...") as spinner:
        yield lambda message: spinner.update(escape(message))
