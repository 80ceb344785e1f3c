"""What `runbook rbac` prints for PostgreSQL, applied to real servers: enough for each probe and action, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from opslib import probes
from opslib.actions.action import Context
from opslib.actions.catalogue import ACTIONS, make
from opslib.cli import app
from opslib.errors import ActionFailed, ProbeError
from opslib.probes import Target, registry
from opslib.rights import postgres as rights
from opslib.runs import catalogue, uses
from opslib.settings import PROJECT
from opslib.sql import queries
from tests.clusters.test_rights import notebook
from tests.postgres_server import Server, binaries, running

pytestmark = pytest.mark.slow
PASSWORD = "swordfish-4711-rights"
PROBES = [name for name in registry.names() if name.startswith("postgres.")]
QUERIES = sorted(set(vars(queries("probes_postgres"))) - {"begin", "statements"})
VALUES = {"book": "options", "window_s": 60, "within_s": 60, "over_s": 60, "min_rows": 1, "table": "public.trades",
          "names": None, "name": "pg_stat_statements"}  # fmt: skip
ARGUMENTS: dict[str, dict[str, Any]] = {
    "postgres.explain": {"statement": "SELECT * FROM trades"},
    "postgres.named": {"query": "desk_hedges", "parameters": VALUES},
    "postgres.sql": {"statement": "SELECT count(*) FROM trades"},
}
TABLES = {  # as the derivatives platform has them; nobody asks for who traded
    "positions": "underlying text, kind text, strike float, expiry_days int, quantity float, entry_price float, "
    "updated_at timestamptz, book text, trader text",
    "hedges": "underlying text, quantity float, price float, timestamp timestamptz",
    "greeks_history": "timestamp timestamptz, underlying text, kind text, strike float, days int, price float, "
    "delta float, gamma float, vega float, theta float",
}
NEVER = {
    "SELECT * FROM secrets",
    "ALTER SYSTEM SET shared_buffers = '1MB'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
    "CREATE ROLE other",
}
AS_OWNER = {  # what comes with being a member of the owner, where PostgreSQL has no smaller right
    "UPDATE trades SET px = 0",
    "TRUNCATE trades",
    "DROP TABLE trades",
    "CREATE TABLE public.mine (id int)",
    "SET ROLE trader",
}
BY_PLAN = {  # what one action alone may
    "postgres.delete-old-rows": "DELETE FROM trades",
    "postgres.set-setting": "ALTER SYSTEM SET work_mem = '1MB'",
}
DENIED = r"permission denied|must be owner|must be superuser|Only roles with|must have privileges"


@pytest.fixture(scope="module", params=[15, 18])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the tables of a desk that belong to `trader`, and accounts that may nothing yet."""
    with running(tmp_path_factory.mktemp("rights"), request.param, "max_prepared_transactions=2") as server:
        with server.admin() as admin:
            admin.execute("DROP OWNED BY recorder; DROP ROLE recorder")
            for name in ("recorder", "applier", "trader"):
                admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
            admin.execute("GRANT CREATE ON SCHEMA public TO trader; SET ROLE trader")
            admin.execute("CREATE TABLE trades (id int PRIMARY KEY, symbol text, at timestamptz, px numeric)")
            admin.execute(
                "INSERT INTO trades SELECT i, 'S', now() - make_interval(days => i), i FROM generate_series(1, 2000) i"
            )
            for table, columns in TABLES.items():
                admin.execute(f"CREATE TABLE {table} ({columns})")
            admin.execute("RESET ROLE")
            admin.execute("CREATE TABLE secrets AS SELECT 1 AS id, 'x' AS word")
            admin.execute("ANALYZE")
        yield server


