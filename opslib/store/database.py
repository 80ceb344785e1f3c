"""Connections to the store. The first one of a process starts the embedded server and migrates."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import psycopg
from psycopg.rows import DictRow, dict_row

from opslib.errors import StoreError, UsageError
from opslib.settings import Settings
from opslib.store import embedded, kept
from opslib.store.migrate import migrate, up_to_date

Connection = psycopg.Connection[DictRow]
Role = Literal["owner", "worker", "reader"]

# A server that starts or stops says so; it is asked again until the time-out.
_NOT_YET = re.compile("the database system is (starting up|shutting down|not yet accepting)")
_ready: set[str] = set()


class _Cursor(psycopg.Cursor[DictRow]):
    """A cursor that says of words which no text of the database can hold that they cannot be taken."""

    def execute(self, *words: Any, **more: Any) -> Any:
        """As psycopg's; raises `UsageError` where a word holds NUL or half of a pair."""
        try:
            return super().execute(*words, **more)
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if getattr(error, "sqlstate", None) is not None:
                raise  # what the server says of a value is another thing
            raise UsageError(
                "it holds a letter that cannot be stored (NUL, or half of a pair of surrogates); leave that out"
            ) from error


def url(settings: Settings, role: Role = "worker", timeout_s: float = embedded.START_S) -> str:
    """The address of the store for a role; the embedded server is started when it does not run.

    `worker` may append to journal and log but not change them; `reader` may only read; `owner` migrates.
    With `RUNBOOK_DATABASE_URL` that address serves every role: give its user no more than it needs.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded.ensure(settings, timeout_s).url(role)


def ensure(settings: Settings) -> None:
    """Bring the store up: server started, schema migrated. Cheap when both are so already.

    Raises
    ------
    StoreError
        When the server cannot be started or reached, or a migration fails.
    """
    address = url(settings, "owner")
    deadline = time.monotonic() + embedded.START_S
    while True:
        try:
            with psycopg.connect(address, connect_timeout=5) as connection:
                current = up_to_date(connection)
            break
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline or not _NOT_YET.search(str(error)):
                raise _unreachable(address, error) from error
            time.sleep(0.05)
    if not current:
        migrate(address)
    _ready.add(_home(settings))


def _home(settings: Settings) -> str:
    """What tells one store from another within a process."""
    return settings.database_url.get_secret_value() if settings.database_url else str(settings.home)


def connect(
    settings: Settings, *, role: Role = "worker", timeout_s: float = 2.0, autocommit: bool = False
) -> Connection:
    """A connection whose rows are dictionaries.

    Parameters
    ----------
    settings : Settings
    role : {"owner", "worker", "reader"}
    timeout_s : float
        How long to try to connect [s].
    autocommit : bool
        Whether each statement is a transaction of its own.

    Raises
    ------
    StoreError
        When the database cannot be reached in that time.
    """
    deadline = time.monotonic() + timeout_s
    if _home(settings) not in _ready:
        ensure(settings)
        deadline = time.monotonic() + timeout_s
    address = url(settings, role, timeout_s)
    while True:
        try:
            return psycopg.connect(
                address,
                row_factory=dict_row,
                cursor_factory=_Cursor,
                connect_timeout=max(1, round(timeout_s)),
                autocommit=autocommit,
                application_name="runbook",
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
            )
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline or not _NOT_YET.search(str(error)):
                raise _unreachable(address, error) from error
            time.sleep(0.05)


@contextmanager
def transaction(settings: Settings, role: Role = "worker", timeout_s: float = 2.0) -> Iterator[Connection]:
    """A connection in one transaction: committed at the end of the block, undone by an exception."""
    keeper = kept.kept_in_use()
    connection = (keeper and keeper.take(settings, role)) or connect(settings, role=role, timeout_s=timeout_s)
    try:
        try:
            yield connection
        except BaseException:
            with suppress(psycopg.Error):
                connection.rollback()
            raise
        connection.commit()
    finally:
        if keeper is None or not keeper.keep(settings, role, connection):
            connection.close()


def reachable(settings: Settings, timeout_s: float = 1.0) -> bool:
    """Whether the store answers now; starts nothing."""
    address = settings.database_url.get_secret_value() if settings.database_url else None
    if address is None:
        server = embedded.running(settings)
        if server is None:
            return False
        address = server.url("reader")
    try:
        with psycopg.connect(address, connect_timeout=max(1, round(timeout_s))):
            return True
    except psycopg.OperationalError:
        return False


def _unreachable(address: str, error: Exception) -> StoreError:
    """What to tell about a database that does not answer, without its password."""
    facts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(address)
    where = f"{facts.get('host', 'localhost')}:{facts.get('port', 5432)}/{facts.get('dbname', '')}"
    reason = str(error).strip().splitlines()[-1]
    return StoreError(f"the database at {where} cannot be reached: {reason}. `runbook doctor` says more.")
