"""A home for all replays of this folder that run in one process."""

from __future__ import annotations

import pytest

from opslib.settings import Settings


@pytest.fixture(scope="session")
def replays(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Where their sockets are."""
    settings = Settings(home=tmp_path_factory.mktemp("replays") / "home")
    settings.make_home()
    return settings
