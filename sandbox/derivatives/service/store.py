"""The service's PostgreSQL: a small pool, short statements, errors told apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from sandbox.derivatives.service.pricing import Option, Row
from sandbox.derivatives.sql import queries

__all__ = ["DatabaseAway", "DatabaseSlow", "Store"]

_CONNECTIONS = 3
_WAIT_S = 1.0  # for a connection of the pool
_STATEMENT_MS = 400
_LIFE_S = 20.0  # of a connection


class DatabaseAway(RuntimeError):
    """Database connection failed."""


class DatabaseSlow(RuntimeError):
    """Database timeout."""


class Store:
    """The tables of the platform."""

    def __init__(self, url: str) -> None:
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=_CONNECTIONS,
            max_lifetime=_LIFE_S,
            reconnect_timeout=5.0,
            timeout=_WAIT_S,
            open=False,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": 2,
                "application_name": "derivatives-api",
                "options": f"-c statement_timeout={_STATEMENT_MS}",
            },
        )

    async def open(self) -> None:
        """Begin to connect; does not wait for it."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close(timeout=1.0)

    async def trades(self, client: str) -> dict[str, Any]:
        """The latest trades of a client, and today's by underlying."""
        sql = queries("store")
        async with self._connection() as connection:
            recent = await (await connection.execute(sql.recent_trades, {"client": client})).fetchall()
            exposure = await (await connection.execute(sql.exposure, {"client": client})).fetchall()
        return {"trades": recent, "exposure": exposure}

    async def add_trade(self, facts: dict[str, Any]) -> None:
        """Store a trade."""
        async with self._connection() as connection:
            await connection.execute(queries("store").insert_trade, facts)

    async def add_greeks(self, option: Option, row: Row) -> None:
        """Store one computed result."""
        values = (option.underlying, option.kind, option.strike, option.days, *row[:5])
        async with self._connection() as connection:
            await connection.execute(queries("store").insert_greeks, values)

    async def positions(self) -> list[dict[str, Any]]:
        """The desk's positions."""
        async with self._connection() as connection:
            return list(await (await connection.execute(queries("store").positions)).fetchall())

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.errors.QueryCanceled as slow:
            raise DatabaseSlow(f"Database timeout: {slow} (limit {_STATEMENT_MS} ms)") from slow
        except (PoolTimeout, psycopg.OperationalError) as away:
            raise DatabaseAway(f"Database connection failed: {away}") from away
        except psycopg.Error as broken:
            raise DatabaseAway(f"Database connection failed: {type(broken).__name__}: {broken}") from broken
