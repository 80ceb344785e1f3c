"""Vacuum, analyze and reindex PostgreSQL; nothing of it locks readers or writers out."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from opslib import postgres as client
from opslib.actions.action import ActionArguments, Context, Description, Observation
from opslib.actions.documents import Undo
from opslib.actions.postgres import (
    Name,
    Postgres,
    Reason,
    block,
    changing,
    every,
    named,
    one,
    quoted,
    reading,
    relation,
    said,
    target,
)
from opslib.errors import ActionFailed, PlanError
from opslib.figures import amount

_LEFT_OVER = ("_ccnew", "_ccold")  # what a reindex that failed leaves behind, perhaps with a number


class TableArguments(ActionArguments):
    """The table, and why."""

    table: Name
    reason: Reason = "upkeep"


class _Upkeep(Postgres):
    """What vacuum and analyze have in common: they are done when the table's statistics say so."""

    kind = "basic-fix"
    effect_within_s = 120.0
    Arguments = TableArguments
    arguments: TableArguments
    statement: ClassVar[str]
    stamp: ClassVar[str]

    def observe(self, context: Context) -> Observation:
        """The table with its dead rows and last upkeep."""
        with reading(context) as connection:
            table = relation(connection, self.arguments.table, "r", "m")
            state = one(connection, "maintenance", oid=table["oid"]) or {}
            held = (one(connection, "oldest_snapshot") or {}).get("seconds")
            seen = target(connection, "postgres-table", table)
        facts = {
            "table": named(table),
            "bytes": table["bytes"],
            "rows": table["rows_estimate"],
            "held_s": held,
            **{key: value.isoformat() if isinstance(value, dt.datetime) else value for key, value in state.items()},
        }
        return Observation(seen, facts)

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Do it; done twice it does no harm."""
        del key
        with changing(context, "autocommit") as connection:
            table = one(connection, "relation", name=self.arguments.table)
            if table is None or table["kind"] not in "rm":
                raise ActionFailed(f"there is no table {self.arguments.table} any more", sent=False)
            before = one(connection, "maintenance", oid=table["oid"]) or {}
            connection.execute(block(self.statement, table=quoted(table)))
            after = one(connection, "maintenance", oid=table["oid"]) or {}
        return {"dead_rows_before": before.get("dead_rows"), "dead_rows_after": after.get("dead_rows")}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the table's own statistics tell of a later one than before."""
        with reading(context) as connection:
            table = relation(connection, self.arguments.table, "r", "m")
            last = (one(connection, "maintenance", oid=table["oid"]) or {}).get(self.stamp)
        return last is not None and last.isoformat() > (before.facts.get(self.stamp) or "")


class Vacuum(_Upkeep):
    """Vacuum and analyze a table: the room of its dead rows serves new rows; the file does not shrink."""

    name = "postgres.vacuum"
    statement = "vacuum_analyze"
    stamp = "last_vacuum"

    def describe(self, context: Context, seen: Observation) -> Description:
        """The dead rows, and what keeps them from being freed."""
        del context  # all of it was observed
        facts = seen.facts
        if facts.get("running"):
            raise PlanError(f"a vacuum of {facts['table']} runs already ({facts['running']})")
        dead, held = facts.get("dead_rows") or 0, facts["held_s"] or 0.0
        kept = f"rows that died since the oldest open snapshot ({held:.0f} s old) stay" if held > 60 else ""
        return Description(
            summary=f"Vacuum and analyze {facts['table']}",
            preview={"count": dead, "live_rows": facts.get("live_rows"), "table_bytes": facts["bytes"], "kept": kept},
            expected_effect=f"the room of about {amount(dead)} dead rows serves new rows, and the planner has fresh "
            f"statistics; the disk gains nothing{'; ' + kept if kept else ''}",
            blast_radius={"rows": dead, "bytes": facts["bytes"]},
            residual_risk="it reads the table and writes WAL while it runs",
            undo=Undo(kind="restore", reason="nothing to take back: rows and answers stay as they were"),
        )


