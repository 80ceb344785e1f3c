"""`runbook sandbox`: start, break, heal and end trading platforms in a box."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from opslib.commands.output import err, out, print_json
from opslib.errors import UsageError
from opslib.settings import Settings
from sandbox.platforms import PLATFORMS, find
from sandbox.progress import Progress

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Trading platforms in a box, to learn on and to break.")

_USUAL = ("crypto",)  # what `up` starts when no platform is named
_SHOWN = ("api", "web", "postgres", "redis", "prometheus", "kubernetes")  # of a platform, on a terminal
_NAMES = ", ".join(PLATFORMS)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def up(
    platforms: Annotated[list[str] | None, typer.Argument(metavar="[PLATFORM]...", help=f"Of: {_NAMES}.")] = None,
    monitoring: Annotated[
        bool | None,
        typer.Option(
            "--monitoring/--no-monitoring", help="With Prometheus and Alertmanager; default: where installed."
        ),
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Where Alertmanager posts; default: the local intake.")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Use a cluster of your own.", exists=True)] = None,
    context: Annotated[str | None, typer.Option(help="Which of the kubeconfig; goes with --kubeconfig.")] = None,
    deployed: Annotated[
        bool, typer.Option("--deployed", help="The platform crypto as Deployments of the sandbox's Kubernetes.")
    ] = False,
    json_: Json = False,
) -> None:
    """Start platforms on real servers. Harmless where they run already."""
    from opslib.people import ensure_sandbox_people  # the store is loaded only by the command that needs it

    wanted = [find(name) for name in dict.fromkeys(platforms or _USUAL)]
    if deployed and all(platform.name != "crypto" for platform in wanted):
        raise UsageError("--deployed is of the platform crypto: derivatives is on Kubernetes anyway")
    settings = Settings()
    lines: list[str] = []
    with _progress() as say:
        if kubeconfig is not None or context is not None:
            _adopt(settings, kubeconfig, context, say)
        for platform in wanted:
            more = {"deployed": True} if deployed and platform.name == "crypto" else {}
            where = platform.up(settings, progress=say, monitored=monitoring, webhook=webhook, **more)
            lines.append(f"{platform.name} is up at {where}")
        say("making demo-l1 to demo-l4, who may act in the sandbox alone")
        ensure_sandbox_people(settings)
    if json_:
        print_json(_status(settings))
    else:
        out.print("\n".join(lines), markup=False)


@app.command()
def down(
    platforms: Annotated[list[str] | None, typer.Argument(metavar="[PLATFORM]...", help="Default: all.")] = None,
    json_: Json = False,
) -> None:
    """End platforms and remove what they kept. Harmless where nothing runs."""
    wanted = [find(name) for name in dict.fromkeys(platforms or PLATFORMS)]
    settings = Settings()
    with _progress() as say:
        ended = [platform.name for platform in wanted if platform.down(settings, progress=say)]
    if json_:
        print_json({"ended": ended})
    else:
        out.print(f"{' and '.join(ended)} ended" if ended else "nothing was running")


@app.command()
def status(json_: Json = False) -> None:
    """Show where everything answers."""
    document = _status(Settings())
    if json_:
        print_json(document)
        return
    for name in ("postgres", "prometheus", "alertmanager", "kubeconfig"):
        out.print(f"{name:<14}{_without_password(document[name]) or 'not running'}", markup=False)
    for name in PLATFORMS:
        endpoints = document["platforms"].get(name)
        if endpoints is None:
            out.print(f"{name:<14}not running; start it with `runbook sandbox up {name}`", markup=False)
            continue
        for what in _SHOWN:
            if endpoints.get(what):
                out.print(f"{f'{name} {what}':<24}{_without_password(endpoints[what])}", markup=False)


@app.command()
def faults(json_: Json = False) -> None:
    """List the faults that `break` knows, each with its platform."""
    from sandbox.faults import FAULTS

    if json_:
        print_json({"faults": [{"fault": name, "platform": fault.platform} for name, fault in FAULTS.items()]})
        return
    for name, fault in FAULTS.items():
        out.print(f"{name:<40}{fault.platform}", markup=False)


@app.command("break")
def break_(
    fault: Annotated[str, typer.Argument(metavar="RUNBOOK/CAUSE", help="One of `runbook sandbox faults`.")],
    platform: Annotated[str | None, typer.Option(help="Platform to break; default: the fault's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Varies target, intensity and timing; default: any.")] = None,
    decoys: Annotated[int, typer.Option(min=0, max=20, help="True but unrelated events beside it.")] = 0,
    json_: Json = False,
) -> None:
    """Break a platform, and wait until it shows. For example: break var-breach/single-symbol."""
    from sandbox import faults as catalogue

    if platform is not None:
        find(platform)
    number = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    with _progress() as say:
        result = catalogue.break_(Settings(), fault, platform=platform, seed=number, decoys=decoys, progress=say)
    _show(result, json_, f"broken as {fault} with seed {number}: {result['shows']}")


@app.command()
def heal(
    platforms: Annotated[
        list[str] | None, typer.Argument(metavar="[PLATFORM]...", help=f"Of: {_NAMES}; default: every one that runs.")
    ] = None,
    platform: Annotated[str | None, typer.Option(help="One more, as an option.")] = None,
    json_: Json = False,
) -> None:
    """Put platforms back to what they are right after `up`, and wait until they are healthy.

    Healing twice is harmless.
    """
    from sandbox import faults as catalogue

    asked = [*(platforms or []), *([] if platform is None else [platform])]
    wanted: list[str | None] = [find(name).name for name in dict.fromkeys(asked)]
    settings = Settings()
    with _progress() as say:
        told = [catalogue.heal(settings, name, progress=say) for name in wanted or [None]]
    result: dict[str, Any] = told[0] if len(told) == 1 else {"healthy": True, "platforms": told}
    if json_:
        print_json(result)
        return
    for one in result.get("platforms", [result]):
        _show(one, json_, f"{one['platform']} is healthy")


def _show(result: dict[str, Any], json_: bool, line: str) -> None:
    if json_:
        print_json(result)
        return
    out.print(line, markup=False)
    if "var_pct" in result:
        figures = ", ".join(f"{name} {value:.2f}" for name, value in result["var_pct"].items())
        out.print(f"VaR [% of NAV]: {figures}", markup=False)


def _status(settings: Settings) -> dict[str, Any]:
    """The document of `status --json`: addresses, null for what does not run."""
    from opslib import store

    server = store.running(settings) if settings.database_url is None else None
    postgres = server.url("reader") if server is not None else None
    if settings.database_url is not None:
        postgres = settings.database_url.get_secret_value()
    found = {name: platform.status(settings) for name, platform in PLATFORMS.items()}
    running = {name: endpoints for name, endpoints in found.items() if endpoints is not None}

    def first(what: str) -> str | None:
        return next((endpoints[what] for endpoints in running.values() if endpoints.get(what)), None)

    return {
        "postgres": postgres,
        "redis": first("redis_admin"),
        "prometheus": first("prometheus"),
        "alertmanager": first("alertmanager"),
        "kubeconfig": first("kubeconfig") or _kubeconfig(settings),
        "platforms": running,
    }


def _adopt(settings: Settings, kubeconfig: Path | None, context: str | None, progress: Progress) -> None:
    from sandbox import cluster

    if kubeconfig is None or context is None:
        raise UsageError("--kubeconfig and --context go together: a cluster of your own is never guessed")
    cluster.up(settings, progress=progress, kubeconfig=kubeconfig, context=context)


def _kubeconfig(settings: Settings) -> str | None:
    from sandbox import cluster

    found = cluster.find(settings)
    return None if found is None else str(found.kubeconfig)


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
