"""`runbook rbac`: the least rights on a cluster that a runbook needs."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from opslib.clusters import rights
from opslib.commands.output import out, print_json
from opslib.runs import catalogue, uses
from opslib.settings import Settings


def rbac(
    name: Annotated[str, typer.Argument(help="The runbook")],
    namespace: Annotated[str, typer.Option(help="The platform's namespace")] = "default",
    recorder: Annotated[str, typer.Option(help="The service account that reads")] = "recorder",
    applier: Annotated[str, typer.Option(help="The service account that changes")] = "applier",
    previewer: Annotated[
        str, typer.Option(help="A service account for dry runs alone; its policy needs Kubernetes 1.30")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False,
) -> None:
    """Print the least Role that a runbook needs, for the recorder and for the applier, from what it declares."""
    runbook = catalogue.find(Settings(), name)
    uses.check(runbook)
    documents = [
        *rights.roles(
            f"runbook-{name}-recorder", namespace, recorder, rights.of_recorder(runbook.reads, runbook.proposes)
        ),
        *rights.roles(f"runbook-{name}-applier", namespace, applier, rights.of_applier(runbook.proposes)),
    ]
    if previewer and runbook.proposes:
        wanted = rights.of_applier(runbook.proposes)
        documents += rights.roles(f"runbook-{name}-previewer", namespace, previewer, wanted)
        documents += rights.dry_runs_alone(f"runbook-{name}-previewer", namespace, previewer)
    if json:
        print_json({"runbook": name, "documents": documents})
    elif documents:
        out.print(yaml.safe_dump_all(documents, sort_keys=False), markup=False, highlight=False, soft_wrap=True, end="")
    else:
        out.print(f"# {name} reads nothing of a cluster and changes nothing there: it needs no role.", markup=False)
