"""The applier: the one process that changes anything, and only for an approved plan.

`python -m opslib.actions.applier` serves until it is told to stop; `--once HASH` applies one plan and ends.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import psycopg
import structlog

from opslib import store
from opslib.actions import plans
from opslib.actions.applying import Apply, target_locks
from opslib.actions.documents import ENDED, Plan
from opslib.errors import ActionFailed, RunbookError, StoreError
from opslib.settings import Settings
from opslib.sql import queries
from opslib.store import processes

POLL_S = 1.0  # a request for an apply is heard at once; this is for one that was not
CHANNEL = "runbook_apply"
_BEAT_S = 2.0
_log = structlog.get_logger()


def run_once(
    settings: Settings,
    hash_: str,
    *,
    worker: str | None = None,
    stop: threading.Event | None = None,
    beat: Callable[[], None] | None = None,
) -> Plan:
    """Apply one plan that is approved and requested, or take up one whose apply was interrupted; then seal.

    Returns the plan as it is afterwards; unchanged where another apply holds its target.

    Raises
    ------
    NotFound
        When there is no such plan.
    """
    plan = take_up(settings, hash_, worker=worker or f"applier-{os.getpid()}", stop=stop, beat=beat)
    if plan is not None:
        _seal(settings, plan.incident)
    with store.connect(settings) as connection:
        return plans.load(connection, hash_)


def take_up(
    settings: Settings,
    hash_: str,
    *,
    worker: str,
    stop: threading.Event | None = None,
    beat: Callable[[], None] | None = None,
) -> Plan | None:
    """The whole life of an apply under its target's locks; the plan once it has ended, else None.

    Raises
    ------
    NotFound
        When there is no such plan.
    """
    with store.connect(settings) as connection:
        plan = plans.load(connection, hash_)
        asked = {row["hash"] for row in connection.execute(queries("actions").requested)}
    if plan.hash not in asked:
        return None
    with target_locks(settings, plan.document.targets) as free:
        if not free:
            return None
        with store.connect(settings) as connection:
            plan = plans.load(connection, hash_)  # as it is now that nobody else applies it
        apply = Apply(settings, plan, worker, stop, beat)
        if plan.state == "applying":
            apply.recover()
        elif plan.state == "approved" and apply.begin():
            apply.do()
        else:
            return None
        return apply.finish() if apply.verify() else None


def _seal(settings: Settings, incident: str) -> None:
    """Seal the record; where that fails now, the signer seals it later."""
    from opslib.record import seal

    try:
        seal.seal(settings, incident)
    except (RunbookError, OSError) as error:
        _log.warning("the record is not sealed yet", incident=incident, error=str(error))


def alive(settings: Settings) -> bool:
    """Whether an applier serves."""
    with store.connect(settings) as connection:
        return processes.alive(connection, "applier")


def wait(
    settings: Settings, hash_: str, *, timeout_s: float = 180.0, progress: Callable[[Plan], None] | None = None
) -> Plan:
    """Wait until a requested plan has been applied; an applier is started for it where none serves.

    Parameters
    ----------
    settings : Settings
    hash_ : str
    timeout_s : float
        How long to wait [s].
    progress : callable, optional
        Called with the plan about twice a second.

    Raises
    ------
    ActionFailed
        When the plan has not ended in that time, or the applier ends without ending it.
    """
    child = None if alive(settings) else _start(settings, hash_)
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            over = child is not None and child.poll() is not None
            with store.connect(settings) as connection:
                plan = plans.load(connection, hash_)
            if plan.state in ENDED and (over or child is None):
                return plan
            if progress is not None:
                progress(plan)
            if over and child is not None and plan.state == "applying":
                time.sleep(2.0)
                child = _start(settings, hash_)  # the first was interrupted; this one takes it up
            elif over and child is not None:
                raise ActionFailed(f"the applier ended with code {child.returncode}; plan {hash_[:12]} is {plan.state}")
            if time.monotonic() > deadline:
                raise ActionFailed(f"plan {hash_[:12]} is still {plan.state} after {timeout_s:g} s")
            time.sleep(0.2)
    finally:
        if child is not None and child.poll() is None:
            child.terminate()
            child.wait(10)


def _start(settings: Settings, hash_: str) -> subprocess.Popen[bytes]:
    """An applier for one plan, as a child of this process."""
    environment = {**os.environ, "RUNBOOK_HOME": str(settings.home), "RUNBOOK_PARAMS": str(settings.params)}
    environment.pop("RUNBOOK_TOKEN", None)
    return subprocess.Popen(
        [sys.executable, "-m", "opslib.actions.applier", "--once", hash_], env=environment, stdin=subprocess.DEVNULL
    )


def serve(settings: Settings, stop: threading.Event) -> None:
    """Apply what is approved and requested, until told to stop; waits for the database while it is away."""
    process = None
    while not stop.is_set():
        try:
            process = process or processes.register(settings, "applier")
            with store.connect(settings, autocommit=True) as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                _work(settings, connection, process, stop)
        except (StoreError, psycopg.OperationalError) as error:
            _log.warning("the database is away; trying again", error=str(error))
            stop.wait(1.0)
    if process is not None:
        try:
            process.close()
        except StoreError as error:
            _log.warning("the end could not be announced", error=str(error))


def _work(settings: Settings, connection: store.Connection, process: processes.Process, stop: threading.Event) -> None:
    """Serve on one connection, until told to stop or it breaks."""
    beaten = time.monotonic()
    with closing(store.Kept(settings)) as kept:
        while not stop.is_set():
            with kept, store.transaction(settings) as transaction:
                plans.expire_overdue(settings, transaction)
            for row in connection.execute(queries("actions").requested).fetchall():
                if not stop.is_set():
                    _one(settings, row["hash"], process, stop)
            if time.monotonic() - beaten >= _BEAT_S:
                with kept:
                    process.beat()
                beaten = time.monotonic()
            for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                break


def _one(settings: Settings, hash_: str, process: processes.Process, stop: threading.Event) -> None:
    """One plan; what goes wrong with it does not stop the others."""
    try:
        run_once(settings, hash_, worker=process.id, stop=stop, beat=process.beat)
    except (StoreError, psycopg.OperationalError):
        raise
    except RunbookError as error:
        _log.error("a plan could not be applied", plan=hash_[:12], error=str(error))
        stop.wait(1.0)


def _warm() -> None:
    """Load what the record of an apply needs while the apply begins."""
    from opslib.actions import apply_record

    apply_record.warm()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m opslib.actions.applier", description="Apply approved plans.")
    parser.add_argument("--once", metavar="HASH", help="apply this one plan and end")
    given = parser.parse_args(arguments)
    level = logging.INFO if given.once is None else logging.WARNING  # who waits for one plan is told by the command
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    settings, stop = Settings(), threading.Event()
    threading.Thread(target=_warm, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if given.once is None:
        serve(settings, stop)
        return 0
    plan = run_once(settings, given.once, stop=stop)
    return 0 if plan.state == "verified" else 1


if __name__ == "__main__":
    sys.exit(main())
