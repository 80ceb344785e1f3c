"""What a game day plays on: `runbook serve`, and the platforms with their monitoring; ended as it was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opslib import people, store
from opslib.settings import Settings
from sandbox import platforms
from sandbox.gameday.desk import Desk
from sandbox.progress import Progress
from sandbox.service import Service

__all__ = ["folder", "stage"]


def folder(settings: Settings) -> Path:
    """Where a game day keeps its results, its scoreboard and the service's log; the owner's alone."""
    settings.make_home()
    path = settings.state / "gameday"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def stage(settings: Settings, names: Iterable[str], say: Progress) -> Iterator[Desk]:
    """Start the service and the platforms, with Alertmanager posting to it; afterwards end what did not run before.

    Raises
    ------
    SandboxError
        When something does not start; nothing that was started is left.
    """
    wanted = [platforms.find(name) for name in names]
    ran = {platform.name for platform in wanted if platform.status(settings) is not None}
    had_store = settings.database_url is None and store.running(settings) is not None
    service = Service(settings, folder(settings) / "serve.log")
    try:
        say("starting `runbook serve` with one worker")
        # Every round is to be examined, also when it is about what was examined a moment ago.
        service.start(more={"RUNBOOK_COOLDOWN_S": "0"}, ends_with_us=True)
        people.ensure_sandbox_people(settings)
        for platform in wanted:
            say(f"bringing up {platform.name}")
            platform.up(settings, progress=say, monitored=True, webhook=f"{service.url}/api/v1/alerts")

        def addresses() -> list[str]:
            statuses = [platform.status(settings) or {} for platform in wanted]
            return [str(status["prometheus"]) for status in statuses if status.get("prometheus")]

        yield Desk(service, addresses)
    finally:
        say("ending what was started")
        for platform in wanted:
            if platform.name in ran:
                platform.up(settings, progress=say, monitored=None, webhook=None)
            else:
                platform.down(settings, progress=say)
        service.stop()
        if not had_store and settings.database_url is None:
            store.stop(settings, force=False)
