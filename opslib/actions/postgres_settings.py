"""Change a setting of PostgreSQL in the server's own file, and say whether it needs a restart."""

from __future__ import annotations

import re
from typing import Annotated, Any

from psycopg import sql
from pydantic import Field

from opslib import postgres as client
from opslib.actions.action import Context, Description, MayGoBack, Observation
from opslib.actions.documents import Target, Undo
from opslib.actions.postgres import Postgres, Reason, block, changing, one, reading, server
from opslib.errors import PlanError

# Where a server keeps its files, whom it lets in, what it loads or runs, what keeps its data whole: not changed here.
_REFUSED = re.compile(
    r"_command$|_libraries$|_library$|_path$|_file$|^hba_|^ident_|^ssl|^krb_|^ldap|^password_|^listen_addresses$|^port$|"
    r"^unix_socket|^data_|^fsync$|^full_page_writes$|^zero_damaged|^ignore_|^allow_|^log_line_prefix$|^local_preload|"
    r"^log_directory$|^log_file|^log_destination$|^logging_collector$|^syslog|^jit_provider$|^wal_sync_|"
    r"^archive_mode$|tablespaces?$|^session_replication_role$|^role$|^restrict_|^primary_conn|^promote_|^recovery_|"
    r"^wal_consistency|^debug_"
)
_NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*([A-Za-z]*)")


class SettingArguments(MayGoBack):
    """The setting, its new value as `postgresql.conf` spells it (None: as if it had never been set here), and why.

    With `undo_if_ineffective` it goes back by itself where it is not in force in time, or the alert goes on.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?$", max_length=63)]
    value: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] | None
    reason: Reason = "set by plan"


class SetSetting(Postgres):
    """Set a setting with ALTER SYSTEM and have the server read it again."""

    name = "postgres.set-setting"
    kind = "configuration"
    Arguments = SettingArguments
    arguments: SettingArguments

    def _find(self, connection: client.Connection) -> dict[str, Any]:
        one(connection, "without_ours", name=self.arguments.name)
        found = one(connection, "setting", name=self.arguments.name)
        if found is None:
            raise PlanError(f"there is no setting {self.arguments.name}, or our role may not see it")
        return found

    def observe(self, context: Context) -> Observation:
        """The setting as it is in force, and whether a change of it waits for a restart already."""
        with reading(context) as connection:
            where, found = server(connection), self._find(connection)
        seen = Target(
            kind="postgres-setting",
            name=f"{where['database']}.{found['name']}",
            uid=where["uid"].partition("/")[0],
            fields={"setting": found["shown"], "pending_restart": found["pending_restart"]},
        )
        kept = ("context", "kind", "min_val", "max_val", "choices", "unit", "category", "shown", "setting", "set_by")
        return Observation(seen, {name: found[name] for name in kept})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Old and new, and whether a restart is needed."""
        del context  # all of it was observed
        name, value, facts = self.arguments.name, self.arguments.value, seen.facts
        self._may_be_set(facts)
        old = facts["shown"]
        if value is not None and value == old and not seen.target.fields["pending_restart"]:
            raise PlanError(f"{name} is {old} already; there is nothing to set")
        restart = facts["context"] == "postmaster"
        told = "its value without this file" if value is None else value
        after = "after a restart of the server, which is no part of this step" if restart else "at once"
        return Description(
            summary=f"Set {name} from {old} to {told}" + (" (needs a restart)" if restart else ""),
            preview={
                "setting": name,
                "before": old,
                "after": value,
                "unit": facts["unit"],
                "needs_restart": restart,
                "context": facts["context"],
            },
            expected_effect=f"{name} is {told} {after}",
            blast_radius={"settings": 1},
            residual_risk="it holds for every client of the server"
            + (
                "; until the restart nothing changes, and the next restart, whatever its reason, brings it"
                if restart
                else ""
            ),
            undo=self._way_back(facts, pending=seen.target.fields["pending_restart"]),
        )

    def _way_back(self, facts: dict[str, Any], *, pending: bool) -> Undo:
        """What the server's own file said before; by hand where that could not be seen."""
        name, by = self.arguments.name, facts["set_by"]
        if pending or by == "unseen":
            why = "another change of it waits for a restart" if pending else "our role does not see which file sets it"
            return Undo(
                kind="none", reason=f"{why}, so what the server's own file says is not known; by hand: ALTER SYSTEM"
            )
        previous = facts["shown"] if by == "own file" else None
        reason = "takes it out of the server's own file again" if previous is None else f"sets {previous} again"
        arguments = {"name": name, "value": previous, "reason": "undo"}
        return Undo(kind="inverse", reason=reason, action=self.name, arguments=arguments)

    def _may_be_set(self, facts: dict[str, Any]) -> None:
        """Refuse what cannot be set, what is not changed here, and values that do not fit."""
        name, value = self.arguments.name, self.arguments.value
        if facts["context"] == "internal":
            raise PlanError(f"{name} cannot be changed")
        if _REFUSED.search(name) or facts["category"] in ("Developer Options", "File Locations"):
            what = "where the server's files are, whom it lets in, what it runs or what keeps its data whole"
            raise PlanError(f"{name} is not changed here: it decides {what}")
        if value is None:
            return
        if facts["kind"] == "enum" and value not in facts["choices"]:
            raise PlanError(f"{name} is one of {', '.join(facts['choices'])}, not {value!r}")
        if facts["kind"] == "bool" and value not in ("on", "off", "true", "false"):
            raise PlanError(f"{name} is on or off, not {value!r}")
        if facts["kind"] in ("integer", "real"):
            found = _NUMBER.fullmatch(value.strip())
            if found is None:
                raise PlanError(f"{name} is a number, with or without a unit, not {value!r}")
            low, high = float(facts["min_val"]), float(facts["max_val"])
            if not found[2] and not low <= float(found[1]) <= high:
                raise PlanError(f"{name} is from {facts['min_val']} to {facts['max_val']}, not {value}")

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Write it, have the server read it again, and say whether a restart is still needed."""
        del key  # set twice, it is set once
        name, value = self.arguments.name, self.arguments.value
        identifier = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
        with changing(context, "autocommit", statement_s=10.0) as connection:
            if value is None:
                connection.execute(block("reset_setting", name=identifier))
            else:
                connection.execute(block("set_setting", name=identifier, value=sql.Literal(value)))
            connection.execute(block("reload"))
        with changing(context, "autocommit", statement_s=10.0) as connection:
            one(connection, "without_ours", name=name)
            now = one(connection, "setting", name=name) or {}
        return {"setting": name, "now": now.get("shown"), "needs_restart": bool(now.get("pending_restart"))}

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether it is in force: a restart may still be needed, as a step of its own."""
        with reading(context) as connection:
            if self._find(connection)["pending_restart"]:
                return f"{self.arguments.name} waits for a restart of the server"
        return super().effect(context, before)

    def done(self, context: Context, before: Observation) -> bool:
        """Whether another value than before is in force, or waits for a restart, or no longer does."""
        with reading(context) as connection:
            now = self._find(connection)
        fields = before.target.fields
        return bool(now["shown"] != fields["setting"] or now["pending_restart"] != fields["pending_restart"])