@pytest.fixture
def given(server: Server, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Applies what the command prints for a runbook that declares this; what was given is taken away at the end."""

    def apply(*options: str, reads: tuple[str, ...] = (), proposes: tuple[str, ...] = (), code: str = "1") -> Any:
        notebook(tmp_path / "alerts" / "one.ipynb", code, reads=list(reads), proposes=list(proposes))
        found = printed(tmp_path, "one", *options)
        with psycopg.connect(server.url()) as admin:
            admin.execute(";\n".join(found["postgres"]))
        return found

    yield apply
    with server.admin() as admin:
        admin.execute("ALTER SYSTEM RESET work_mem")
        for role in ("runbook-one-recorder", "runbook-one-applier"):
            if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None:
                admin.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def printed(notebooks: Path, name: str, *options: str) -> dict[str, Any]:
    """What `runbook rbac NAME --json` prints."""
    done = CliRunner().invoke(app, ["rbac", name, "--json", *options], env={"RUNBOOK_NOTEBOOKS": str(notebooks)})
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def target(server: Server) -> Target:
    return Target("postgres", server.url("recorder", PASSWORD))


def seen(server: Server, name: str, **arguments: Any) -> Any:
    """What a probe sees as the recorder."""
    return probes.call(name, target(server), arguments or ARGUMENTS.get(name, {}))


def partly(answer: Any) -> str:
    """What of an answer could not be seen, but for the disk's fill, which SQL never tells."""
    if isinstance(answer, probes.registry.Frame):
        return answer.note or ""
    unseen = answer.get("unseen", []) if isinstance(answer, dict) else []
    return "; ".join(text for text in unseen if "SQL does not tell" not in text)


def tried(server: Server, account: str, statement: str) -> None:
    """Run a statement as an account, in a session of its own that may write."""
    with psycopg.connect(server.url(account, PASSWORD), autocommit=True) as connection:
        connection.execute(statement)


def test_every_probe_and_action_has_its_rights_declared() -> None:
    assert sorted(rights.READS) == sorted(PROBES)
    ours = {name for name in ACTIONS if name.startswith("postgres.")}
    assert ours == set(rights.OBSERVES) == set(rights.CHANGES)
    assert set(rights.NAMED) | set(rights.COLUMNS) <= set(QUERIES)


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_sees_all_with_its_rights_alone(server: Server, given: Callable[..., Any], probe: str) -> None:
    """And without any it sees less, where it needs some; nothing else may be done either way."""
    code = "ops.postgres.named('desk_hedges')" if probe == "postgres.named" else "1"
    found = given("--table", "trades", reads=(probe,), code=code)
    answer = seen(server, probe)
    told = partly(answer)
    if probe == "postgres.bloat":
        assert "public.trades" not in told
        assert "public.secrets" in told, "statistics of other tables are not shown"
    elif "pg_stat_statements is not" in told:  # only Debian's server has it
        assert "our role" not in told
    else:
        assert told == ""
    assert not any("applier" in statement for statement in found["postgres"])
    for statement in NEVER | AS_OWNER | set(BY_PLAN.values()):
        with pytest.raises(psycopg.Error, match=DENIED):
            tried(server, "recorder", statement)
    if not rights.READS[probe] and probe != "postgres.named":
        return
    with server.admin() as admin:
        admin.execute('REVOKE "runbook-one-recorder" FROM recorder')
    try:
        less = partly(seen(server, probe)) or repr(seen(server, probe))
    except ProbeError as error:
        less = str(error)
    assert less != (told or repr(answer)), f"{probe} needs none of {rights.READS[probe]}"


@pytest.mark.parametrize("query", QUERIES)
def test_a_named_query_is_answered_and_no_other_table_is_shown(
    server: Server, given: Callable[..., Any], query: str
) -> None:
    given("--table", "trades", reads=("postgres.named",), code=f"ops.look('it', ops.postgres.named, '{query}')")
    answer = seen(server, "postgres.named", query=query, parameters=VALUES)
    told = answer.table.to_pylist()
    if query in rights.NAMED and "sessions" in rights.NAMED[query]:
        assert seen(server, "postgres.usage")["unseen"] == []
    assert not any("not shown" in str(row) for row in told)
    with pytest.raises(psycopg.Error, match="permission denied"):
        tried(server, "recorder", "SELECT * FROM secrets")
    with pytest.raises(psycopg.Error, match="permission denied"):
        tried(server, "recorder", "SELECT trader FROM positions")
    if query not in ("columns_of", "bloat"):
        return
    assert told


@pytest.fixture
def contexts(server: Server) -> dict[str, Context]:
    """The platform as recorder and applier see it, each by its own account."""

    def seen_by(account: Any) -> Context:
        url = server.url(account, PASSWORD)
        return Context(platform="desk", environment="sandbox", identity=account, endpoint=lambda _: url)

    return {account: seen_by(account) for account in ("recorder", "applier")}


@pytest.fixture
def steps(server: Server) -> Iterator[dict[str, dict[str, Any]]]:
    """Arguments of each action on the desk's tables."""
    with psycopg.connect(server.url("trader", PASSWORD), autocommit=True) as session:
        session.execute("DROP INDEX IF EXISTS ix_trades_px, ix_trades_at")
        session.execute("CREATE INDEX ix_trades_at ON trades (at)")
        who = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        pid, start = session.execute(who).fetchone() or (0, None)
        table = {"table": "public.trades"}
        yield {
            "postgres.analyze": table,
            "postgres.create-index": {**table, "columns": ["px"]},
            "postgres.delete-old-rows": {**table, "column": "at", "older_than_days": 1990.0},
            "postgres.drop-index": {"index": "public.ix_trades_at"},
            "postgres.reindex": {"name": "public.trades"},
            "postgres.set-setting": {"name": "work_mem", "value": "5MB"},
            "postgres.terminate-sessions": {"sessions": [{"pid": pid, "backend_start": start.isoformat()}]},
            "postgres.vacuum": table,
        }


@pytest.mark.parametrize("name", sorted(rights.CHANGES))
def test_an_action_works_with_its_rights_alone(
    server: Server, given: Callable[..., Any], contexts: dict[str, Context], steps: dict[str, Any], name: str
) -> None:
    options = ("--table", "trades", "--setting", "work_mem")
    found = given(*options, proposes=(name,))
    with server.admin() as admin:
        admin.execute("INSERT INTO trades SELECT i, 'S', now() - make_interval(days => i), i"
                      " FROM generate_series(1, 2000) i ON CONFLICT DO NOTHING")  # fmt: skip
        action = make(name, steps[name])
        with contexts["recorder"] as recorder:
            before = action.observe(recorder)
            action.describe(recorder, before)
        admin.execute('REVOKE "runbook-one-applier" FROM applier')
        with contexts["applier"] as applier:
            with suppress(ActionFailed, ProbeError):  # PostgreSQL only warns where it may not vacuum, and does nothing
                action.apply(applier, "key-0")
            assert not action.done(contexts["recorder"], before)
        admin.execute('GRANT "runbook-one-applier" TO applier')
        with contexts["applier"] as applier:
            action.apply(applier, "key-1")
            assert action.done(applier, before)
    given_by = set(rights.CHANGES[name]) & {"own", "maintain"}
    assert bool(given_by) is ("becomes a member of the owner" in "".join(found["postgres"]))
    with server.admin() as admin:
        [owner] = admin.execute("SELECT pg_has_role('applier', 'trader', 'MEMBER')").fetchone() or ()
        assert owner is ("own" in given_by or ("maintain" in given_by and admin.info.server_version < 170000))
        forbidden = {"SET ROLE trader"} if admin.info.server_version >= 160000 else set()
    others = {statement for one, statement in BY_PLAN.items() if one != name}
    others = others - {BY_PLAN["postgres.delete-old-rows"]} | forbidden if owner else others | AS_OWNER
    for statement in NEVER | others:
        with pytest.raises(psycopg.Error, match=DENIED):
            tried(server, "applier", statement)


def test_what_is_printed_is_run_as_it_is(server: Server, given: Callable[..., Any], tmp_path: Path) -> None:
    given(reads=("postgres.slow_queries", "postgres.disk"), proposes=("postgres.delete-old-rows",))
    command = [str(Path(sys.executable).with_name("runbook")), "rbac", "one", "--for", "postgres", "--table", "trades"]
    environment = {**os.environ, "RUNBOOK_NOTEBOOKS": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    psql = [str(binaries(15) / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.url()]
    subprocess.run(psql, input=done.stdout, text=True, check=True, capture_output=True)
    assert partly(seen(server, "postgres.disk")) == ""
    tried(server, "applier", "DELETE FROM trades WHERE id < 0")


def test_a_table_of_a_superuser_is_not_given_with_its_owner(given: Callable[..., Any]) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="belongs to a superuser: give it an owner that is none"):
        given("--table", "secrets", proposes=("postgres.create-index",))


def test_without_a_table_nothing_is_given_on_one(server: Server, given: Callable[..., Any]) -> None:
    found = given(proposes=("postgres.vacuum", "postgres.set-setting"))
    told = "\n".join(found["postgres"])
    assert "-- Nothing is given: name what it is about with --table." in told
    assert "-- Nothing is given: name what it is about with --setting." in told
    for statement in AS_OWNER | set(BY_PLAN.values()):
        with pytest.raises(psycopg.Error, match=DENIED):
            tried(server, "applier", statement)


def test_what_is_declared_no_more_is_taken_away(server: Server, given: Callable[..., Any]) -> None:
    given(reads=("postgres.usage",))
    assert seen(server, "postgres.usage")["unseen"] == []
    given(reads=("postgres.server",))
    assert "not shown" in seen(server, "postgres.usage")["unseen"][0]


RUNBOOKS = sorted(path for path in PROJECT.glob("notebooks/*/*.ipynb") if '"postgres.' in path.read_text("utf-8"))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_every_probe_and_query_of_our_runbooks_works(server: Server, path: Path) -> None:
    """What is printed for a runbook of ours lets it look at what it declares, and shows no other table."""
    runbook = catalogue.read(path)
    found = printed(PROJECT / "notebooks", runbook.name, "--table", "trades")
    roles = [f"runbook-{runbook.name}-{account}" for account in ("recorder", "applier")]
    try:
        with psycopg.connect(server.url()) as admin:
            admin.execute(";\n".join(found["postgres"]))
        for probe in set(runbook.reads) & set(PROBES) - {"postgres.named"}:
            told = partly(seen(server, probe))
            assert told == "" or "pg_stat_statements is not" in told
        for query in uses.named(runbook):
            seen(server, "postgres.named", query=query, parameters=VALUES)
        with pytest.raises(psycopg.Error, match=DENIED):
            tried(server, "recorder", "SELECT * FROM secrets")
    finally:
        with server.admin() as admin:
            for role in roles:
                if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None:
                    admin.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
