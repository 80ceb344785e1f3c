"""Create and drop an index of PostgreSQL while others read and write; a build that fails leaves nothing behind."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import psycopg
from psycopg import sql
from pydantic import Field

from opslib import postgres as client
from opslib.actions.action import ActionArguments, Context, Description, MayGoBack, Observation
from opslib.actions.documents import Bounds, Target, Undo
from opslib.actions.postgres import (
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
    said,
    target,
)
from opslib.errors import ActionFailed, PlanError
from opslib.figures import amount

_LONGEST = 63  # bytes of a name


class CreateIndexArguments(MayGoBack):
    """The table, the columns in their order, and why."""

    table: Name
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=8, strict=False)]
    reason: Reason = "large scans for want of an index"


def index_name(table: str, columns: tuple[str, ...]) -> str:
    """The name of the index on these columns: the same each time, within what PostgreSQL keeps of a name."""
    plain = "_".join(["ix", table, *columns])
    if len(plain.encode()) <= _LONGEST:
        return plain
    mark = hashlib.sha256(plain.encode()).hexdigest()[:8]
    return plain.encode()[: _LONGEST - 9].decode("utf-8", "ignore") + "_" + mark


class CreateIndex(Postgres):
    """Build a B-tree index concurrently."""

    name = "postgres.create-index"
    kind = "configuration"
    effect_within_s = 120.0
    Arguments = CreateIndexArguments
    arguments: CreateIndexArguments

    def _find(self, connection: client.Connection) -> tuple[dict[str, Any], str, dict[str, Any] | None]:
        """The table, the name of the index, and the index itself where it is there."""
        table = relation(connection, self.arguments.table, "r", "m")
        there = [row["name"] for row in every(connection, "columns", oid=table["oid"])]
        if missing := [name for name in self.arguments.columns if name not in there]:
            raise PlanError(f"{named(table)} has no column {', '.join(missing)}; it has {', '.join(there)}")
        name = index_name(table["name"], self.arguments.columns)
        return table, name, one(connection, "index", schema=table["schema"], name=name)

    def observe(self, context: Context) -> Observation:
        """The table, and whether an index of that name is there and valid."""
        with reading(context) as connection:
            table, name, index = self._find(connection)
            serves = one(connection, "same_index", oid=table["oid"], name=name, columns=list(self.arguments.columns))
            rows, size = table["rows_estimate"], table["bytes"]
            seen = target(
                connection,
                "postgres-table",
                table,
                fields={"index": _state(index), "serves": serves["name"] if serves else None},
                live={"bytes": Bounds(previewed=size, high=max(size * 1.5, 2**24))},
            )
        facts = {"schema": table["schema"], "table": table["name"], "index": name, "rows": rows, "bytes": size}
        return Observation(seen, facts)

    def describe(self, context: Context, seen: Observation) -> Description:
        """The statement, the size of the table, and what lies in the way."""
        del context  # all of it was observed
        facts, state = seen.facts, seen.target.fields["index"]
        if state == "valid":
            raise PlanError(f"the index {facts['index']} is there already, and valid")
        if state == "building":
            raise PlanError(f"the index {facts['index']} is being built already")
        if seen.target.fields["serves"]:
            raise PlanError(f"the index {seen.target.fields['serves']} begins with these columns already")
        columns = ", ".join(self.arguments.columns)
        where = f"{facts['schema']}.{facts['table']}"
        return Description(
            summary=f"Create the index {facts['index']} on {where} ({columns}), without locking anybody out",
            preview={
                "statement": f"CREATE INDEX CONCURRENTLY {facts['index']} ON {where} ({columns})",
                "count": facts["rows"],
                "table_bytes": facts["bytes"],
                "replaces_invalid": state == "invalid",
            },
            expected_effect=f"statements that ask for {columns} no longer read all {amount(facts['rows'])} rows",
            blast_radius={"rows": facts["rows"], "bytes": facts["bytes"]},
            residual_risk="the build reads the table twice, needs disk for the index and waits for transactions older "
            "than it; every write keeps one more index from then on",
            undo=Undo(
                kind="inverse",
                reason="drops the index that was made",
                action=DropIndex.name,
                arguments={"index": f'"{facts["schema"]}"."{facts["index"]}"', "reason": "undo"},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Build it; an invalid one that an earlier try left is dropped first, and one of this try after a failure."""
        del key  # a valid index of that name is the one asked for
        with changing(context, "autocommit") as connection:
            table, name, index = self._find_to_change(connection)
            if _state(index) == "valid":
                return {"index": name, "made": False, "why": "it was there already"}
            if index is not None:
                self._drop(connection, table, name)
            columns = sql.SQL(", ").join(sql.Identifier(column) for column in self.arguments.columns)
            statement = block("create_index", index=sql.Identifier(name), table=quoted(table), columns=columns)
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                left = self._clean(context, table, name)
                raise ActionFailed(f"the index was not built ({said(error)}); {left}", sent=False) from error
            made = one(connection, "index", schema=table["schema"], name=name) or {}
        return {"index": name, "made": True, "bytes": made.get("bytes"), "definition": made.get("definition")}

    def _find_to_change(self, connection: client.Connection) -> tuple[dict[str, Any], str, dict[str, Any] | None]:
        try:
            return self._find(connection)
        except PlanError as error:
            raise ActionFailed(str(error), sent=False) from error

    def _drop(self, connection: client.Connection, table: dict[str, Any], name: str) -> None:
        connection.execute(block("drop_index", index=sql.Identifier(table["schema"], name)))

    def _clean(self, context: Context, table: dict[str, Any], name: str) -> str:
        """Drop what a failed build left, over a new connection; what came of it, in words."""
        try:
            with changing(context, "autocommit") as connection:
                index = one(connection, "index", schema=table["schema"], name=name)
                if index is None or index["valid"]:
                    return "nothing was left behind"
                self._drop(connection, table, name)
        except ActionFailed as error:
            return f"an invalid index {name} is left behind, drop it: {error}"
        return "the invalid index that it left was dropped"

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """The index; others may have come."""
        return {"uid": seen.target.uid, "index": seen.target.fields["index"]}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether a valid index is there that was not there before."""
        with reading(context) as connection:
            return before.target.fields["index"] != "valid" and _state(self._find(connection)[2]) == "valid"


def _state(index: dict[str, Any] | None) -> str:
    if index is None:
        return "absent"
    return "valid" if index["valid"] and index["ready"] else "building" if index["building"] else "invalid"


class DropIndexArguments(ActionArguments):
    """The index, and why."""

    index: Name
    reason: Reason = "dropped by plan"


class DropIndex(Postgres):
    """Drop an index concurrently; the way back from creating one. One that a constraint stands on is refused."""

    name = "postgres.drop-index"
    kind = "configuration"
    Arguments = DropIndexArguments
    arguments: DropIndexArguments

    def observe(self, context: Context) -> Observation:
        """The index with its definition."""
        with reading(context) as connection:
            if one(connection, "relation", name=self.arguments.index) is None:
                gone = Target(kind="postgres-index", name=self.arguments.index, uid="(there is none)")
                return Observation(gone, {"gone": True})
            found = relation(connection, self.arguments.index, "i")
            index = one(connection, "index", schema=found["schema"], name=found["name"]) or {}
            seen = target(connection, "postgres-index", found, fields={"definition": index.get("definition")})
        constrained = bool(index.get("constraint_of") or index.get("constraints") or index.get("is_unique"))
        facts = {"schema": found["schema"], "index": found["name"], "bytes": index.get("bytes"), "bound": constrained}
        return Observation(seen, facts)

    def describe(self, context: Context, seen: Observation) -> Description:
        """The definition and size of what is dropped."""
        del context  # all of it was observed
        if seen.facts.get("gone"):
            raise PlanError(f"there is no index {self.arguments.index} in this database")
        facts, definition = seen.facts, seen.target.fields["definition"]
        if facts["bound"]:
            raise PlanError(f"{facts['index']} is unique or belongs to a constraint; it is not dropped here")
        return Description(
            summary=f"Drop the index {facts['schema']}.{facts['index']}",
            preview={"definition": definition, "bytes": facts["bytes"], "count": 1},
            expected_effect="writes no longer keep it; its room on the disk is free",
            blast_radius={"indexes": 1, "bytes": facts["bytes"]},
            residual_risk="statements that used it read the whole table again",
            undo=Undo(kind="none", reason=f"it has to be built again: {definition}"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Drop it, where it is still there."""
        del key
        with changing(context, "autocommit") as connection:
            found = one(connection, "relation", name=self.arguments.index)
            if found is None:
                return {"dropped": False, "why": "it was gone already"}
            connection.execute(block("drop_index", index=quoted(found)))
        return {"dropped": True, "index": named(found)}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it is gone."""
        del before  # what is gone was there
        with reading(context) as connection:
            return one(connection, "relation", name=self.arguments.index) is None
