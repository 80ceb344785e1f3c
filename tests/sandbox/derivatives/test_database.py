"""The platform's database: whose it is, and what its server shows of what is done to it."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from opslib import probes, web
from opslib.diagnosis import grown_tables, lost_indexes
from opslib.probes import Target
from sandbox.cluster.kube import Kube
from sandbox.derivatives import contents
from sandbox.derivatives import sql as files
from sandbox.derivatives.access import Access
from sandbox.derivatives.sql import queries
from sandbox.errors import NotOurs
from sandbox.faults import latency_degrading
from sandbox.progress import quiet
from tests.sandbox.derivatives.conftest import Here, Plain, wait_for

pytestmark = pytest.mark.slow

ID = "sandbox-test"  # of the plain platform
FILES = sorted(path.stem for path in Path(files.__file__).parent.glob("*.sql"))


@pytest.fixture
def access(plain: Plain, tmp_path: Path) -> Access:
    """The plain platform, in a namespace that is ours."""
    namespace = json.dumps({"metadata": {"labels": {"sandbox-id": ID}}})
    cluster = SimpleNamespace(run=lambda *words: subprocess.CompletedProcess(words, 0, namespace, ""))
    parts = (urlsplit(address) for address in (plain.postgres_url, plain.redis_url))
    database, cache = ((part.hostname or "", part.port or 0) for part in parts)
    kube = Kube(cluster, tmp_path, "derivatives")  # type: ignore[arg-type]
    return Access(kube, Here(tmp_path, ID, {}, "", plain), plain.api, database, cache)


def test_a_database_with_our_mark_is_ours(access: Access) -> None:
    with access.database() as connection:
        assert connection.execute(queries("schema").read_mark).fetchall() == [(ID,)]
    access.verify()


@pytest.fixture(params=["no table", "an empty table", "another id"])
def foreign(request: pytest.FixtureRequest, plain: Plain) -> Iterator[None]:
    """The database of somebody else."""
    changes = {
        "no table": ("ALTER TABLE sandbox RENAME TO aside", "ALTER TABLE aside RENAME TO sandbox"),
        "an empty table": ("DELETE FROM sandbox", f"INSERT INTO sandbox VALUES ('{ID}')"),
        "another id": ("UPDATE sandbox SET sandbox_id = 'production'", f"UPDATE sandbox SET sandbox_id = '{ID}'"),
    }
    with psycopg.connect(plain.postgres_url, autocommit=True) as connection:
        before, after = changes[request.param]
        connection.execute(before)  # type: ignore[call-overload]
        yield
        connection.execute(after)  # type: ignore[call-overload]


def test_a_database_without_our_mark_is_refused(access: Access, foreign: None) -> None:
    with pytest.raises(NotOurs, match=r"does not carry the sandbox-id that `up` wrote\. Nothing was changed"):
        access.verify()


def test_a_cache_with_another_mark_is_refused(access: Access, plain: Plain) -> None:
    with redis.Redis.from_url(plain.redis_url) as client:
        client.set(contents.MARK, "production")
        try:
            with pytest.raises(NotOurs, match="Nothing was changed"):
                access.verify()
        finally:
            client.delete(contents.MARK)


@pytest.mark.parametrize("name", FILES)
def test_no_statement_tells_what_it_is_for(name: str) -> None:
    for block, text in vars(queries(name)).items():
        assert text, block
        assert "--" not in text, block


def test_the_server_shows_a_migration_as_anybodys(plain: Plain) -> None:
    shows = "SELECT query, state FROM pg_stat_activity WHERE application_name = 'report-migration'"
    statement = sql.SQL(queries("growth").open_migration).format(sql.Identifier("venue"))
    with (
        psycopg.connect(plain.postgres_url, application_name="report-migration") as changing,
        psycopg.connect(plain.postgres_url, autocommit=True) as watching,
    ):
        changing.execute(statement)
        found = watching.execute(shows).fetchall()
        changing.rollback()
    assert found == [
        ('ALTER TABLE option_trades ADD COLUMN IF NOT EXISTS "venue" text', "idle in transaction"),
    ]


def how_trades_are_found(connection: psycopg.Connection[Any]) -> tuple[str, int]:
    """The plan of the service's own statement, and how often the table was read from end to end."""
    connection.execute("ANALYZE option_trades")
    plan = connection.execute(f"EXPLAIN {queries('store').recent_trades}", {"client": "client-03"}).fetchall()
    ((scans,),) = connection.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'option_trades'")
    return "\n".join(line for (line,) in plan), scans


def what_is_lacking(plain: Plain) -> list[list[str]]:
    """The columns of the index that each statement of the service lacks, by what the probes see."""
    target = Target("postgres", plain.postgres_url)
    named = {"query": "columns_of", "parameters": {"table": "option_trades"}}
    columns = probes.call("postgres.named", target, named).table.to_pandas()["column"]
    indexes = probes.call("postgres.indexes", target, {"table": "option_trades"}).table.to_pandas()
    assert indexes["valid"].all()
    statements = [
        grown_tables.plain(text.replace("%(client)s", "$1"))
        for text in (queries("store").recent_trades, queries("store").exposure)
    ]
    lacking = [one for one in statements if not grown_tables.leads(one, list(indexes["definition"]))]
    return [lost_indexes.narrowing(one, list(columns)) for one in lacking]


def test_without_its_index_the_table_is_read_from_end_to_end_until_it_is_back(
    access: Access, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_degrading, "_PAST_S", 0.0)
    monkeypatch.setattr(latency_degrading, "_GENTLY_S", 0.0)
    monkeypatch.setattr(latency_degrading, "_ARCHIVE", (14_000, 20_000))
    trades = f"{plain.api}/trades?client=client-03"
    with access.database() as connection:
        before, _ = how_trades_are_found(connection)
        assert "Index Scan Backward using option_trades_client_timestamp" in before
        assert contents.reset_indexes(connection) == []
        assert what_is_lacking(plain) == []
        latency_degrading.missing_index(access, random.Random(3), quiet)
        try:
            told, scans = how_trades_are_found(connection)
            assert "Seq Scan on option_trades" in told
            assert what_is_lacking(plain) == [["client", "timestamp"], ["client", "timestamp"]]
            assert web.get(trades, timeout=20.0).status_code == 200
            wait_for(lambda: how_trades_are_found(connection)[1] >= scans + 2)  # both statements of the request
        finally:
            restored = contents.reset_indexes(connection)
        assert [one.partition("_")[0] for one in restored] == ["index option", "index option"]
        assert restored[0].endswith(" removed")
        assert restored[1] == "index option_trades_client_timestamp"
        assert what_is_lacking(plain) == []
        assert "option_trades_client_timestamp" in how_trades_are_found(connection)[0]
        assert contents.reset_indexes(connection) == []


def test_an_index_whose_build_failed_is_built_anew(access: Access) -> None:
    with access.database() as connection:
        connection.execute("DROP INDEX greeks_history_timestamp")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY greeks_history_timestamp ON greeks_history ((1))")
        assert contents.reset_indexes(connection) == ["index greeks_history_timestamp"]
        assert contents.reset_indexes(connection) == []
