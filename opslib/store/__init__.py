"""The one store: PostgreSQL, given by `RUNBOOK_DATABASE_URL` or embedded under RUNBOOK_HOME."""

from opslib.store.database import Connection, Role, connect, ensure, reachable, transaction, url
from opslib.store.embedded import running, stop
from opslib.store.kept import Kept, kept_in_use

__all__ = [
    "Connection",
    "Kept",
    "Role",
    "connect",
    "ensure",
    "kept_in_use",
    "reachable",
    "running",
    "stop",
    "transaction",
    "url",
]
