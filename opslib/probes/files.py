"""Files below a platform's folder: read within a size, and never outside that folder.

A path is relative. Links are followed as long as they stay inside; the file is then opened part by part without
following any link, so that nobody can lead a reader out between the check and the opening.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from opslib.errors import ProbeError
from opslib.probes.registry import LARGEST, ROWS, Frame, Target, probe

_LISTED = 2000
_DEEP = 8


def root(target: Target) -> Path:
    """The platform's folder, where it really lies.

    Raises
    ------
    ProbeError
        When the address names no folder that is there.
    """
    parts = urlsplit(target.url)
    folder = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not folder.is_absolute():
        raise target.error("the address of the folder must be file:///path/to/it")
    try:
        return folder.resolve(strict=True)
    except OSError as error:
        raise target.error(_why(error)) from error


def inside(target: Target, path: str) -> tuple[Path, PurePosixPath]:
    """The folder, and a path below it as it really lies there.

    Raises
    ------
    ProbeError
        When the path is absolute, leads out of the folder, or is not there.
    """
    folder, wanted = root(target), PurePosixPath(path)
    if not path or "\0" in path or wanted.is_absolute() or ".." in wanted.parts:
        raise target.error(f"{path!r} is no path below the folder")
    try:
        real = (folder / wanted).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise target.error(f"{path}: {_why(error)}") from error
    if not real.is_relative_to(folder):
        raise target.error(f"{path} leads out of the folder; not followed")
    return folder, PurePosixPath(real.relative_to(folder))


@contextmanager
def opened(target: Target, path: str) -> Iterator[tuple[IO[bytes], os.stat_result]]:
    """An ordinary file below the folder, opened for reading, and its facts.

    Raises
    ------
    ProbeError
        When it cannot be read or is no ordinary file.
    """
    folder, real = inside(target, path)
    try:
        descriptor = _open(folder, real)
    except OSError as error:
        raise target.error(f"{path}: {_why(error)}") from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise target.error(f"{path} is no ordinary file")
    with os.fdopen(descriptor, "rb") as file:
        yield file, facts


def _open(folder: Path, real: PurePosixPath) -> int:
    """A descriptor of the file, no part of whose path is a link."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in real.parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        return os.open(real.name or ".", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, PermissionError):
        return "our read-only identity may not read it"
    return (getattr(error, "strerror", None) or str(error)).lower()


def whole(target: Target, path: str) -> bytes:
    """The bytes of a file.

    Raises
    ------
    ProbeError
        When it cannot be read or is larger than the cap.
    """
    with opened(target, path) as (file, facts):
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise target.error(f"{path} holds {max(facts.st_size, len(data)):,} bytes; at most {LARGEST:,} are read")
    return data


@probe("files.text")
def text(target: Target, path: str) -> str:
    """The text of a file; bytes that are no UTF-8 are replaced."""
    return whole(target, path).decode("utf-8", "replace")


@probe("files.json")
def json_(target: Target, path: str) -> Any:
    """The JSON in a file."""
    data = whole(target, path)
    try:
        return json.loads(data)
    except ValueError as error:
        raise target.error(f"{path} is no JSON ({error})") from error


@probe("files.tail")
def tail(target: Target, path: str, lines: int = 100) -> str:
    """The last lines of a file, however long it is, within the cap."""
    if not 0 < lines <= ROWS:
        raise target.error(f"ask for 1 to {ROWS:,} lines")
    return b"".join(_last(target, path, lines)).decode("utf-8", "replace")


def _last(target: Target, path: str, lines: int) -> list[bytes]:
    """The last lines of a file, read from its end."""
    with opened(target, path) as (file, facts):
        start = size = facts.st_size
        data = b""
        while start > 0 and data.count(b"\n") <= lines and size - start < LARGEST:
            step = min(65536, start)
            start -= step
            file.seek(start)
            data = file.read(step) + data
    found = data.splitlines(keepends=True)
    return found[1:][-lines:] if start > 0 and len(found) <= lines else found[-lines:]


@probe("files.lines")
def lines(target: Target, path: str, last: int = 1000) -> Frame:
    """The last lines of a file of JSON lines: one column a field, in the order met; a nested value stays JSON text."""
    if not 0 < last <= ROWS:
        raise target.error(f"ask for 1 to {ROWS:,} lines")
    rows, bad = [], 0
    for line in _last(target, path, last):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad += bool(line.strip())
    if bad and not rows:
        raise target.error(f"{path} holds no JSON lines")
    return Frame(_table(rows), note=f"{bad} lines of {path} are no JSON objects" if bad else None)


def _table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        there = [value for value in values if value is not None]
        if there and all(isinstance(value, bool) for value in there):
            columns[name] = pa.array(values, pa.bool_())
        elif there and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
            columns[name] = pa.array([None if value is None else float(value) for value in values], pa.float64())
        else:
            told = [value if isinstance(value, str) or value is None else json.dumps(value) for value in values]
            columns[name] = pa.array(told, pa.string())
    return pa.table(columns)


@probe("files.stat")
def stat_(target: Target, path: str) -> dict[str, Any]:
    """Whether a file is there (`exists`), its `size` [bytes], `changed_at` (UTC), `age_s` [s], `kind`."""
    try:
        folder, real = inside(target, path)
        facts = os.lstat(folder / real)
    except ProbeError as error:
        if "is not there" not in str(error):
            raise
        return {"exists": False, "size": None, "changed_at": None, "age_s": None, "kind": None}
    except OSError as error:
        raise target.error(f"{path}: {_why(error)}") from error
    return {"exists": True, **_facts(facts)}


def _facts(facts: os.stat_result) -> dict[str, Any]:
    kind = "folder" if stat.S_ISDIR(facts.st_mode) else "file" if stat.S_ISREG(facts.st_mode) else "other"
    changed = dt.datetime.fromtimestamp(facts.st_mtime, dt.UTC)
    return {
        "size": facts.st_size,
        "changed_at": changed,
        "age_s": round(time.time() - facts.st_mtime, 3),
        "kind": kind,
    }


@probe("files.list")
def list_(target: Target, folder: str = ".", pattern: str = "*", deep: bool = False) -> Frame:
    """Files and folders by name, newest first: `path`, `kind`, `size` [bytes], `changed_at` (UTC), `age_s` [s].

    At most 2,000 are listed, and, where `deep`, no deeper than eight folders; links are not followed.
    """
    import pyarrow as pa

    top, real = inside(target, folder)
    found: list[dict[str, Any]] = []
    more = False
    try:
        for path in _walk(top, top / real, _DEEP if deep else 1):
            if fnmatch(path.name, pattern):
                if len(found) == _LISTED:
                    more = True
                    break
                found.append({"path": str(path.relative_to(top)), **_facts(path.lstat())})
    except OSError as error:
        raise target.error(f"{folder}: {_why(error)}") from error
    found.sort(key=lambda row: row["age_s"])
    kinds = {"path": pa.string(), "kind": pa.string(), "size": pa.int64(), "changed_at": pa.timestamp("us", tz="UTC")}
    kinds["age_s"] = pa.float64()
    table = pa.table({name: pa.array([row[name] for row in found], kind) for name, kind in kinds.items()})
    return Frame(table, "path", f"the first {_LISTED:,} of {folder}; there are more" if more else None)


def _walk(top: Path, folder: Path, deep: int) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            yield Path(entry.path)
            if deep > 1 and entry.is_dir(follow_symlinks=False):
                yield from _walk(top, Path(entry.path), deep - 1)
