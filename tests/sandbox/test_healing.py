"""`heal` without a platform heals every one that runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opslib.settings import Settings
from sandbox import faults, platforms
from sandbox.errors import UnknownPlatform
from sandbox.platforms import PLATFORMS, Platform


def running(platform: Platform, runs: bool, asked: list[str]) -> Platform:
    """A platform that does or does not run, and is healed by being asked."""

    def heal(_settings: Settings, **_options: Any) -> dict[str, Any]:
        asked.append(platform.name)
        return {"platform": platform.name, "healthy": True}

    return replace(platform, status=lambda _settings: {"api": "x"} if runs else None, heal=heal)


@pytest.mark.parametrize(
    ("run", "healed"),
    [
        ({"crypto", "derivatives"}, ["crypto", "derivatives"]),
        ({"derivatives"}, ["derivatives"]),
        ({"crypto"}, ["crypto"]),
        (set(), ["crypto"]),  # which says that it does not run
    ],
)
def test_what_runs_is_healed(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, run: set[str], healed: list[str]
) -> None:
    asked: list[str] = []
    for name, one in list(PLATFORMS.items()):
        monkeypatch.setitem(platforms.PLATFORMS, name, running(one, name in run, asked))
    told = faults.heal(settings)
    assert asked == healed
    assert told["healthy"]
    assert [one["platform"] for one in told.get("platforms", [told])] == healed
    asked.clear()
    assert faults.heal(settings, "derivatives")["platform"] == "derivatives"
    assert asked == ["derivatives"]
    with pytest.raises(UnknownPlatform, match="the sandbox has no platform 'equities'"):
        faults.heal(settings, "equities")
