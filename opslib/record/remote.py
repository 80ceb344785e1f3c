"""The archive that all hosts share (`RUNBOOK_ARCHIVE`, through fsspec): what one of them wrote, any other shows.

Each host works in its own home. A file goes to the archive when it is finished, and comes from there when it is asked
for; the signer takes only bytes of the digest that the journal names. `file:///folder` is a shared file system,
`s3://bucket/prefix` an object store, where `RUNBOOK_ARCHIVE_LOCK_DAYS` puts every object under a compliance lock: in a
bucket with object lock nobody, the owner included, removes or replaces that version before the time is over.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from opslib.canonical import digest, file_digest
from opslib.errors import RecordError
from opslib.record import archive
from opslib.settings import Settings

LARGEST = archive.LARGEST
"""The largest file that is taken from the archive [bytes]."""
_S3 = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 3}}
_STATE = "archived"
_AGAIN_S = 30.0
_shown: dict[Path, tuple[int, int, int]] = {}
_log = structlog.get_logger(__name__)
_OWN = ("", archive.LOG)  # the places of a home that are no incident's


class Remote:
    """The archive.

    Parameters
    ----------
    settings : Settings
        With `archive`.

    Raises
    ------
    RecordError
        When the address cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        import fsspec

        address = settings.archive or ""
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        self._s3 = address.startswith("s3://")
        if self._s3:
            options |= {"config_kwargs": _S3}
        else:
            options |= {"auto_mkdir": True}
        self._settings = settings
        try:
            self._files, self._root = fsspec.core.url_to_fs(address, **options)
        except (ImportError, ValueError, OSError) as error:
            raise RecordError(f"RUNBOOK_ARCHIVE {address!r} cannot be used: {error}") from error

    def marks(self, folder: str) -> dict[str, str]:
        """What lies in a folder of the archive: a mark by name, which changes with the file."""
        place = f"{self._root}/{folder}".rstrip("/")
        with self._speaking():
            try:
                found = self._files.find(place, detail=True, maxdepth=None if folder else 1)
            except FileNotFoundError:
                return {}
        names = {path.removeprefix(place).lstrip("/"): facts for path, facts in found.items()}
        return {
            name: str(facts.get("ETag") or f"{facts['size']}-{facts.get('mtime')}")
            for name, facts in names.items()
            if not archive.PART.fullmatch(Path(name).name) and _stays_inside(name)
        }

    def read(self, folder: str, name: str) -> bytes:
        """A file of the archive."""
        place = self._place(folder, name)
        with self._speaking():
            size = int(self._files.info(place)["size"])
            if size > LARGEST:
                raise RecordError(f"{name} has {size:,} bytes in the archive; {LARGEST:,} are the most")
            return bytes(self._files.cat_file(place))

    def write(self, folder: str, name: str, data: bytes) -> None:
        """Put a file into the archive, whole or not at all."""
        place = self._place(folder, name)
        if not self._s3:
            path = Path(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            archive.write_atomic(path, data)
            return
        lock: dict[str, Any] = {}
        if self._settings.archive_lock_days:
            until = dt.datetime.now(dt.UTC) + dt.timedelta(days=self._settings.archive_lock_days)
            lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
        with self._speaking():
            self._files.pipe_file(place, data, **lock)

    def _place(self, folder: str, name: str) -> str:
        return "/".join(part for part in (self._root, folder, name) if part)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Every failure of the archive, and of what lies below it, is a `RecordError`."""
        try:
            yield
        except (RecordError, FileNotFoundError):
            raise
        except Exception as error:  # botocore, aiohttp and asyncio have no base of their own
            raise RecordError(f"the archive {self._settings.archive} does not answer as it should: {error}") from error


def push(settings: Settings, folder: str) -> list[str]:
    """Bring what is new or has changed in a folder of this home into the archive; nothing where none is set.

    Parameters
    ----------
    settings : Settings
    folder : str
        `YYYY-MM-DD/INC-YYYY-NNNNNN`, `log`, or nothing for the files of the home itself.

    Returns
    -------
    list of str
        The names of the files that went there.

    Raises
    ------
    RecordError
        When the archive does not answer.
    """
    if settings.archive is None:
        return []
    remote = Remote(settings)
    with _synced(settings, folder) as known:
        gone = []
        for name in _names(settings, folder):
            data = (settings.home / folder / name).read_bytes()
            if known.get(name, {}).get("sha256") != digest(data):
                remote.write(folder, name, data)
                known[name] = {"sha256": digest(data)}
                gone.append(name)
        if gone:
            marks = remote.marks(folder)
            for name in gone:
                known[name]["mark"] = marks.get(name)
        return gone


def try_to_push(settings: Settings, folder: str) -> None:
    """The same; an archive that is away is told in the log, and gets the files from the reaper of this host later."""
    try:
        push(settings, folder)
    except RecordError as error:
        _log.error("the record is not in the archive yet", folder=folder, why=str(error))


def fetch_shown(settings: Settings, incident: Mapping[str, Any]) -> None:
    """Have here what there is to show of an incident: looked for when it has changed, and twice a minute.

    Parameters
    ----------
    settings : Settings
    incident : mapping
        A row of `incidents`.
    """
    if settings.archive is None:
        return
    place = settings.home / incident["folder"]
    now = (incident["journal_seq"], incident["sealed_seq"], int(time.monotonic() / _AGAIN_S))
    if _shown.get(place) == now:
        return
    try:
        fetch(settings, incident["folder"])
    except RecordError as error:
        _log.warning("the archive is away; shown is what lies here", why=str(error))
    else:
        _shown[place] = now


def fetch(settings: Settings, folder: str) -> list[str]:
    """Take what the archive has of a folder and this home has not, or only in an older version from there.

    Raises
    ------
    RecordError
        When the archive does not answer.
    """
    if settings.archive is None:
        return []
    remote = Remote(settings)
    with _synced(settings, folder) as known:
        came = []
        for name, mark in remote.marks(folder).items():
            path = settings.home / folder / name
            last = known.get(name, {})
            if path.exists() and (last.get("mark") == mark or last.get("sha256") != file_digest(path)):
                continue  # it is the same, or this host's own and newer
            data = remote.read(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            archive.write_atomic(path, data)
            known[name] = {"sha256": digest(data), "mark": mark}
            came.append(name)
        return came


def fetch_named(settings: Settings, folder: str, expected: Mapping[str, str]) -> list[str]:
    """Take the files of these digests, where this home has not got them; what is not to be had is returned.

    Raises
    ------
    RecordError
        When the archive does not answer.
    """
    if settings.archive is None:
        return []
    remote, missing = Remote(settings), []
    with _synced(settings, folder) as known:
        for name, sha256 in expected.items():
            path = settings.home / folder / name
            if path.is_file() and (
                file_digest(path) == sha256 or known.get(name, {}).get("sha256") != file_digest(path)
            ):
                continue
            try:
                data = remote.read(folder, name)
            except FileNotFoundError:
                missing.append(name)
                continue
            if digest(data) == sha256:
                path.parent.mkdir(parents=True, exist_ok=True)
                archive.write_atomic(path, data)
                known[name] = {"sha256": sha256, "mark": None}
            else:
                missing.append(name)
    return missing


def copy(settings: Settings, target: Path) -> None:
    """The whole archive as a home at `target`, to be verified there.

    Raises
    ------
    RecordError
        When none is set, or it does not answer.
    """
    if settings.archive is None:
        raise RecordError("no archive is set; RUNBOOK_ARCHIVE names one, file:///folder or s3://bucket/prefix")
    remote = Remote(settings)
    for name in _everything(remote):
        if not _stays_inside(name):
            raise RecordError(
                f"the archive {settings.archive} holds {name!r}, which leads out of it: somebody put it there"
            )
        path = target / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(remote.read("", name))
        except OSError as error:
            raise RecordError(
                f"{name!r} of the archive {settings.archive} is no file of a home: {error.strerror}"
            ) from error


def _stays_inside(name: str) -> bool:
    """Whether a name from an object store, where any text is one, is that of a file below the folder it is asked of."""
    return all(part not in ("", ".", "..") and "\x00" not in part for part in name.split("/"))


def _everything(remote: Remote) -> list[str]:
    with remote._speaking():
        root = remote._root
        return [path.removeprefix(root).lstrip("/") for path in remote._files.find(root)]


def _names(settings: Settings, folder: str) -> list[str]:
    place = settings.home / folder
    if not place.is_dir():
        return []
    if folder in _OWN:
        return sorted(path.name for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
    return [name for name in archive.files(place) if not archive.PART.fullmatch(Path(name).name)]


@contextmanager
def _synced(settings: Settings, folder: str) -> Iterator[dict[str, dict[str, Any]]]:
    """What this home and the archive last had in common of a folder; held by one process at a time."""
    settings.make_home()
    place = settings.state / _STATE
    place.mkdir(mode=0o700, exist_ok=True)
    file = place / f"{folder.replace('/', '_') or 'home'}.json"
    lock = file.with_suffix(".lock")
    lock.touch(mode=0o600)
    with archive.locked(lock, wait_s=60.0):
        known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        before = json.dumps(known)
        try:
            yield known
        finally:
            if json.dumps(known) != before:
                archive.write_atomic(file, json.dumps(known).encode(), mode=0o600)
