"""The actions on PostgreSQL, against a real server: previews that change nothing, changes that hit nothing else."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from opslib import probes
from opslib.actions.action import Action, Context, Description, Identity, Observation
from opslib.actions.catalogue import make
from opslib.actions.drift import changes
from opslib.actions.postgres_indexes import index_name
from opslib.errors import ActionFailed, ParameterError, PlanError, ProbeError
from opslib.probes import Target
from opslib.probes.calls_postgres import Postgres
from tests.postgres_server import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("postgres"), 18, "autovacuum=off") as server:
        yield server


@pytest.fixture
def admin(server: Server) -> Iterator[psycopg.Connection]:
    """A fresh table of history: 1,000 rows, one a day back."""
    with server.admin() as admin:
        admin.execute("DROP TABLE IF EXISTS greeks_history, others CASCADE")
        admin.execute("CREATE TABLE greeks_history (id int PRIMARY KEY, at timestamptz, symbol text)")
        admin.execute(
            "INSERT INTO greeks_history SELECT i, now() - make_interval(days => i), 'S' || i"
            " FROM generate_series(1, 1000) i"
        )
        admin.execute("ANALYZE greeks_history")
        yield admin


def context(server: Server, identity: Identity = "recorder") -> Context:
    """The platform as one identity sees it."""
    url = server.url() if identity == "applier" else server.reader
    return Context(platform="derivatives", environment="sandbox", identity=identity, endpoint=lambda _: url)


def preview(server: Server, action_name: str, /, **arguments: Any) -> tuple[Action, Observation, Description]:
    """An action as the recorder sees it before anything is done."""
    action = make(action_name, arguments)
    with context(server) as reading:
        seen = action.observe(reading)
        return action, seen, action.describe(reading, seen)


def apply(server: Server, action: Action, seen: Observation) -> dict[str, Any]:
    """Do it as the applier; afterwards it shows as done, and before it did not."""
    with context(server, "applier") as changing:
        assert not action.done(changing, seen)
        answer = action.apply(changing, "key-0")
        assert action.done(changing, seen)
    return answer


def session(row: tuple[Any, ...], transaction: bool = True) -> dict[str, Any]:
    told = {"pid": row[0], "backend_start": row[1].isoformat()}
    return {**told, "transaction_start": row[2].isoformat()} if transaction and row[2] else told


WHO = "SELECT pid, backend_start, xact_start FROM pg_stat_activity WHERE application_name = %s"


def test_sessions_are_ended_and_only_the_ones_meant(server: Server, admin: psycopg.Connection) -> None:
    blocker, other = server.admin(application_name="blocker"), server.admin(application_name="other")
    blocker.execute("BEGIN")
    blocker.execute("LOCK TABLE greeks_history")
    waiting = threading.Thread(target=lambda: admin.execute("SELECT count(*) FROM greeks_history"))
    waiting.start()
    meant = session(other.execute(WHO, ("blocker",)).fetchone())
    deadline = time.monotonic() + 30
    while True:
        action, seen, told = preview(server, "postgres.terminate-sessions", sessions=[meant])
        if told.preview["rows"][0]["blocks"] == 1 or time.monotonic() > deadline:
            break
    assert told.preview["rows"][0]["application"] == "blocker"
    assert told.blast_radius == {"sessions": 1}
    assert told.undo.kind == "none"
    assert blocker.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS  # the preview ended nothing
    assert apply(server, action, seen) == {"ended": [meant["pid"]], "not_the_ones_meant": []}
    waiting.join()
    with pytest.raises(psycopg.OperationalError):
        blocker.execute("SELECT 1")
    other.execute("SELECT 1")
    with context(server, "applier") as changing, pytest.raises(ActionFailed, match="nothing was ended"):
        action.apply(changing, "key-0")  # tried again, it hits nobody else
    other.close()


def test_a_table_of_the_probes_names_the_sessions(server: Server, admin: psycopg.Connection) -> None:
    idler, target = server.admin(application_name="idler"), Target("postgres", server.reader)
    idler.execute("BEGIN")
    idler.execute("SELECT 1")
    rows = probes.call("postgres.long_transactions", target, {"over_s": 0}).table.to_pandas()
    sessions = Postgres.sessions(rows[rows["application"] == "idler"])
    assert sessions == [session(admin.execute(WHO, ("idler",)).fetchone())]
    activity = probes.call("postgres.activity", target, {}).table.to_pandas()
    whole = Postgres.sessions(activity[activity["application"] == "idler"], whole=True)
    assert whole == [{**sessions[0], "transaction_start": None}]
    action, seen, _ = preview(server, "postgres.terminate-sessions", sessions=sessions)
    apply(server, action, seen)
    idler.close()


def test_a_process_number_used_again_is_not_hit(server: Server, admin: psycopg.Connection) -> None:
    with server.admin(application_name="innocent") as innocent:
        pid, started, _ = admin.execute(WHO, ("innocent",)).fetchone()
        earlier = {"pid": pid, "backend_start": (started - dt.timedelta(microseconds=1)).isoformat()}
        with pytest.raises(PlanError, match="none of these sessions is there any more"):
            preview(server, "postgres.terminate-sessions", sessions=[earlier])
        action = make("postgres.terminate-sessions", {"sessions": [earlier]})
        with context(server, "applier") as changing, pytest.raises(ActionFailed, match="nothing was ended"):
            action.apply(changing, "key-0")
        innocent.execute("SELECT 1")


def test_a_session_that_went_on_to_another_transaction_is_spared(server: Server, admin: psycopg.Connection) -> None:
    with server.admin(application_name="pooled") as pooled:
        pooled.execute("BEGIN")
        action, seen, _ = preview(
            server, "postgres.terminate-sessions", sessions=[session(admin.execute(WHO, ("pooled",)).fetchone())]
        )
        pooled.execute("COMMIT")
        pooled.execute("BEGIN")
        with context(server) as reading:
            now = action.observe(reading)
        assert changes(seen.target, now.target) == ["sessions was 1, is now 0, beyond 1..1"]
        with context(server, "applier") as changing, pytest.raises(ActionFailed, match="nothing was ended"):
            action.apply(changing, "key-0")
        assert pooled.execute("SELECT 1").fetchone() == (1,)


def test_only_sessions_of_clients_are_ended(server: Server, admin: psycopg.Connection) -> None:
    row = admin.execute(
        "SELECT pid, backend_start, xact_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    ).fetchone()
    with pytest.raises(PlanError, match="is a checkpointer; only sessions of clients are ended"):
        preview(server, "postgres.terminate-sessions", sessions=[session(row)])


def test_an_index_is_built_once_and_dropped_again(server: Server, admin: psycopg.Connection) -> None:
    action, seen, told = preview(server, "postgres.create-index", table="greeks_history", columns=["symbol", "at"])
    assert told.preview["statement"].startswith("CREATE INDEX CONCURRENTLY ix_greeks_history_symbol_at ON")
    assert apply(server, action, seen)["made"] is True
    with context(server, "applier") as changing:
        assert action.apply(changing, "key-0")["made"] is False
    with pytest.raises(PlanError, match="is there already, and valid"):
        preview(server, "postgres.create-index", table="public.greeks_history", columns=["symbol", "at"])
    with pytest.raises(PlanError, match="ix_greeks_history_symbol_at begins with these columns already"):
        preview(server, "postgres.create-index", table="greeks_history", columns=["symbol"])
    undo = told.undo
    back, before, way = preview(server, str(undo.action), **(undo.arguments or {}))
    assert "symbol, at" in way.preview["definition"]
    apply(server, back, before)
    assert admin.execute("SELECT to_regclass('ix_greeks_history_symbol_at')").fetchone() == (None,)


def test_a_failed_build_leaves_nothing_behind(server: Server, admin: psycopg.Connection) -> None:
    admin.execute(
        "UPDATE greeks_history SET symbol ="
        " (SELECT string_agg(md5(g::text || id), '') FROM generate_series(1, 300) g) WHERE id = 1"
    )
    action, seen, _ = preview(server, "postgres.create-index", table="greeks_history", columns=["symbol"])
    with context(server, "applier") as changing:
        with pytest.raises(ActionFailed, match=r"index row requires .*; the invalid index that it left was dropped"):
            action.apply(changing, "key-0")
        assert not action.done(changing, seen)
    left = admin.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone()
    assert left == (0,)


def test_an_invalid_index_of_an_earlier_crash_is_replaced(server: Server, admin: psycopg.Connection) -> None:
    admin.execute("CREATE INDEX ix_greeks_history_at ON greeks_history (at)")
    admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_greeks_history_at'::regclass")
    action, seen, told = preview(server, "postgres.create-index", table="greeks_history", columns=["at"])
    assert told.preview["replaces_invalid"] is True
    apply(server, action, seen)


def test_names_are_checked_against_the_catalogue(server: Server, admin: psycopg.Connection) -> None:
    admin.execute('CREATE TABLE others ("odd ""name" timestamptz, fine text)')
    with pytest.raises(ParameterError, match="table"):
        make("postgres.create-index", {"table": "x; DROP TABLE greeks_history", "columns": ["at"]})
    with pytest.raises(PlanError, match="has no column nothing; it has id, at, symbol"):
        preview(server, "postgres.create-index", table="greeks_history", columns=["nothing"])
    with pytest.raises(PlanError, match="there is no table or index nowhere"):
        preview(server, "postgres.vacuum", table="nowhere")
    with pytest.raises(PlanError, match="greeks_history_pkey is an index, not a table"):
        preview(server, "postgres.vacuum", table="greeks_history_pkey")
    action, seen, _ = preview(server, "postgres.create-index", table="others", columns=['odd "name'])
    apply(server, action, seen)
    assert len(index_name("t" * 60, ("column",)).encode()) == 63


@pytest.mark.slow
def test_vacuum_and_analyze(server: Server, admin: psycopg.Connection) -> None:
    admin.execute("UPDATE greeks_history SET symbol = symbol || 'x'")
    deadline = time.monotonic() + 30
    while True:
        action, seen, told = preview(server, "postgres.vacuum", table="greeks_history")
        if told.preview["count"] == 1000 or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert told.preview["count"] == 1000
    assert "the disk gains nothing" in told.expected_effect
    assert apply(server, action, seen)["dead_rows_after"] == 0
    action, seen, _ = preview(server, "postgres.analyze", table="greeks_history")
    apply(server, action, seen)


def test_reindex_builds_every_index_anew(server: Server, admin: psycopg.Connection) -> None:
    action, seen, told = preview(server, "postgres.reindex", name="greeks_history")
    assert told.preview["rows"] == [{"index": "public.greeks_history_pkey"}]
    assert apply(server, action, seen)["left_over"] == "nothing was left behind"
    one, seen, _ = preview(server, "postgres.reindex", name="greeks_history_pkey")
    apply(server, one, seen)


def test_old_rows_are_counted_then_deleted_in_batches(server: Server, admin: psycopg.Connection) -> None:
    given = {"table": "greeks_history", "column": "at", "older_than_days": 30.5, "batch_rows": 100}
    action, seen, told = preview(server, "postgres.delete-old-rows", **given)
    assert (told.preview["count"], told.preview["batches"]) == (970, 10)
    assert seen.target.live["rows"].high == pytest.approx(970 * 1.05)
    assert "the file does not shrink" in told.expected_effect
    assert admin.execute("SELECT count(*) FROM greeks_history").fetchone() == (1000,)
    answer = apply(server, action, seen)
    assert (answer["deleted"], answer["counted"], answer["batches"]) == (970, 970, 10)
    assert answer["vacuums"] >= 1
    assert admin.execute("SELECT count(*), max(id) FROM greeks_history").fetchone() == (30, 30)
    with context(server, "applier") as changing:
        assert action.apply(changing, "key-0")["deleted"] == 0  # tried again, nothing more goes
    with pytest.raises(PlanError, match="there is nothing to delete"):
        preview(server, "postgres.delete-old-rows", **given)


def test_more_rows_than_previewed_void_the_plan(server: Server, admin: psycopg.Connection) -> None:
    given = {"table": "greeks_history", "column": "at", "older_than_days": 30.5}
    action, seen, _ = preview(server, "postgres.delete-old-rows", **given)
    admin.execute("INSERT INTO greeks_history SELECT i, now() - interval '1 year' FROM generate_series(2000, 2100) i")
    with context(server) as reading:
        now = action.observe(reading)
    assert "rows was 970, is now 1071, beyond 1..1018.5" in changes(seen.target, now.target)


def test_rows_that_come_after_the_last_look_stay(server: Server, admin: psycopg.Connection) -> None:
    given = {"table": "greeks_history", "column": "at", "older_than_days": 30.5, "batch_rows": 500}
    action, seen, told = preview(server, "postgres.delete-old-rows", **given)
    admin.execute("INSERT INTO greeks_history SELECT i, now() - interval '1 year' FROM generate_series(2000, 2999) i")
    with context(server, "applier") as changing:
        changing.approved = seen.target
        answer = action.apply(changing, "key-0")
    assert (answer["counted"], answer["at_most"], answer["deleted"]) == (1970, 1018, 1018)
    assert told.preview["at_most"] == 1018
    assert admin.execute("SELECT count(*) FROM greeks_history").fetchone() == (2000 - 1018,)


def test_rows_that_others_hang_on_are_not_deleted(server: Server, admin: psycopg.Connection) -> None:
    admin.execute("CREATE TABLE others (id int REFERENCES greeks_history ON DELETE CASCADE)")
    given = {"table": "greeks_history", "older_than_days": 1.0}
    with pytest.raises(PlanError, match="also changes others: not done"):
        preview(server, "postgres.delete-old-rows", column="at", **given)
    with pytest.raises(PlanError, match=r"symbol of public.greeks_history is text, no time"):
        preview(server, "postgres.delete-old-rows", column="symbol", **given)


def test_a_setting_is_set_and_set_back(server: Server, admin: psycopg.Connection) -> None:
    action, seen, told = preview(server, "postgres.set-setting", name="work_mem", value="8MB")
    assert (told.preview["before"], told.preview["needs_restart"]) == ("4MB", False)
    assert apply(server, action, seen) == {"setting": "work_mem", "now": "8MB", "needs_restart": False}
    assert told.undo.arguments == {"name": "work_mem", "value": None, "reason": "undo"}
    again, before, told = preview(server, "postgres.set-setting", name="work_mem", value="16MB")
    assert told.undo.arguments["value"] == "8MB"
    apply(server, again, before)
    back, before, _ = preview(server, "postgres.set-setting", name="work_mem", value=None)
    assert apply(server, back, before)["now"] == "4MB"


@pytest.mark.parametrize("name", ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"])
def test_a_bound_that_we_set_for_our_own_session_is_told_as_others_have_it(
    server: Server, admin: psycopg.Connection, name: str
) -> None:
    action, seen, told = preview(server, "postgres.set-setting", name=name, value="7min")
    assert (told.preview["before"], told.undo.arguments["value"]) == ("0", None)
    assert apply(server, action, seen)["now"] == "7min"
    with context(server) as reading:
        assert action.done(reading, seen)
    again, before, told = preview(server, "postgres.set-setting", name=name, value="8min")
    assert (told.preview["before"], told.undo.arguments["value"]) == ("7min", "7min")
    apply(server, again, before)
    back, before, _ = preview(server, "postgres.set-setting", name=name, value=None)
    assert apply(server, back, before)["now"] == "0"


def test_what_a_role_has_for_itself_hides_what_the_file_says(server: Server, admin: psycopg.Connection) -> None:
    role = urlsplit(server.reader).username
    admin.execute(f"ALTER ROLE {role} SET work_mem = '5MB'")
    try:
        _, _, told = preview(server, "postgres.set-setting", name="work_mem", value="9MB")
    finally:
        admin.execute(f"ALTER ROLE {role} RESET work_mem")
    assert told.undo.kind == "none"
    assert "what the server's own file says is not known" in told.undo.reason


def test_a_setting_that_needs_a_restart_says_so(server: Server, admin: psycopg.Connection) -> None:
    action, seen, told = preview(server, "postgres.set-setting", name="max_connections", value="200")
    assert told.preview["needs_restart"] is True
    assert "(needs a restart)" in told.summary
    assert apply(server, action, seen)["needs_restart"] is True
    admin.execute("ALTER SYSTEM RESET max_connections")
    admin.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("archive_command", "rm -rf /", "is not changed here"),
        ("fsync", "off", "is not changed here"),
        ("jit_provider", "elsewhere", "is not changed here"),
        ("log_directory", "/var/www", "is not changed here"),
        ("shared_preload_libraries", "x", "is not changed here"),
        ("server_version", "1", "cannot be changed"),
        ("no_such_setting", "1", "there is no setting no_such_setting"),
        ("work_mem", "lots", "is a number"),
        ("max_connections", "9999999", "is from 1 to"),
        ("wal_level", "nonsense", "is one of"),
        ("autovacuum", "maybe", "is on or off"),
        ("work_mem", "4MB", "there is nothing to set"),
    ],
)
def test_settings_that_are_not_changed(server: Server, name: str, value: str, text: str) -> None:
    with pytest.raises(PlanError, match=text):
        preview(server, "postgres.set-setting", name=name, value=value)


def test_the_recorder_may_change_nothing(server: Server, admin: psycopg.Connection) -> None:
    for name, arguments in {
        "postgres.vacuum": {"table": "greeks_history"},
        "postgres.create-index": {"table": "greeks_history", "columns": ["at"]},
        "postgres.delete-old-rows": {"table": "greeks_history", "column": "at", "older_than_days": 1.0},
        "postgres.set-setting": {"name": "work_mem", "value": "8MB"},
    }.items():
        with context(server) as reading, pytest.raises(ActionFailed, match="the recorder may not change derivatives"):
            make(name, arguments).apply(reading, "key-0")
    weak = Context("derivatives", "sandbox", "applier", lambda _: server.reader)
    with weak, pytest.raises(ActionFailed, match=r"permission denied to set parameter|must be superuser"):
        make("postgres.set-setting", {"name": "work_mem", "value": "8MB"}).apply(weak, "key-0")


def test_a_dead_server_is_told(server: Server) -> None:
    dead = Context("derivatives", "sandbox", "applier", lambda _: "postgresql://u:p@127.0.0.1:1/x")
    action = make("postgres.vacuum", {"table": "greeks_history"})
    with dead, pytest.raises(ProbeError, match="postgres of derivatives: connection refused"):
        action.observe(dead)
    with dead, pytest.raises(ActionFailed, match="connection refused") as failure:
        action.apply(dead, "key-0")
    assert failure.value.sent is False
