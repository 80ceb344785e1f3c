"""What kernels find ready made, and where each keeps its own: the list of fonts, compiled loops.

A cache holds code, or what leads to it. So no kernel writes where another reads: each has folders of its own, and what
is kept for the next was made before the first cell could run.
"""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path

_KEPT = "KERNEL_FONTS"  # in the environment until the kernel is confined
_FONTS = "fontlist-*.json"


def private(kept: Path | None, folder: Path) -> dict[str, str]:
    """The variables of a kernel's own caches, in a new folder below `folder`, with the list of fonts if it is kept.

    Parameters
    ----------
    kept : Path or None
        Where the next kernel finds it; `MPLCONFIGDIR` of this process goes first.
    folder : Path
    """
    own = Path(tempfile.mkdtemp(prefix="cache-", dir=folder))
    variables = {"NUMBA_CACHE_DIR": own / "numba", "MPLCONFIGDIR": own / "matplotlib"}
    for place in variables.values():
        place.mkdir()
    kept = Path(os.environ["MPLCONFIGDIR"]) if os.environ.get("MPLCONFIGDIR") else kept
    if kept is not None:
        for file in kept.glob(_FONTS):
            shutil.copyfile(file, own / "matplotlib" / file.name)
        variables[_KEPT] = kept
    return {name: str(place) for name, place in variables.items()}


def fill() -> list[Path]:
    """Before a kernel is confined: list the fonts and keep the list, where none is kept; returns its own folders."""
    kept, own = os.environ.pop(_KEPT, None), Path(os.environ["MPLCONFIGDIR"])
    if kept is not None and not any(own.glob(_FONTS)):
        importlib.import_module("matplotlib.font_manager")
        Path(kept).mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in own.glob(_FONTS):
            part = Path(kept, f".{file.name}.{secrets.token_hex(6)}.part")
            shutil.copyfile(file, part)
            part.replace(Path(kept, file.name))
    return [own, Path(os.environ["NUMBA_CACHE_DIR"])]
