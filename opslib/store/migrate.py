"""Numbered migrations of the store, applied by yoyo; each runs once, in order, under a lock."""

from __future__ import annotations

from pathlib import Path

import psycopg

from opslib.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"


def up_to_date(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Whether every migration of this version has been applied."""
    if connection.execute("SELECT to_regclass('_yoyo_migration')").fetchone() == (None,):
        return False
    applied = {row[0] for row in connection.execute("SELECT migration_id FROM _yoyo_migration")}
    return {path.stem for path in MIGRATIONS.glob("0*.*")} <= applied


def migrate(address: str) -> None:
    """Apply what is missing.

    Raises
    ------
    StoreError
        When a migration fails; nothing of it stays.
    """
    import yoyo

    scheme, _, rest = address.partition("://")
    backend = yoyo.get_backend(f"{scheme.split('+')[0]}+psycopg://{rest}")
    migrations = yoyo.read_migrations(str(MIGRATIONS))
    try:
        with backend.lock():
            backend.apply_migrations(backend.to_apply(migrations))
    except psycopg.Error as error:
        raise StoreError(f"the database could not be migrated: {error}") from error
    finally:
        backend.connection.close()
