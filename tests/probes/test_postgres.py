"""The PostgreSQL probes, against real servers: the wheel's 18, and Debian's 15 with `pg_stat_statements`."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target
from opslib.probes.postgres_reading import reading
from tests.postgres_server import Server, running

INCIDENT = "INC-2026-000001"


@pytest.fixture(scope="module", params=[15, 18])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a table of trades that has no index but its key."""
    with running(tmp_path_factory.mktemp("postgres"), request.param, "max_connections=30") as server:
        with server.admin() as admin:
            admin.execute("CREATE TABLE trades (id int PRIMARY KEY, symbol text, at timestamptz, px numeric)")
            admin.execute(
                "INSERT INTO trades SELECT i, 'S' || i %% 50, now() - make_interval(mins => i), i"
                " FROM generate_series(1, 20000) i",
                (),
            )
            admin.execute("ANALYZE trades")
        yield server


@pytest.fixture
def target(server: Server) -> Target:
    return Target("postgres", server.reader, incident=INCIDENT)


def rows(name: str, target: Target, **arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = probes.call(f"postgres.{name}", target, arguments).table.to_pylist()
    return found


def until(found: Callable[[], Any]) -> Any:
    """What a look gives once it gives something."""
    deadline = time.monotonic() + 60
    while not (seen := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return seen


class Waiter:
    """A session that runs one statement in a thread of its own."""

    def __init__(self, server: Server, name: str, statement: str) -> None:
        self.connection = server.admin(application_name=name)
        self._thread = threading.Thread(target=self._run, args=(statement,))
        self._thread.start()

    def _run(self, statement: str) -> None:
        try:
            self.connection.execute(statement)
        except psycopg.Error:
            return

    def end(self) -> None:
        self._thread.join()
        self.connection.close()


def test_the_server_knows_who_asks_and_that_it_reads_only(server: Server, target: Target) -> None:
    seen = probes.call("postgres.server", target, {})
    assert (seen["answers"], seen["role"], seen["read_only"], seen["sees_all"]) == (True, "recorder", True, True)
    with server.admin() as admin, Held(server):
        names = admin.execute("SELECT application_name FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
    assert ("a holder",) in names
    asked = rows("sql", target, statement="SELECT current_setting('application_name') AS name")
    assert asked == [{"name": f"runbook {INCIDENT}"}]


class Held:
    """A session that holds a lock on the trades in a transaction that it leaves open."""

    def __init__(self, server: Server) -> None:
        self._connection = server.admin(application_name="a holder")

    def __enter__(self) -> int:
        self._connection.execute("BEGIN")
        self._connection.execute("LOCK TABLE trades IN ACCESS EXCLUSIVE MODE")
        return self._connection.info.backend_pid

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def test_blockers_are_a_tree(server: Server, target: Target) -> None:
    with Held(server) as holder:
        first = Waiter(server, "first", "ALTER TABLE trades ADD COLUMN IF NOT EXISTS note text")
        until(lambda: len(rows("blockers", target)) == 2)
        second = Waiter(server, "second", "SELECT count(*) FROM trades")
        tree = until(lambda: [row for row in [rows("blockers", target)] if len(row) == 3])[0]
        tables = probes.call("postgres.tables", target, {})
        long = rows("long_transactions", target, over_s=0)
        locks = rows("locks", target)
    first.end()
    second.end()
    assert [row["application"] for row in tree] == ["a holder", "first", "second"]
    assert [row["depth"] for row in tree] == [0, 1, 2] or [row["depth"] for row in tree] == [0, 1, 1]
    assert tree[0]["pid"] == tree[1]["root"] == holder
    assert tree[0]["waiting_behind"] == 2
    assert tree[0]["state"] == "idle in transaction"
    assert tree[1]["wants"] == "AccessExclusiveLock"
    assert tree[1]["wants_of"] == "trades"
    assert tree[1]["tree"] == f"└─ {tree[1]['pid']}"
    # a table that is locked is not waited for; its size is the last known
    assert "locked exclusively" in tables.note
    assert tables.table.to_pylist()[0]["total_bytes"] > 0
    assert (long[0]["application"], long[0]["blocks"]) == ("a holder", 2)
    assert locks[0]["granted"] is False


def test_connections_against_the_limit(server: Server, target: Target) -> None:
    held = [server.admin(application_name="pool") for _ in range(5)]
    usage = probes.call("postgres.usage", target, {})
    connections = rows("connections", target)
    pool = next(row for row in connections if row["application"] == "pool")
    assert (pool["state"], pool["connections"], pool["connections_limit"]) == ("idle", 5, 30)
    assert usage["used"] >= 5
    assert usage["connections_limit"] == 30
    assert usage["free"] == 30 - usage["reserved"] - usage["used"]
    for connection in held:
        connection.close()


def test_a_full_server_is_told_apart_from_a_dead_one(server: Server, target: Target) -> None:
    held = []
    for _ in range(40):
        try:
            held.append(psycopg.connect(server.reader))
        except psycopg.OperationalError:
            break
    with pytest.raises(ProbeError, match="too many clients"):
        probes.call("postgres.usage", target, {})
    for connection in held:
        connection.close()


def test_slow_queries_say_where_they_are_known_from(server: Server, target: Target) -> None:
    with server.admin() as admin:
        counted = admin.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'").fetchone()
        for _ in range(3):
            admin.execute("SELECT max(px) FROM trades t WHERE t.symbol = %s", ("S7",))
    answer = probes.call("postgres.slow_queries", target, {"limit": 50})
    found = answer.table.to_pylist()
    if counted == (1,):
        ours = next(row for row in found if "max(px)" in row["query"])
        assert (ours["source"], ours["calls"]) == ("pg_stat_statements", 3)
        assert answer.note is None
        before = rows("slow_queries", target, over_s=0.1, limit=50)
        assert not any("max(px)" in row["query"] for row in before)  # not within that stretch
    else:
        assert {row["source"] for row in found} <= {"pg_stat_activity"}
        assert "not created in this database" in answer.note


def test_a_running_statement_is_seen_without_statistics(server: Server, target: Target) -> None:
    busy = Waiter(server, "busy", "SELECT count(*) FROM generate_series(1, 100000000) AS endless")
    try:
        seen = until(
            lambda: [row for row in rows("activity", target) if row["application"] == "busy" and row["query_s"]]
        )
        assert "endless" in seen[0]["query"]
    finally:
        busy.connection.cancel_safe()
        busy.end()


def test_a_statement_that_never_ends_counts_within_a_stretch(server: Server, target: Target) -> None:
    slow = "SELECT count(*) FROM generate_series(1, 100000000) AS never_counted"
    busy = Waiter(server, "busy", slow)
    try:
        until(lambda: [row for row in rows("activity", target) if row["application"] == "busy" and row["query_s"]])
        (seen,) = [row for row in rows("slow_queries", target, over_s=0.5, limit=50) if "never_counted" in row["query"]]
        assert (seen["source"], seen["calls"]) == ("pg_stat_activity", 1)
        assert 10.0 < seen["mean_ms"] == seen["max_ms"] == seen["total_ms"]
    finally:
        busy.connection.cancel_safe()
        busy.end()
    assert not any("never_counted" in row["query"] for row in rows("slow_queries", target, over_s=0.2, limit=50))


def test_a_missing_index_is_named_by_its_columns(server: Server, target: Target) -> None:
    with server.admin() as admin:
        counted = admin.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'").fetchone()
        for number in range(3):
            admin.execute("SELECT sum(px) FROM trades AS t WHERE t.symbol = %s AND t.at > now()", (f"S{number}",))
    found = until(lambda: rows("missing_indexes", target, min_rows=1000))[0]
    assert (found["table"], found["rows_estimate"]) == ("trades", 20000)
    if counted == (1,):
        assert set(found["columns"].split(", ")) == {"symbol", "at"}
        assert "trades" in found["query"]
    plan = probes.call("postgres.explain", target, {"statement": "SELECT * FROM trades WHERE symbol = 'S1'"})
    assert plan[0]["Plan"]["Node Type"] == "Seq Scan"


def test_bloat_and_vacuum_show_dead_rows(server: Server, target: Target) -> None:
    with server.admin() as admin:
        admin.execute("CREATE TABLE busy (id int PRIMARY KEY, word text) WITH (autovacuum_enabled = off)")
        admin.execute("INSERT INTO busy SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i")
        admin.execute("ANALYZE busy")
        for _ in range(3):
            admin.execute("UPDATE busy SET word = word || 'y'")
        admin.execute("ANALYZE busy")
    state = until(lambda: [row for row in rows("vacuum", target) if row["table"] == "busy" and row["dead_rows"] > 9000])
    assert (state[0]["autovacuum"], state[0]["due"], state[0]["last_vacuum"]) == (False, True, None)
    bloat = {row["name"]: row for row in rows("bloat", target)}
    assert bloat["busy"]["bloat_pct"] > 50
    assert bloat["trades"]["bloat_pct"] < 20
    with server.admin() as admin:
        admin.execute("DROP TABLE busy")


def test_space_settings_replication_and_counters(target: Target) -> None:
    disk = probes.call("postgres.disk", target, {})
    assert disk["databases"]["postgres"] > 1_000_000
    assert disk["wal_bytes"] > 0
    settings = probes.call("postgres.settings", target, {"names": ["max_connections", "no_such"]})
    assert settings.table.to_pylist()[0]["setting"] == "30"
    assert settings.note == "not there, or not to be seen: no_such"
    assert rows("replication", target) == []
    assert probes.call("postgres.database", target, {})["database"] == "postgres"
    assert any(row["index"] == "trades_pkey" and row["valid"] for row in rows("indexes", target, table="public.trades"))


def test_an_answer_without_rows_has_its_columns(target: Target) -> None:
    kinds = "1::int AS whole, 1.5::numeric AS number, now() AS time, true AS flag, 'x' AS text"
    for statement in (f"SELECT {kinds} WHERE false", f"SELECT {kinds} WHERE 1 = %(two)s"):
        parameters = {"two": 2} if "two" in statement else None
        full, none = (
            probes.call("postgres.sql", target, {"statement": text, "parameters": parameters}).table
            for text in (statement.replace(" WHERE false", "").replace("1 = %", "2 = %"), statement)
        )
        assert (full.num_rows, none.num_rows) == (1, 0)
        assert none.schema.equals(full.schema)
    assert probes.call("postgres.sql", target, {"statement": "SHOW work_mem"}).table.num_rows == 1
    named = probes.call("postgres.named", target, {"query": "replication"})
    assert (named.table.num_rows, "state" in named.table.column_names) == (0, True)


def test_without_permission_it_says_what_is_not_shown(server: Server) -> None:
    blind = Target("postgres", server.blind, incident=INCIDENT)
    seen = probes.call("postgres.activity", blind, {})
    assert "the role blind is no member of pg_read_all_stats (GRANT pg_monitor TO blind)" in seen.note
    usage = probes.call("postgres.usage", blind, {})
    assert usage["not_shown"] == usage["used"]
    assert probes.call("postgres.disk", blind, {})["wal_bytes"] is None
    assert "never analyzed or not to be read" in probes.call("postgres.bloat", blind, {}).note
    assert rows("slow_queries", blind) == []
    with pytest.raises(
        ProbeError, match=r"our read-only identity may not see that \(permission denied for table trades"
    ):
        rows("sql", blind, statement="SELECT * FROM trades")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DELETE FROM trades", "only reading is allowed here"),
        ("SELECT 1; DELETE FROM trades", "multiple commands"),
        ("SELECT pg_sleep(60)", r"no answer within 0\.5 s"),
        ("SELECT repeat('x', 30000000)", "more than 8,388,608 bytes"),
        ("SELECT repeat('x', 1000) FROM generate_series(1, 100000)", "more than 8,388,608 bytes"),
        ("SELECT nothing FROM trades", 'column "nothing" does not exist'),
        ("COMMIT", "it gives no rows"),
    ],
)
def test_free_statements_are_bounded(
    target: Target, monkeypatch: pytest.MonkeyPatch, statement: str, text: str
) -> None:
    if "pg_sleep" in statement:
        monkeypatch.setattr("opslib.probes.postgres_reading.READ_S", 0.5)
    with pytest.raises(ProbeError, match=text):
        rows("sql", target, statement=statement, limit=50_000)


def test_free_and_named_queries(target: Target) -> None:
    answer = probes.call(
        "postgres.sql", target, {"statement": "SELECT id, symbol FROM trades WHERE id > %(id)s ORDER BY id",
                                 "parameters": {"id": 5}, "limit": 2},
    )  # fmt: skip
    assert answer.table.to_pylist() == [{"id": 6, "symbol": "S6"}, {"id": 7, "symbol": "S7"}]
    assert answer.note == "the first 2 rows; there are more"
    kinds = "SELECT 1.5::numeric AS n, interval '1 minute' AS i, '[1]'::jsonb AS j, true AS b, DATE '2026-01-01' AS d"
    assert rows("sql", target, statement=kinds) == [{"n": 1.5, "i": 60.0, "j": "[1]", "b": True, "d": "2026-01-01"}]
    assert rows("named", target, query="usage")[0]["connections_limit"] == 30
    with pytest.raises(ProbeError, match="there is no named query 'begin'; there are activity"):
        rows("named", target, query="begin")
    with pytest.raises(ProbeError, match="needs other parameters"):
        rows("named", target, query="long_transactions")


def test_a_row_that_no_memory_should_hold_is_not_waited_for(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.postgres._MEMORY", 1_000_000)
    monkeypatch.setattr("opslib.postgres._LOOK_S", 0.001)
    with pytest.raises(ProbeError, match=r"the answer is more than (1,000,000|8,388,608) bytes"):
        rows("sql", target, statement="SELECT repeat('x', 60000000)")


def test_a_role_that_may_do_harm_runs_no_free_statement(server: Server) -> None:
    with pytest.raises(ProbeError, match="the role postgres may do more than read"):
        rows("sql", Target("postgres", server.url()), statement="SELECT pg_terminate_backend(1)")


def test_dead_silent_and_frozen_servers(server: Server, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    with pytest.raises(ProbeError, match=rf"^postgres at 127.0.0.1:{free_port}: connection refused$"):
        probes.call("postgres.usage", Target("postgres", f"postgresql://u:p@127.0.0.1:{free_port}/x"), {})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(ProbeError, match="no answer within 2 s"):
            probes.call("postgres.usage", Target("postgres", url), {})
    with pytest.raises(ProbeError, match="refuses our identity"):
        probes.call("postgres.usage", Target("postgres", server.url("recorder", "wrong")), {})
    monkeypatch.setattr("opslib.probes.postgres_reading.BUDGET_S", 1.0)
    with pytest.raises(ProbeError, match="no answer within 1 s altogether"):
        _freeze_and_ask(server)


def _freeze_and_ask(server: Server) -> None:
    """Ask while the session that serves us is stopped: the server itself can keep no time-out then."""
    with reading(Target("postgres", server.reader)) as connection:
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            connection.execute("SELECT 1")
        finally:
            os.kill(pid, signal.SIGCONT)
