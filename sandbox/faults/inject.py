"""Break a sandbox platform and heal it; both act only on what carries the sandbox-id that `up` wrote."""

from __future__ import annotations

import random
import time
from typing import Any

from opslib.settings import Settings
from sandbox import platforms
from sandbox.errors import NotVisible, UnknownFault
from sandbox.faults.catalogue import FAULTS, UNLISTED, parts
from sandbox.faults.fault import Fault
from sandbox.progress import Progress, quiet

__all__ = ["break_", "heal"]

_POLL_S = 0.25


def break_(
    settings: Settings,
    fault: str,
    *,
    platform: str | None = None,
    seed: int = 0,
    decoys: int = 0,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Break a platform, and wait until the fault shows on it.

    Parameters
    ----------
    settings : Settings
    fault : str
        `RUNBOOK/CAUSE`, a key of `sandbox.faults.FAULTS` or `UNLISTED`; several at once: `RUNBOOK/CAUSE+CAUSE`, made
        in this order, each as it is alone.
    platform : str, optional
        Must be the one that the fault breaks.
    seed : int
        Varies target, intensity and timing.
    decoys : int
        Number of true but unrelated events beside it.
    progress : callable
        Takes a line for the person who waits.

    Returns
    -------
    dict
        `fault`, `seed`, `decoys`, `platform`, `visible_after_s`, `shows`, and the figures of the fault.

    Raises
    ------
    UnknownFault, NotUp, NotOurs
        Nothing was changed.
    NotVisible
        The fault did not show in time.
    """
    chosen = {name: _find(name) for name in parts(fault)}
    (on,) = {one.platform for one in chosen.values()}  # those of a playbook are all of one platform
    if platform not in (None, on):
        raise UnknownFault(f"{fault} is a fault of {on}, not of {platform}")
    broken = platforms.find(on)
    broken.verify(settings)
    chance = random.Random(f"noise {fault} {seed}")  # its own, so that a fault is the same with and without noise
    noise = broken.decoys(chance, decoys)
    before = chance.randint(0, len(noise))
    begun = time.monotonic()
    for happen in noise[:before]:
        happen(settings)
    for name, one in chosen.items():
        one.inject(settings, random.Random(f"{name} {seed}"), progress)
    for happen in noise[before:]:
        happen(settings)
    shows = [_wait(settings, one, progress) for one in chosen.values()]
    return {
        "fault": fault,
        "seed": seed,
        "decoys": decoys,
        "platform": on,
        "visible_after_s": round(time.monotonic() - begun, 2),
        "shows": "; and ".join(dict.fromkeys(shows)),
        **next(iter(chosen.values())).figures(settings),
    }


def heal(settings: Settings, platform: str | None = None, *, progress: Progress = quiet) -> dict[str, Any]:
    """Put platforms back to what they are right after `up`, and wait until they are healthy.

    Parameters
    ----------
    settings : Settings
    platform : str, optional
        By default every one that runs.
    progress : callable
        Takes a line for the person who waits.

    Returns
    -------
    dict
        What the platform's own `heal` tells; of several `healthy`, and under `platforms` what each tells.

    Raises
    ------
    UnknownPlatform, NotUp, NotOurs
        Nothing was changed on that platform.
    NotVisible
        It did not become healthy in time.
    """
    if platform is not None:
        return platforms.find(platform).heal(settings, progress=progress)
    running = [one for one in platforms.PLATFORMS.values() if one.status(settings) is not None]
    told = [one.heal(settings, progress=progress) for one in running or [platforms.find("crypto")]]
    return told[0] if len(told) == 1 else {"healthy": True, "platforms": told}


def _find(name: str) -> Fault:
    """The fault of that name.

    Raises
    ------
    UnknownFault
    """
    found = FAULTS.get(name) or UNLISTED.get(name)
    if found is None:
        near = [one for one in FAULTS if one.startswith(f"{name.partition('/')[0]}/")]
        said = f"there are {', '.join(near)}" if near else "`runbook sandbox faults` lists those there are"
        raise UnknownFault(f"there is no fault {name!r}; {said}")
    return found


def _wait(settings: Settings, fault: Fault, progress: Progress) -> str:
    """Poll the platform until the fault shows."""
    deadline = time.monotonic() + fault.visible_within_s
    progress(f"waiting until it shows, at most {fault.visible_within_s:.0f} s")
    while True:
        shows = fault.visible(settings)
        if shows is not None:
            return shows
        if time.monotonic() > deadline:
            raise NotVisible(
                f"after {fault.visible_within_s:.0f} s the fault does not show on {fault.platform}: run "
                f"`runbook sandbox heal --platform {fault.platform}`, then try again"
            )
        time.sleep(_POLL_S)