class Analyze(_Upkeep):
    """Analyze a table: the planner gets fresh statistics."""

    name = "postgres.analyze"
    statement = "analyze"
    stamp = "last_analyze"

    def describe(self, context: Context, seen: Observation) -> Description:
        """What changed since the last one."""
        del context  # all of it was observed
        facts = seen.facts
        changed = facts.get("changed_since_analyze") or 0
        return Description(
            summary=f"Analyze {facts['table']}",
            preview={"count": changed, "last_analyze": facts.get("last_analyze"), "table_bytes": facts["bytes"]},
            expected_effect=f"plans follow the {amount(changed)} rows changed since the last analyze",
            blast_radius={"rows": changed},
            residual_risk="plans change, mostly for the better; it reads a sample of the table",
            undo=Undo(kind="restore", reason="nothing to take back: rows and answers stay as they were"),
        )


class ReindexArguments(ActionArguments):
    """A table, all of whose indexes are built anew, or one index; and why."""

    name: Name
    reason: Reason = "bloated index"


class Reindex(Postgres):
    """Build indexes anew concurrently; what a failed try leaves is dropped."""

    name = "postgres.reindex"
    kind = "basic-fix"
    effect_within_s = 120.0
    Arguments = ReindexArguments
    arguments: ReindexArguments

    def _find(self, connection: client.Connection) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        found = relation(connection, self.arguments.name, "r", "m", "i")
        return found, every(connection, "indexes_of", oid=found["oid"])

    def observe(self, context: Context) -> Observation:
        """The indexes, and the file that each lies in."""
        with reading(context) as connection:
            found, indexes = self._find(connection)
            seen = target(connection, "postgres-index" if found["kind"] == "i" else "postgres-table", found)
        whole = [index for index in indexes if not _left_over(index)]
        facts = {
            "name": named(found),
            "files": {named(index): index["file"] for index in whole},
            "left_over": [named(index) for index in indexes if _left_over(index)],
            "bytes": sum(index["bytes"] for index in whole),
            "invalid": [named(index) for index in whole if not index["valid"]],
        }
        return Observation(seen, facts)

    def describe(self, context: Context, seen: Observation) -> Description:
        """Which indexes, and how large they are."""
        del context  # all of it was observed
        facts = seen.facts
        if not facts["files"]:
            raise PlanError(f"{facts['name']} has no index")
        count = len(facts["files"])
        return Description(
            summary=f"Build {count} index{'es' if count > 1 else ''} of {facts['name']} anew, locking nobody out",
            preview={"count": count, "bytes": facts["bytes"], "rows": [{"index": name} for name in facts["files"]],
                     "invalid": facts["invalid"], "left_over": facts["left_over"]},
            expected_effect=f"indexes without bloat; they take {amount(facts['bytes'])} bytes now",
            blast_radius={"indexes": count, "bytes": facts["bytes"]},
            residual_risk="it needs as much free disk again while it runs, and waits for transactions older than it",
            undo=Undo(kind="restore", reason="nothing to take back: rows and answers stay as they were"),
        )  # fmt: skip

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Build them anew; afterwards drop what this or an earlier failed try left."""
        del key
        with changing(context, "autocommit") as connection:
            found = one(connection, "relation", name=self.arguments.name)
            if found is None or found["kind"] not in "rmi":
                raise ActionFailed(f"there is no table or index {self.arguments.name} any more", sent=False)
            statement = block("reindex_index" if found["kind"] == "i" else "reindex_table", name=quoted(found))
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                raise ActionFailed(f"not built anew ({said(error)}); {self._clean(context)}", sent=False) from error
        return {"built_anew": named(found), "left_over": self._clean(context)}

    def _clean(self, context: Context) -> str:
        """Drop invalid indexes that a failed reindex left; what came of it, in words."""
        with changing(context, "autocommit") as connection:
            found = one(connection, "relation", name=self.arguments.name) or {}
            left = [index for index in every(connection, "indexes_of", oid=found.get("oid")) if _left_over(index)]
            for index in left:
                connection.execute(block("drop_index", index=sql.Identifier(index["schema"], index["name"])))
        return f"dropped {', '.join(named(index) for index in left)}" if left else "nothing was left behind"

    def done(self, context: Context, before: Observation) -> bool:
        """Whether every index lies in another file than before, and is valid."""
        with reading(context) as connection:
            now = {named(index): index for index in self._find(connection)[1]}
        files = before.facts["files"]
        return bool(files) and all(
            name in now and now[name]["valid"] and now[name]["file"] != file for name, file in files.items()
        )


def _left_over(index: dict[str, Any]) -> bool:
    """Whether this is the invalid copy of a reindex that failed."""
    name = index["name"].rstrip("0123456789")
    return not index["valid"] and name.endswith(_LEFT_OVER)
