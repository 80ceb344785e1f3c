"""What a release of the service brings beside its code: the parameters of pricing, and how results are cached."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sandbox.derivatives.market import UNDERLYINGS

__all__ = ["CACHE_KEY", "Release", "load", "write"]

CACHE_KEY = "greeks:{underlying}:{kind}:{strike:g}:{days}:{spot:g}"


def _dividends() -> dict[str, float]:
    return {one.name: one.dividend for one in UNDERLYINGS.values()}


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Attributes
    ----------
    name : str
    volatility_scale : float
        Times the market's volatility at the money.
    smoothing : int
        Spots over which Greeks are averaged around the asked one; 1 is none. Each costs another evaluation.
    cache_key : str
        How a cached result is found again.
    cache_ttl_s : int
        Life of a cached result [s].
    dividends : dict
        Yield of each underlying [per year].
    """

    name: str
    volatility_scale: float = 1.0
    smoothing: int = 1
    cache_key: str = CACHE_KEY
    cache_ttl_s: int = 3600
    dividends: dict[str, float] = field(default_factory=_dividends)


def load(folder: Path, name: str) -> Release:
    """Read a release from `FOLDER/NAME.json`.

    Raises
    ------
    OSError, ValueError, TypeError
        There is none, or it cannot be understood: the service does not start.
    """
    return Release(**json.loads((folder / f"{name}.json").read_text("utf-8")))


def write(folder: Path, release: Release) -> None:
    """Put a release where pods find it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{release.name}.json").write_text(json.dumps(asdict(release), indent=1), "utf-8")
