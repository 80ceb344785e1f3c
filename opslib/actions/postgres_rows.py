"""Delete old rows of PostgreSQL in counted batches, with a vacuum between them; previewed by the same condition."""

from __future__ import annotations

import datetime as dt
from typing import Any

from psycopg import sql
from pydantic import Field

from opslib import postgres as client
from opslib.actions.action import ActionArguments, Context, Description, Observation
from opslib.actions.documents import Bounds, Undo
from opslib.actions.postgres import (
    CHANGE_S,
    Column,
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
    target,
)
from opslib.errors import ActionFailed, PlanError
from opslib.figures import amount

MORE = 1.05  # so many times the previewed rows may be there when it is applied
_TIMES = ("timestamp", "date")
_VACUUM_EVERY = 10  # batches


class DeleteArguments(ActionArguments):
    """The table, its column of time, the age from which a row goes [days], rows a batch, and why."""

    table: Name
    column: Column
    older_than_days: float = Field(gt=0, le=36500)
    batch_rows: int = Field(default=5000, ge=100, le=100_000)
    reason: Reason = "history beyond its retention"


class DeleteOldRows(Postgres):
    """Delete the rows of a table that are older than so many days."""

    name = "postgres.delete-old-rows"
    kind = "configuration"
    effect_within_s = 300.0
    Arguments = DeleteArguments
    arguments: DeleteArguments

    def observe(self, context: Context) -> Observation:
        """How many rows are older now, counted with the delete's own condition."""
        with reading(context) as connection:
            table = self._table(connection)
            cutoff = self._cutoff(connection)
            rows = self._count(connection, table, cutoff)
            tied = one(connection, "dependents", oid=table["oid"]) or {}
            seen = target(
                connection,
                "postgres-table",
                table,
                fields={"cascades": tied["cascades"], "triggers": tied["triggers"], "rules": tied["rules"]},
                live={"rows": Bounds(previewed=rows, low=1, high=rows * MORE)},
            )
        facts = {
            "table": named(table),
            "rows": rows,
            "of": table["rows_estimate"],
            "cutoff": cutoff.isoformat(),
            "has_children": tied["has_children"],
        }
        return Observation(seen, facts)

    def _table(self, connection: client.Connection) -> dict[str, Any]:
        """The table, its column checked against the catalogue."""
        table = relation(connection, self.arguments.table, "r")
        kinds = {row["name"]: row["type"] for row in every(connection, "columns", oid=table["oid"])}
        kind = kinds.get(self.arguments.column)
        if kind is None:
            raise PlanError(f"{named(table)} has no column {self.arguments.column}; it has {', '.join(kinds)}")
        if not kind.startswith(_TIMES):
            raise PlanError(f"{self.arguments.column} of {named(table)} is {kind}, no time; nothing is deleted by it")
        return table

    def _cutoff(self, connection: client.Connection) -> dt.datetime:
        found = one(connection, "cutoff", days=self.arguments.older_than_days) or {}
        moment: dt.datetime = found["cutoff"]
        return moment

    def _count(self, connection: client.Connection, table: dict[str, Any], cutoff: dt.datetime) -> int:
        statement = block("count_old", table=quoted(table), column=sql.Identifier(self.arguments.column))
        row = connection.execute(statement, {"cutoff": cutoff}).fetchone() or {}
        return int(row["rows"])

    def describe(self, context: Context, seen: Observation) -> Description:
        """How many rows, of how many, and what else a delete would touch."""
        del context  # all of it was observed
        facts, fields, days = seen.facts, seen.target.fields, self.arguments.older_than_days
        if not facts["rows"]:
            raise PlanError(f"no row of {facts['table']} is older than {days:g} days; there is nothing to delete")
        if fields["cascades"]:
            raise PlanError(f"deleting from {facts['table']} also changes {', '.join(fields['cascades'])}: not done")
        if fields["rules"] or facts["has_children"]:
            raise PlanError(f"{facts['table']} has rules or child tables; its rows are not deleted here")
        also = f"; the triggers {', '.join(fields['triggers'])} run for each row" if fields["triggers"] else ""
        return Description(
            summary=f"Delete {facts['rows']:,} rows of {facts['table']} older than {days:g} days",
            preview={
                "count": facts["rows"],
                "of_about": facts["of"],
                "condition": f"{self.arguments.column} < {facts['cutoff']}",
                "at_most": int(facts["rows"] * MORE),
                "batches": -(-facts["rows"] // self.arguments.batch_rows),
            },
            expected_effect="the room of the rows serves new rows of this table; the file does not shrink, so the disk "
            "gains nothing, and until the WAL is recycled it needs more",
            blast_radius={"rows": facts["rows"]},
            residual_risk=f"about {amount(facts['rows'])} rows are gone for good; it writes WAL, so a full disk needs "
            f"headroom first{also}",
            undo=Undo(kind="none", reason="deleted rows are not kept; they come back from a backup alone"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Delete in batches, each a transaction of its own; vacuum between them. What was deleted stays deleted.

        Never more than was approved: rows that have come since stay where they are.
        """
        del key  # rows that are gone are not deleted twice
        try:
            with reading(context) as connection:
                table, cutoff = self._table(connection), self._cutoff(connection)
                counted = self._count(connection, table, cutoff)
        except PlanError as error:
            raise ActionFailed(str(error), sent=False) from error
        approved = None if context.approved is None else context.approved.live["rows"].high
        most = counted if approved is None else int(approved)
        names = {"table": quoted(table), "column": sql.Identifier(self.arguments.column)}
        vacuum, delete = block("vacuum", table=quoted(table)), block("delete_old", **names)
        deleted = batches = vacuums = 0
        with changing(context, "autocommit", statement_s=CHANGE_S) as connection:
            while True:
                facts = {"cutoff": cutoff, "batch": min(self.arguments.batch_rows, most - deleted)}
                gone = connection.execute(delete, facts).rowcount
                deleted, batches = deleted + gone, batches + 1
                over = gone == 0 or deleted >= min(counted, most)
                if over or batches % _VACUUM_EVERY == 0:
                    connection.execute(vacuum)
                    vacuums += 1
                if over:
                    break
        return {
            "deleted": deleted,
            "counted": counted,
            "at_most": most,
            "batches": batches,
            "vacuums": vacuums,
            "before": cutoff.isoformat(),
        }

    def effect(self, context: Context, before: Observation) -> str | None:
        """Nothing: what was deleted is gone, and counting all rows again and again would only load the server."""
        del context, before
        return None

    def done(self, context: Context, before: Observation) -> bool:
        """Whether no row is left that was older when the plan was begun."""
        cutoff = dt.datetime.fromisoformat(str(before.facts["cutoff"]))
        with reading(context) as connection:
            return bool(before.facts["rows"]) and self._count(connection, self._table(connection), cutoff) == 0
