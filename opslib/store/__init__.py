"""The one store: PostgreSQL, given by `RUNBOOK_DATABASE_URL` or embedded under RUNBOOK_HOME."""

from opslib.store.database import Connection, Role, connect, ensure, reachable, transaction, url
from opslib.store.embedded import running, stop
from opslib.store.kept import Kept

__all__ = ["Connection", "Kept", "Role", "connect", "ensure", "reachable", "running", "stop", "transaction", "url"]
