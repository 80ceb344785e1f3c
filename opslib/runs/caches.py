"""What kernels find ready made, and where each keeps its own: the list of fonts, compiled loops.

A cache holds code, or what leads to it. So no kernel writes where another reads: each has folders of its own, and what
it finds there is a copy of what was made before the first cell could run, or by a process that runs none.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import secrets
import shutil
import tempfile
from pathlib import Path

_KEPT = "KERNEL_FONTS"  # in the environment until the kernel is confined
_FONTS = "fontlist-*.json"


def compiled(otherwise: Path) -> Path:
    """Where processes that run no notebook keep this engine's machine code, for all homes of this user.

    To compile it takes most of a minute, to load it a second. An engine that lies elsewhere has a folder of its own,
    since each kernel that is started plainly copies all that is there.

    Parameters
    ----------
    otherwise : Path
        Taken where the user has no folder for caches of his own.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return Path(os.environ["NUMBA_CACHE_DIR"])
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        place = hashlib.sha256(str(Path(__file__).resolve().parent).encode()).hexdigest()[:16]
        shared = caches / "runbooks" / "numba" / place
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = shared.stat()
    except (OSError, RuntimeError):
        return otherwise
    own = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return shared if own and os.access(shared, os.W_OK) else otherwise


def private(kept: Path | None, folder: Path, *, code: bool = True) -> dict[str, str]:
    """The variables of a kernel's own caches, in a new folder below `folder`, with copies of what is kept.

    Parameters
    ----------
    kept : Path or None
        Where the next kernel finds the list of fonts; `MPLCONFIGDIR` of this process goes first.
    folder : Path
    code : bool
        Whether the machine code is copied too; a fork of a process that has loaded it has no use for files.
    """
    own = Path(tempfile.mkdtemp(prefix="cache-", dir=folder))
    variables = {"NUMBA_CACHE_DIR": own / "numba", "MPLCONFIGDIR": own / "matplotlib"}
    for place in variables.values():
        place.mkdir()
    machine_code = compiled(own / "numba") if code else own / "numba"
    if machine_code.is_dir() and machine_code != own / "numba":
        shutil.copytree(machine_code, own / "numba", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.tmp.*"))
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


def main() -> None:
    """Compile the engine for this user's processes to come: `python -m opslib.runs.caches`."""
    nowhere = Path(tempfile.gettempdir()) / "nowhere"
    code = compiled(nowhere)
    if code == nowhere or importlib.util.find_spec("engine") is None:
        return
    os.environ["NUMBA_CACHE_DIR"] = str(code)
    importlib.import_module("engine").warm()


if __name__ == "__main__":
    main()
