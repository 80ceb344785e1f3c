"""What `runbook serve` does before it starts, for processes that are started each alone: `python -m opslib.prepare`.

Checks every file under params/, brings the store to this version, and takes `RUNBOOK_INTAKE_TOKEN` for the webhook.
"""

from __future__ import annotations

import sys

from opslib import people, store
from opslib.errors import RunbookError
from opslib.intake import routes
from opslib.settings import Settings


def main() -> int:
    """Exit code 0 where everything can start."""
    settings = Settings()
    try:
        if settings.intake_token is None:
            print("set RUNBOOK_INTAKE_TOKEN: every server has to know the same", file=sys.stderr)
            return 1
        settings.make_home()
        routes.check(settings)
        store.ensure(settings)
        people.ensure_intake_token(settings)
    except RunbookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
