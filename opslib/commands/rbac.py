"""`runbook rbac`: the least rights on a cluster, on PostgreSQL and on Redis that a runbook needs."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import typer
import yaml

from opslib.clusters import rights
from opslib.commands.output import out, print_json
from opslib.errors import UsageError
from opslib.rights import postgres, redis
from opslib.runs import catalogue, uses
from opslib.runs.catalogue import Runbook
from opslib.settings import Settings

_TABLE = re.compile(r"(?:([A-Za-z_][A-Za-z0-9_]*)\.)?([A-Za-z_][A-Za-z0-9_]*)")
_SETTING = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?")
_USER = re.compile(r"[A-Za-z0-9_.@-]+")
_KEYS = re.compile(r"[^\s\x00-\x1f\x7f]+")


def rbac(
    name: Annotated[str, typer.Argument(help="The runbook")],
    namespace: Annotated[str, typer.Option(help="The platform's namespace")] = "default",
    recorder: Annotated[str, typer.Option(help="The account that reads, on each system")] = "recorder",
    applier: Annotated[str, typer.Option(help="The account that changes, on each system")] = "applier",
    previewer: Annotated[
        str, typer.Option(help="A service account for dry runs alone; its policy needs Kubernetes 1.30")
    ] = "",
    for_: Annotated[
        Literal["kubernetes", "postgres", "redis"] | None, typer.Option("--for", help="This system's rights alone")
    ] = None,
    table: Annotated[list[str] | None, typer.Option(help="A table that its actions change, as public.trades")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="A setting of PostgreSQL that it may set")] = None,
    schema: Annotated[str, typer.Option(help="The schema of the platform's tables")] = "public",
    keys: Annotated[list[str] | None, typer.Option(help="A pattern of Redis' keys; all keys where left out")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False,
) -> None:
    """Print the least rights that a runbook needs, for the recorder and for the applier, from what it declares."""
    _must_fit(_USER, [recorder, applier], "name of an account")
    _must_fit(_SETTING, setting or [], "name of a setting")
    _must_fit(_TABLE, [schema, *(table or [])], "name of a table, plain, with or without its schema")
    _must_fit(_KEYS, keys or [], "pattern of keys")
    runbook = catalogue.find(Settings(), name)
    uses.check(runbook)
    tables = tuple(found.groups() for one in table or [] if (found := _TABLE.fullmatch(one)))
    objects = postgres.Objects(tuple((of or schema, name) for of, name in tables), tuple(setting or ()), schema)
    documents = _on_cluster(runbook, namespace, recorder, applier, previewer)
    statements = _on_postgres(runbook, recorder, applier, objects)
    lines = _on_redis(runbook, recorder, applier, keys or ["*"])
    if json:
        print_json({"runbook": name, "documents": documents, "postgres": statements, "redis": lines})
        return
    texts = {
        "kubernetes": yaml.safe_dump_all(documents, sort_keys=False).rstrip() if documents else "",
        "postgres": ";\n".join(["BEGIN", *statements, "COMMIT;"]) if statements else "",
        "redis": "\n".join(lines),
    }
    heads = {
        "kubernetes": f"# Kubernetes, what {name} needs: with kubectl apply -f -",
        "postgres": f"-- PostgreSQL from 12, what {name} needs: with psql in the platform's database, as a superuser.\n"
        f"-- Beforehand, who logs in: CREATE ROLE {recorder} LOGIN PASSWORD '...', and the same for {applier}.",
        "redis": f"# Redis from 6.2, what {name} needs: with redis-cli, without these comments; on every instance.\n"
        f"# What is there already stays: the rights of several runbooks add up. Passwords: ACL SETUSER {recorder} >...",
    }
    shown = [f"{heads[system]}\n{text}" for system, text in texts.items() if text and for_ in (None, system)]
    none = f"# {name} reads nothing of {for_ or 'these systems'} and changes nothing there: it needs no rights."
    out.print("\n\n".join(shown) or none, markup=False, highlight=False, soft_wrap=True)


def _on_cluster(
    runbook: Runbook, namespace: str, recorder: str, applier: str, previewer: str
) -> list[dict[str, object]]:
    """Roles and their bindings."""
    name, changes = f"runbook-{runbook.name}", rights.of_applier(runbook.proposes)
    reads = rights.of_recorder(runbook.reads, runbook.proposes)
    documents = rights.roles(f"{name}-recorder", namespace, recorder, reads)
    documents += rights.roles(f"{name}-applier", namespace, applier, changes)
    if previewer and changes:
        documents += rights.roles(f"{name}-previewer", namespace, previewer, changes)
        documents += rights.dry_runs_alone(f"{name}-previewer", namespace, previewer)
    return documents


def _on_postgres(runbook: Runbook, recorder: str, applier: str, objects: postgres.Objects) -> list[str]:
    """The statements that make both roles; none for whom the runbook needs nothing."""
    found, name = [], f"runbook-{runbook.name}"
    if _of(postgres.SYSTEM, [*runbook.reads, *runbook.proposes]):
        named = uses.named(runbook)
        wanted = postgres.of_recorder(runbook.reads, runbook.proposes, named)
        found += postgres.statements(f"{name}-recorder", recorder, wanted, objects, named)
    if _of(postgres.SYSTEM, runbook.proposes):
        found += postgres.statements(f"{name}-applier", applier, postgres.of_applier(runbook.proposes), objects)
    return found


def _on_redis(runbook: Runbook, recorder: str, applier: str, keys: list[str]) -> list[str]:
    """The lines for both users; none for whom the runbook needs nothing."""
    reads = redis.of_recorder(runbook.reads, runbook.proposes)
    return [*redis.lines(recorder, *reads, keys), *redis.lines(applier, *redis.of_applier(runbook.proposes), keys)]


def _of(system: str, names: list[str]) -> bool:
    return any(name.partition(".")[0] == system for name in names)


def _must_fit(shape: re.Pattern[str], words: list[str], what: str) -> None:
    """Raise `UsageError` for what cannot stand in the output as it is."""
    for word in words:
        if not shape.fullmatch(word):
            raise UsageError(f"{word!r} is no {what}")
