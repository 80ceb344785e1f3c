"""Where records lie under RUNBOOK_HOME, and how a file gets there: whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opslib.errors import RecordError
from opslib.settings import Settings

JOURNAL = "journal.jsonl"
EVIDENCE = "evidence"
LOG = "log"
LARGEST = 2 * 2**30
"""The largest file that a record may have [bytes]."""
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
INCIDENT = re.compile(r"INC-\d{4}-\d{6,}", re.ASCII)
SEAL = re.compile(r"seal-\d{4,}\.json", re.ASCII)
PART = re.compile(r"\.(.+)\.[0-9a-f]{12}\.part")


def folder(settings: Settings, incident: Mapping[str, Any]) -> Path:
    """The folder of an incident, made when it is not there.

    Parameters
    ----------
    settings : Settings
    incident : mapping
        A row of `incidents`; its `folder` is `YYYY-MM-DD/INC-YYYY-NNNNNN`.

    Raises
    ------
    RecordError
        When the row names another kind of folder, or the folder cannot be made.
    """
    date, _, name = str(incident["folder"]).partition("/")
    if not (DATE.fullmatch(date) and INCIDENT.fullmatch(name)):
        raise RecordError(f"{incident['folder']!r} is no place for a record")
    path = settings.home / date / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{path} cannot be made: {error.strerror}", path=path) from error
    return path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> Path:
    """Write a file so that a reader, or a crash, finds the old bytes or the new ones, never a part.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    data : bytes
    mode : int
        Permissions, less the process's umask.

    Raises
    ------
    RecordError
        When the disk is full or refuses; the file that was there is untouched.
    """
    try:
        put(path, data, mode=mode)
        sync_folder(path.parent)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}", path=path) from error
    return path


def put(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """As `write_atomic`, but that its new name may be lost with the power, and for who has own words for a failure.

    Raises
    ------
    OSError
        When the disk is full or refuses; the file that was there is untouched, and nothing is left beside it.
    """
    temporary, descriptor = _new_part(path, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _new_part(path: Path, mode: int) -> tuple[Path, int]:
    """A new file beside another, locked for as long as it is open, so that one which nobody writes is known by that."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return temporary, descriptor
        except BlockingIOError:  # taken for what a killed process left; `verify` only looks at it
            temporary.unlink(missing_ok=True)
        except OSError:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        os.close(descriptor)


def append(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file and wait until they are on the disk.

    Raises
    ------
    RecordError
        When the disk is full or refuses.
    """
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}", path=path) from error


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, shared: bool = False, wait_s: float = 30.0) -> Iterator[None]:
    """Hold the lock of a file or folder within the block.

    Parameters
    ----------
    path : Path
        It exists; it need not be writable.
    shared : bool
        Together with other readers.
    wait_s : float
        How long to wait for it [s].

    Raises
    ------
    RecordError
        When another process keeps it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RecordError(f"{path} is locked by another process; try again", path=path) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def opened(path: Path) -> io.BufferedReader:
    """A plain file, to be read by who trusts nothing that lies there: neither followed, nor waited for, nor endless.

    Raises
    ------
    OSError
        When it is a link, a pipe, a device, or larger than any file of a record; or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    facts = os.fstat(descriptor)
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= LARGEST:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EFBIG, f"it has {facts.st_size:,} bytes; {LARGEST:,} are the most")
    raise OSError(errno.EINVAL, "it is no plain file")


def opened_digest(path: Path) -> str:
    """SHA-256 of a plain file, in hexadecimal; as `opened`.

    Raises
    ------
    OSError
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files(folder: Path) -> list[str]:
    """The names of all plain files in a record's folder, relative to it and sorted.

    Links and other things that are no record are left out; `verify` names them.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def newest_dates(home: Path, count: int) -> list[str]:
    """The names of the newest folders of a day that a home has."""
    return sorted(path.name for path in home.iterdir() if DATE.fullmatch(path.name) and path.is_dir())[-count:]


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left in a folder and below, never what is being written now.

    Raises
    ------
    RecordError
        When a file cannot be removed.
    """
    for path in (folder / name for name in files(folder)):
        if PART.fullmatch(path.name):
            try:
                descriptor = _lock_part(path)
            except (FileNotFoundError, BlockingIOError):
                continue
            except OSError as error:
                raise RecordError(f"{path} cannot be removed: {error.strerror}", path=path) from error
            path.unlink(missing_ok=True)
            os.close(descriptor)


def part_of(name: str) -> str:
    """The name below a record of the file that a part was to become; of any other file its own."""
    folder, _, last = name.rpartition("/")
    part = PART.fullmatch(last)
    return name if part is None else f"{folder}/{part[1]}".lstrip("/")


def being_written(path: Path) -> bool:
    """Whether a file is what a process of this machine writes at this moment."""
    if not PART.fullmatch(path.name):
        return False
    try:
        os.close(_lock_part(path))
    except (FileNotFoundError, BlockingIOError):  # where it is gone, it has become what it was written for
        return True
    except OSError:
        return False
    return False


def _lock_part(path: Path) -> int:
    """Take the lock of a part; its writer, while there is one, has it."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, os.O_RDWR | flags)  # NFS gives this lock only of what is open for writing
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def key(settings: Settings, name: str, size: int = 32) -> bytes:
    """A secret of the state folder, made on first use; the owner's alone.

    Parameters
    ----------
    settings : Settings
    name : str
        File under `HOME/.state/keys`.
    size : int
        Random bytes of a new one; kept as hexadecimal text.
    """
    settings.make_home()
    place = settings.state / "keys"
    place.mkdir(mode=0o700, exist_ok=True)
    path = place / name
    if not path.exists():
        temporary = place / f".{name}.{secrets.token_hex(6)}.part"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(size))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # the first one stays, whoever else tries
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return bytes.fromhex(path.read_text("ascii"))
