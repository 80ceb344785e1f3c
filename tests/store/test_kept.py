"""A connection that is kept between the transactions of a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from opslib import store
from opslib.settings import Settings

pytestmark = pytest.mark.slow


def backend(settings: Settings, role: store.Role = "worker") -> int:
    with store.transaction(settings, role) as connection:
        return connection.info.backend_pid


@pytest.fixture
def kept(settings: Settings) -> Iterator[store.Kept]:
    with closing(store.Kept(settings)) as kept:
        yield kept


def test_within_its_block_transactions_share_a_connection(settings: Settings, kept: store.Kept) -> None:
    with kept:
        first = backend(settings)
        assert backend(settings) == first
        assert backend(settings, "reader") != first
    assert backend(settings) != first
    with kept:
        assert backend(settings) == first
        kept.close()
        assert backend(settings) != first


def test_a_transaction_within_another_has_its_own(settings: Settings, kept: store.Kept) -> None:
    with kept, store.transaction(settings) as outer:
        assert backend(settings) != outer.info.backend_pid


def test_what_fails_is_undone_and_what_follows_is_not(settings: Settings, kept: store.Kept) -> None:
    def add(id_: str, pid: str) -> None:
        with store.transaction(settings) as connection:
            connection.execute("INSERT INTO processes (id, kind, host, pid) VALUES (%s, 'kept', 'here', 1)", (id_,))
            connection.execute("SELECT %s::int", (pid,))

    with kept:
        with pytest.raises(psycopg.DataError, match="no number"):
            add("undone", "no number")
        add("done", "1")
    with store.transaction(settings) as connection:
        rows = connection.execute("SELECT id FROM processes WHERE kind = 'kept'").fetchall()
    assert rows == [{"id": "done"}]


def test_one_that_has_broken_is_replaced(settings: Settings, kept: store.Kept) -> None:
    with kept:
        first = backend(settings)
        with psycopg.connect(store.url(settings, "owner"), autocommit=True) as owner:
            owner.execute("SELECT pg_terminate_backend(%s, 5000)", (first,))
        assert backend(settings) != first
