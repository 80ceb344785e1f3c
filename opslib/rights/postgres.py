"""The rights on PostgreSQL that each probe and each action needs, and the least roles for a runbook, as SQL.

A right is a block of `opslib/sql/rights_postgres.sql`. Tables and settings are not in a declaration: those that a named
query reads are known here, the others are named by whoever gives the rights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg import sql

from opslib.sql import queries

SYSTEM = "postgres"
_STATEMENTS = ("sessions", "statements")

READS: dict[str, tuple[str, ...]] = {
    "postgres.activity": ("sessions",),
    "postgres.bloat": ("schema", "rows"),
    "postgres.blockers": ("sessions",),
    "postgres.connections": ("sessions",),
    "postgres.database": (),
    "postgres.disk": ("sessions", "wal"),
    "postgres.explain": ("schema", "rows"),
    "postgres.indexes": (),
    "postgres.locks": (),
    "postgres.long_transactions": ("sessions",),
    "postgres.missing_indexes": _STATEMENTS,
    "postgres.named": (),
    "postgres.replication": ("sessions",),
    "postgres.server": (),
    "postgres.settings": ("settings",),
    "postgres.slow_queries": _STATEMENTS,
    "postgres.sql": ("schema", "rows"),
    "postgres.tables": (),
    "postgres.usage": ("sessions",),
    "postgres.vacuum": ("sessions",),
}
# What a query needs that `postgres.named` is asked for; those that are not here need nothing.
NAMED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("activity", "blocked", "connections", "databases", "long_transactions"), ("sessions",)),
    **dict.fromkeys(("replication", "running", "usage", "vacuum"), ("sessions",)),
    "bloat": ("schema", "rows"),
    "columns_of": ("schema",),
    "settings": ("settings",),
    "wal": ("wal",),
}
# The columns that a named query reads, by table.
COLUMNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "desk_positions": (
        "positions",
        ("underlying", "kind", "strike", "expiry_days", "quantity", "entry_price", "updated_at", "book"),
    ),
    "desk_hedges": ("hedges", ("underlying", "quantity", "price", "timestamp")),
    "served_greeks": (
        "greeks_history",
        ("timestamp", "underlying", "kind", "strike", "days", "price", "delta", "gamma", "vega", "theta"),
    ),
}
# What previewing an action reads, and what making it needs besides.
OBSERVES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("postgres.analyze", "postgres.vacuum"), ("schema", "sessions")),
    **dict.fromkeys(("postgres.create-index", "postgres.drop-index", "postgres.reindex"), ("schema", "sessions")),
    "postgres.delete-old-rows": ("schema", "rows"),
    "postgres.set-setting": ("settings",),
    "postgres.terminate-sessions": ("sessions",),
}
CHANGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("postgres.analyze", "postgres.vacuum"), ("maintain",)),
    "postgres.create-index": ("create", "own"),
    **dict.fromkeys(("postgres.drop-index", "postgres.reindex"), ("own",)),
    "postgres.delete-old-rows": ("delete", "maintain"),
    "postgres.set-setting": ("set", "reload"),
    "postgres.terminate-sessions": ("signal",),
}
_WHY = {
    "sessions": "what the sessions of others do",
    "settings": "all settings, and where each is set",
    "wal": "the room that the WAL takes",
    "statements": "the statements that were counted",
    "schema": "to find tables by their names",
    "rows": "rows of these tables",
    "signal": "to end sessions; those of superusers it cannot end",
    "delete": "to delete rows",
    "create": "to put an index into the schema",
    "maintain": "to vacuum and analyze.\n-- From 17 on MAINTAIN gives just that. Before, only the owner of a table "
    "may: the role becomes a member of the owner, and may do all that the owner may",
    "own": "to build and drop indexes.\n-- Only the owner of a table may: the role becomes a member of the owner, "
    "and may do all that the owner may",
    "set": "to write these settings into the server's file.\n-- From 15 on each is given by name; before, only a "
    "superuser may: nothing is given",
    "reload": "to have the server read its files again",
}
_OF_TABLES, _OF_SCHEMAS = ("rows", "delete", "maintain", "own"), ("schema", "create")


@dataclass(frozen=True)
class Objects:
    """What the rights are about, apart from the server itself.

    Attributes
    ----------
    tables : tuple of (str, str)
        Schema and name.
    settings : tuple of str
    schema : str
        Of the tables that named queries read.
    """

    tables: tuple[tuple[str, str], ...] = ()
    settings: tuple[str, ...] = ()
    schema: str = "public"


def of_recorder(reads: Iterable[str], proposes: Iterable[str], named: Iterable[str]) -> dict[str, list[str]]:
    """What the recorder needs for a runbook: each right, and the probes and previews that need it.

    Parameters
    ----------
    reads, proposes : iterable of str
        As the runbook declares them.
    named : iterable of str
        The queries that it asks `postgres.named` for.
    """
    wanted: dict[str, list[str]] = {}
    for probe in reads:
        _add(wanted, probe, READS.get(probe, ()))
    for query in named:
        _add(wanted, f"the query {query}", NAMED.get(query, ()))
    for action in proposes:
        _add(wanted, f"the preview of {action}", OBSERVES.get(action, ()))
    return wanted


def of_applier(proposes: Iterable[str]) -> dict[str, list[str]]:
    """What the applier needs for a runbook's actions: to look again, and to make the change."""
    wanted: dict[str, list[str]] = {}
    for action in proposes:
        _add(wanted, action, (*OBSERVES.get(action, ()), *CHANGES.get(action, ())))
    return wanted


