"""What a notebook calls: `ops.postgres`. Every table says in `.attrs["note"]` what of it could not be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from opslib.probes.calls import Asks
from opslib.probes.seen import Seen, SeenList

if TYPE_CHECKING:
    import pandas as pd

Parameters = Mapping[str, Any] | Sequence[Any] | None


class Postgres:
    """What the platform's PostgreSQL holds and how it is; read-only, whatever is asked."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def server(self) -> Seen:
        """Whether it answers (`answers`), in what time (`took_ms` [ms]), `version`, `standby`, `started_at`, `role`."""
        seen: Seen = self._ops.probe("postgres.server")
        return seen

    def usage(self) -> Seen:
        """Connections `used` against the `connections_limit`, `used_pct` [%], by state, and how many are `free`."""
        seen: Seen = self._ops.probe("postgres.usage")
        return seen

    def connections(self, limit: int = 200) -> pd.DataFrame:
        """Connections by `state`, `application`, `user`, `database` and `client`, most first."""
        return self._ops.probe("postgres.connections", limit=limit)

    def activity(self, limit: int = 200) -> pd.DataFrame:
        """Sessions, those longest in a transaction first: what each runs, how long, what it waits for."""
        return self._ops.probe("postgres.activity", limit=limit)

    def blockers(self, limit: int = 500) -> pd.DataFrame:
        """Who waits for whom, as a tree: `tree`, `pid`, `root`, `waiting_behind`, `waits_s` [s], `wants`, `query`."""
        return self._ops.probe("postgres.blockers", limit=limit)

    def long_transactions(self, over_s: float = 60.0, limit: int = 100) -> pd.DataFrame:
        """Transactions older than `over_s` [s], oldest first, prepared ones too."""
        return self._ops.probe("postgres.long_transactions", over_s=over_s, limit=limit)

    @staticmethod
    def sessions(rows: pd.DataFrame, *, whole: bool = False) -> list[dict[str, Any]]:
        """Rows of `blockers`, `long_transactions` or `activity` as a plan that ends sessions names them.

        A session is ended only while it is in the transaction that was seen; with `whole`, whatever it does by then.
        Prepared transactions belong to no session and are left out.
        """
        named = []
        for row in rows[rows["pid"].fillna(0) > 0].to_dict("records"):
            began = None if whole or row["transaction_start"] is None else row["transaction_start"]
            start = None if began is None or began != began else began.isoformat()  # NaT is not itself
            named.append({"pid": int(row["pid"]), "backend_start": row["backend_start"].isoformat(),
                          "transaction_start": start})  # fmt: skip
        return named

    def locks(self, limit: int = 200) -> pd.DataFrame:
        """Locks on relations by mode, those waited for first."""
        return self._ops.probe("postgres.locks", limit=limit)

    def slow_queries(
        self,
        limit: int = 20,
        by: Literal["total_ms", "mean_ms", "max_ms", "calls"] = "total_ms",
        over_s: float = 0.0,
    ) -> pd.DataFrame:
        """The statements that take most time; `source` says whether counted (`pg_stat_statements`) or running now.

        With `over_s` above zero, those of that stretch from now [s, at most 5] instead of since the last reset.
        """
        return self._ops.probe("postgres.slow_queries", limit=limit, by=by, over_s=over_s)

    def missing_indexes(self, min_rows: int = 10_000, limit: int = 20) -> pd.DataFrame:
        """Large tables read from end to end, with the `columns` that statements ask for and no index begins with."""
        return self._ops.probe("postgres.missing_indexes", min_rows=min_rows, limit=limit)

    def tables(self, limit: int = 50) -> pd.DataFrame:
        """Tables, largest first: sizes [bytes], rows alive and dead, scans."""
        return self._ops.probe("postgres.tables", limit=limit)

    def indexes(self, table: str | None = None, limit: int = 100) -> pd.DataFrame:
        """Indexes, largest first: size [bytes], scans, whether `valid`."""
        return self._ops.probe("postgres.indexes", table=table, limit=limit)

    def bloat(self, limit: int = 50) -> pd.DataFrame:
        """Estimated bloat of tables and indexes [bytes, %]."""
        return self._ops.probe("postgres.bloat", limit=limit)

    def vacuum(self, limit: int = 50) -> pd.DataFrame:
        """Dead rows, last vacuum and analyze, whether autovacuum is on and due, who holds it back."""
        return self._ops.probe("postgres.vacuum", limit=limit)

    def replication(self) -> pd.DataFrame:
        """Replicas, slots and the receiver of a standby, and how far each is behind [bytes, s]."""
        return self._ops.probe("postgres.replication")

    def disk(self) -> Seen:
        """What takes space [bytes]: `databases`, `wal_bytes`, what slots keep; not how full the disk is."""
        seen: Seen = self._ops.probe("postgres.disk")
        return seen

    def database(self) -> Seen:
        """Counters of this database: commits, rollbacks, cache hits [%], deadlocks, temporary files."""
        seen: Seen = self._ops.probe("postgres.database")
        return seen

    def settings(self, *names: str) -> pd.DataFrame:
        """Settings by name, or all that were changed; `pending_restart` says that a change waits for a restart."""
        return self._ops.probe("postgres.settings", names=list(names) or None)

    def named(self, query: str, limit: int = 1000, **parameters: Any) -> pd.DataFrame:
        """A named query of `opslib/sql/probes_postgres.sql` with its parameters."""
        return self._ops.probe("postgres.named", query=query, parameters=parameters, limit=limit)

    def sql(self, statement: str, parameters: Parameters = None, limit: int = 1000) -> pd.DataFrame:
        """One statement that reads, its parameters bound (`%(name)s`), its first `limit` rows.

        Columns are numbers, flags, times (UTC) or text; intervals are in seconds, documents and arrays are JSON.
        """
        return self._ops.probe("postgres.sql", statement=statement, parameters=parameters, limit=limit)

    def explain(self, statement: str, parameters: Parameters = None) -> SeenList:
        """The plan of a statement, which is not run, as `EXPLAIN (FORMAT JSON)` tells it."""
        seen: SeenList = self._ops.probe("postgres.explain", statement=statement, parameters=parameters)
        return seen
