"""The rounds of a game day: one for each fault that was asked for, and healthy ones between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sandbox.errors import UnknownFault

__all__ = ["Round", "chosen", "in_order"]


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes
    ----------
    name : str
        The fault, or `healthy N`: known again by it when a game day goes on.
    fault : str or None
        `RUNBOOK/CAUSE`; None: nothing is broken.
    platforms : tuple of str
        Where: the fault's platform; of a healthy round all that the game day has.
    seed : int
    """

    name: str
    fault: str | None
    platforms: tuple[str, ...]
    seed: int

    @property
    def runbook(self) -> str:
        """The playbook that the fault belongs to."""
        return (self.fault or "").partition("/")[0]

    @property
    def cause(self) -> str:
        """The cause that the playbook should name."""
        return (self.fault or "").partition("/")[2]


def chosen(names: Iterable[str], only: str | None) -> list[str]:
    """The faults that a pattern chooses, sorted.

    Raises
    ------
    UnknownFault
        When it chooses none.
    """
    everything = sorted(names)
    found = [name for name in everything if only is None or fnmatchcase(name, only)]
    if not found:
        raise UnknownFault(f"no fault matches {only!r}; there are {', '.join(everything)}")
    return found


def in_order(faults: Mapping[str, str], *, seed: int, healthy: int) -> list[Round]:
    """The rounds in their order: platform by platform, healthy rounds spread evenly, the first one first.

    Parameters
    ----------
    faults : mapping
        Platform by fault.
    seed : int
        Of every fault, so that `runbook sandbox break FAULT --seed N` does the same again; healthy rounds count up.
    healthy : int
        How many healthy rounds.
    """
    platforms = tuple(sorted(set(faults.values())))
    ordered = sorted(faults, key=lambda name: (faults[name], name))
    broken = [Round(name, name, (faults[name],), seed) for name in ordered]
    calm = [Round(f"healthy {number + 1}", None, platforms, seed + number) for number in range(healthy)]
    places = [number * len(broken) // max(healthy, 1) for number in range(healthy)]
    found: list[Round] = []
    for place, one in enumerate(broken):
        found += [calm[number] for number, at in enumerate(places) if at == place]
        found.append(one)
    return found
