"""The rounds of a game day: one for each fault that was asked for and each seed, and healthy ones between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from opslib.diagnosis.verdict import NONE_OF_THESE
from sandbox import faults as catalogue
from sandbox.errors import UnknownFault

__all__ = ["Round", "chosen", "in_order", "platform_of", "playable"]


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes
    ----------
    name : str
        The fault, with its seed where the day has several, or `healthy N`: known again by it when a game day goes on.
    fault : str or None
        `RUNBOOK/CAUSE`, of two at once `RUNBOOK/CAUSE+CAUSE`; None: nothing is broken.
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
    def faults(self) -> tuple[str, ...]:
        """What is broken: one, several at once, or nothing."""
        return () if self.fault is None else tuple(catalogue.parts(self.fault))

    @property
    def unlisted(self) -> bool:
        """Whether the cause is one that the playbook does not know."""
        return self.fault in catalogue.UNLISTED

    @property
    def expected(self) -> tuple[str, ...]:
        """The causes that the playbook should name."""
        if self.unlisted:
            return (NONE_OF_THESE,)
        return tuple(name.partition("/")[2] for name in self.faults)


def playable(*, pairs: bool = False, unlisted: bool = False) -> list[str]:
    """The faults that there are, with pairs of them and those that no playbook knows where these are wanted."""
    return [*catalogue.FAULTS, *(catalogue.PAIRS if pairs else ()), *(catalogue.UNLISTED if unlisted else ())]


def platform_of(name: str) -> str:
    """The platform that a fault, or several at once, break."""
    first = catalogue.parts(name)[0]
    return (catalogue.FAULTS.get(first) or catalogue.UNLISTED[first]).platform


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


def in_order(faults: Mapping[str, str], *, seeds: Sequence[int], healthy: int) -> list[Round]:
    """The rounds in their order: platform by platform, healthy rounds spread evenly, the first one first.

    Parameters
    ----------
    faults : mapping
        Platform by fault.
    seeds : sequence of int
        Each fault is played with each, so that `runbook sandbox break FAULT --seed N` does the same again; healthy
        rounds count up from the first.
    healthy : int
        How many healthy rounds.
    """
    platforms = tuple(sorted(set(faults.values())))
    broken = [
        Round(f"{name} (seed {seed})" if len(seeds) > 1 else name, name, (platform,), seed)
        for platform in platforms
        for seed in seeds
        for name in sorted(faults)
        if faults[name] == platform
    ]
    calm = [Round(f"healthy {number + 1}", None, platforms, seeds[0] + number) for number in range(healthy)]
    places = [number * len(broken) // max(healthy, 1) for number in range(healthy)]
    found: list[Round] = []
    for place, one in enumerate(broken):
        found += [calm[number] for number, at in enumerate(places) if at == place]
        found.append(one)
    return found