def statements(
    role: str, account: str, wanted: Mapping[str, list[str]], objects: Objects, named: Iterable[str] = ()
) -> list[str]:
    """The statements that make a role with these rights and give it to an account, each with a comment that says why.

    Parameters
    ----------
    role, account : str
        The role that is made, and the one that logs in.
    wanted : mapping
        Rights, and who needs each: of `of_recorder` or `of_applier`.
    objects : Objects
    named : iterable of str
        The named queries whose columns it reads.
    """
    names: dict[str, sql.Composable] = {
        "role": sql.Identifier(role),
        "role_text": sql.Literal(role),
        "account": sql.Identifier(account),
    }
    found = [_filled(block, names) for block in ("anew", "role", "connect")]
    for right in (right for right in _WHY if right in wanted):
        why = f"-- {', '.join(dict.fromkeys(wanted[right]))}: {_WHY[right]}.\n"
        given = [_filled(right, names | more) for more in _objects(right, objects)]
        if given:
            found.append(why + ";\n".join(given))
        else:
            option = "--setting" if right == "set" else "--table"
            found.append(f"{why}-- Nothing is given: name what it is about with {option}.")
    columns = {COLUMNS[query] for query in named if query in COLUMNS}
    if columns:
        schema = {"schema": sql.Identifier(objects.schema)}
        found.append(f"-- postgres.named: the columns that its queries read.\n{_filled('schema', names | schema)}")
    for table, asked in sorted(columns):
        more = {
            "table": sql.Identifier(objects.schema, table),
            "columns": sql.SQL(", ").join(sql.Identifier(name) for name in asked),
        }
        found.append(_filled("columns", names | more))
    return [*found, _filled("given", names)]


def _objects(right: str, objects: Objects) -> list[dict[str, sql.Composable]]:
    """What a right is given on, once for each; a right on the server itself is given once."""
    if right in _OF_SCHEMAS:
        schemas = sorted({schema for schema, _ in objects.tables}) or [objects.schema] * (right == "schema")
        return [{"schema": sql.Identifier(schema)} for schema in schemas]
    if right in _OF_TABLES:
        tables = [sql.Identifier(*table) for table in objects.tables]
        return [{"table": name, "table_text": sql.Literal(name.as_string(None))} for name in tables]
    if right == "set":
        return [{"setting_text": sql.Literal(name)} for name in objects.settings]
    return [{}]


def _filled(block: str, names: Mapping[str, sql.Composable]) -> str:
    """A block with its names filled in, as text."""
    return sql.SQL(getattr(queries("rights_postgres"), block)).format(**names).as_string(None)


def _add(wanted: dict[str, list[str]], who: str, rights: Iterable[str]) -> None:
    for right in rights:
        wanted.setdefault(right, []).append(who)
