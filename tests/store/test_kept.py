"""A connection that is kept between the transactions of a loop."""

from __future__ import annotations

import asyncio
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


def test_as_many_stay_open_as_are_asked_for(settings: Settings) -> None:
    def backends() -> list[int]:
        """Of three transactions at once."""
        with (
            store.transaction(settings) as one,
            store.transaction(settings) as two,
            store.transaction(settings) as three,
        ):
            return [connection.info.backend_pid for connection in (one, two, three)]

    with closing(store.Kept(settings, most=2)) as several, several:
        first, again = backends(), backends()
    assert len(set(first)) == 3
    assert len(set(first) & set(again)) == 2


def test_one_in_use_is_closed_as_soon_as_that_is_over(settings: Settings, kept: store.Kept) -> None:
    with kept:
        with store.transaction(settings) as connection:
            kept.close()  # as where a server ends and a thread of it goes on
            assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}
        assert connection.closed
    with kept:
        first = backend(settings)
        assert backend(settings) == first  # who begins anew keeps them again


def test_blocks_of_several_tasks_do_not_mix(settings: Settings) -> None:
    async def one(own: store.Kept, number: int) -> set[int]:
        found = set()
        for turn in range(5):
            with own:
                await asyncio.sleep(0.01 * ((number + turn) % 3))
                found.add(await asyncio.to_thread(backend, settings))
        return found

    async def both() -> list[set[int]]:
        with closing(store.Kept(settings)) as left, closing(store.Kept(settings)) as right:
            return await asyncio.gather(one(left, 0), one(right, 1))

    left, right = asyncio.run(both())
    assert (len(left), len(right), left & right) == (1, 1, set())
