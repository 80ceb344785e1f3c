"""The log of all seals under `HOME/log`: one leaf a seal, a Merkle root, a signed checkpoint.

    signer.pub        the public key
    leaves.jsonl      one canonical JSON document a seal: incident, folder, seal, sha256, at, index
    checkpoint.json   size and root of the log, those before, digests of the home's own files; signed

The truth is PostgreSQL (`log_leaves`); the files are brought up to date from it, also after a crash.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opslib import store
from opslib.canonical import canonical, file_digest
from opslib.errors import RecordError
from opslib.record import archive, merkle, signing
from opslib.settings import Settings
from opslib.sql import queries

LEAVES = "leaves.jsonl"
CHECKPOINT = "checkpoint.json"
PUBLIC = "signer.pub"
HOME_FILES = ("README.md", ".gitignore")
_log = structlog.get_logger("opslib.signer")


def place(settings: Settings) -> Path:
    """`HOME/log`, made when it is not there."""
    path = settings.home / archive.LOG
    path.mkdir(parents=True, exist_ok=True)
    return path


def add_leaf(
    connection: store.Connection, *, incident: str, folder: str, seal: str, sha256: str, at: dt.datetime
) -> None:
    """One more leaf, in the caller's transaction, which holds the log's lock."""
    row = connection.execute(queries("log").size).fetchone()
    index = int(row["leaves"]) if row else 0
    line = canonical({"incident": incident, "folder": folder, "seal": seal, "sha256": sha256, "at": at, "index": index})
    connection.execute(
        queries("log").add_leaf,
        {"index": index, "incident": incident, "line": line.decode(), "leaf_hash": merkle.leaf_hash(line).hex()},
    )


def is_gone(settings: Settings) -> bool:
    """Whether the public key is gone, before `signing_key` writes it again."""
    return not (place(settings) / PUBLIC).exists()


def tell_altered(
    settings: Settings, connection: store.Connection, key: Ed25519PrivateKey, incident: str | None, gone: bool
) -> None:
    """Journal (`record-restored`) what somebody did to the files of the log, before `write` makes them whole again.

    Parameters
    ----------
    settings : Settings
    connection : Connection
        Its transaction holds the log's lock.
    key : Ed25519PrivateKey
    incident : str or None
        In whose journal; that of the newest leaf where it is None.
    gone : bool
        Whether the public key was gone.

    Raises
    ------
    RecordError
        When the files are another database's.
    """
    from opslib.record import journal

    rows = connection.execute(queries("log").leaves).fetchall()
    bodies = [*_altered(settings, rows, key)]
    if gone and rows:
        bodies.append({"file": f"{archive.LOG}/{PUBLIC}", "found": None, "line": 1, "why": "missing"})
    if not rows:
        return
    for body in bodies:
        _log.warning("a file of the log was not as it was written; written again", **body)
        where = incident or str(json.loads(rows[-1]["line"])["incident"])
        journal.append(connection, where, "record-restored", body, actor="signer", settings=settings)


def _altered(settings: Settings, rows: list[dict[str, Any]], key: Ed25519PrivateKey) -> Iterator[dict[str, Any]]:
    """What was done to leaves and checkpoint, as far as no crash explains it: that lacks the newest leaf at most."""
    from opslib.record import held

    folder = place(settings)
    whole = "".join(f"{row['line']}\n" for row in rows).encode()
    signed = _signed(folder / CHECKPOINT, key)
    size = int(signed["size"]) if signed is not None else 0
    path = folder / LEAVES
    there = path.read_bytes() if path.is_file() else None
    if there is None:
        if size:
            yield {"file": f"{archive.LOG}/{LEAVES}", "found": None, "line": 1, "why": "missing"}
    elif not whole.startswith(there) or there.count(b"\n") < size:
        if size > len(rows):
            raise RecordError(f"{path} holds more seals than the database: this home belongs to another database")
        why = "cut" if whole.startswith(there) else "added" if there.startswith(whole) else "altered"
        line = held.first_difference(there, whole)
        yield {"file": f"{archive.LOG}/{LEAVES}", "found": held.keep_altered(settings, there), "line": line, "why": why}
    if size < len(rows) - 1:
        path = folder / CHECKPOINT
        found = held.keep_altered(settings, path.read_bytes()) if path.is_file() else None
        why = "missing" if found is None else "altered" if signed is None else "an older one"
        yield {"file": f"{archive.LOG}/{CHECKPOINT}", "found": found, "line": 1, "why": why}


def _signed(path: Path, key: Ed25519PrivateKey) -> dict[str, Any] | None:
    """What the checkpoint states, if it is there and ours."""
    try:
        return signing.open_checkpoint(path.read_bytes(), key.public_key())
    except (FileNotFoundError, ValueError):
        return None


def write(settings: Settings, connection: store.Connection, key: Ed25519PrivateKey) -> None:
    """Bring the files of the log up to date with the database.

    Raises
    ------
    RecordError
        When the files cannot be written.
    """
    folder = place(settings)
    rows = connection.execute(queries("log").leaves).fetchall()
    whole = "".join(f"{row['line']}\n" for row in rows).encode()
    path = folder / LEAVES
    there = path.read_bytes() if path.is_file() else b""
    if not whole.startswith(there):
        archive.write_atomic(path, whole)
    elif len(there) < len(whole):
        archive.append(path, whole[len(there) :])
    facts = {
        "size": len(rows),
        "root": merkle.root(bytes.fromhex(row["leaf_hash"]) for row in rows).hex(),
        "home": {name: file_digest(settings.home / name) for name in HOME_FILES if (settings.home / name).is_file()},
    }
    _checkpoint(folder / CHECKPOINT, facts, key)


def _checkpoint(path: Path, facts: dict[str, Any], key: Ed25519PrivateKey) -> None:
    """Sign a checkpoint unless the last one says the same already."""
    last = _signed(path, key)
    if last is not None and {name: last[name] for name in facts} == facts:
        return
    previous = {"size": last["size"], "root": last["root"]} if last else None
    if last and last["size"] == facts["size"]:
        previous = last["previous"]
    at = dt.datetime.now(dt.UTC)
    archive.write_atomic(path, signing.sign_checkpoint({**facts, "at": at, "previous": previous}, key))


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The private key, made on first use; its public half is written into the log.

    Raises
    ------
    RecordError
        When the key is gone, or is not the one that signed this home's log.
    """
    settings.make_home()
    keys = settings.state / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    private, public = keys / "signing.pem", place(settings) / PUBLIC
    with archive.locked(keys):
        if not private.exists():
            if public.exists():
                raise RecordError(
                    f"{private} is gone: restore it from its backup; a new key would not continue the log of this home"
                )
            _create(private)
    try:
        key = signing.read_private(private)
    except ValueError as error:
        raise RecordError(f"{private} cannot be read: {error}") from error
    pem = signing.public_pem(key.public_key())
    if not public.exists():
        archive.write_atomic(public, pem)
    elif public.read_bytes() != pem:
        raise RecordError(f"{public} is not the public half of {private}; restore the one that was changed")
    return key


def _create(path: Path) -> None:
    temporary = path.with_name(".signing.pem.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(signing.private_pem(Ed25519PrivateKey.generate()))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
