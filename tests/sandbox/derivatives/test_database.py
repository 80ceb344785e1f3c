"""The platform's database: whose it is, and what its server shows of what is done to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from sandbox.derivatives import contents
from sandbox.derivatives import sql as files
from sandbox.derivatives.access import Access
from sandbox.derivatives.kube import Kube
from sandbox.derivatives.setup import Setup
from sandbox.derivatives.sql import queries
from sandbox.errors import NotOurs
from tests.sandbox.derivatives.conftest import Plain

pytestmark = pytest.mark.slow

ID = "sandbox-test"  # of the plain platform
FILES = sorted(path.stem for path in Path(files.__file__).parent.glob("*.sql"))


@dataclass(frozen=True)
class Here(Setup):
    """A platform whose stores are those of the plain one."""

    plain: Plain | None = None

    def postgres_url(self, user: str, host: str, port: int) -> str:
        assert self.plain is not None
        return self.plain.postgres_url

    def redis_url(self, host: str, port: int, *, reader: bool = False) -> str:
        assert self.plain is not None
        return self.plain.redis_url


@pytest.fixture
def access(plain: Plain, tmp_path: Path) -> Access:
    """The plain platform, in a namespace that is ours."""
    namespace = json.dumps({"metadata": {"labels": {"sandbox-id": ID}}})
    cluster = SimpleNamespace(run=lambda *words: subprocess.CompletedProcess(words, 0, namespace, ""))
    parts = (urlsplit(address) for address in (plain.postgres_url, plain.redis_url))
    database, cache = ((part.hostname or "", part.port or 0) for part in parts)
    kube = Kube(cluster, tmp_path)  # type: ignore[arg-type]
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
