"""The log, offline: its key, its leaves, its checkpoint, and an earlier checkpoint from outside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from opslib.canonical import canonical
from opslib.errors import RecordError
from opslib.record import archive, merkle, signing
from opslib.record.log import CHECKPOINT, HOME_FILES, LEAVES, PUBLIC
from opslib.record.verify_incident import Problem, is_executable

__all__ = ["HOME_FILES", "Log", "read"]
_LEAF = {"incident", "folder", "seal", "sha256", "at", "index"}


@dataclass
class Log:
    """The log as read.

    Attributes
    ----------
    key : Ed25519PublicKey or None
        The trusted key; None when it cannot be read.
    leaves : list of dict
        Those that could be read.
    home : dict
        Digests of the home's own files, as signed.
    problems : list of Problem
    """

    key: Ed25519PublicKey | None = None
    leaves: list[dict[str, Any]] = field(default_factory=list)
    home: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, file: str, where: str, reason: str) -> None:
        """Note what is wrong with a file of the log."""
        self.problems.append(Problem(f"{archive.LOG}/{file}", where, reason))


def read(home: Path, *, trust: Path | None, checkpoint: Path | None) -> Log:
    """Read and check the log of a home.

    Raises
    ------
    RecordError
        When `trust` is no public key, or `checkpoint` cannot be read.
    """
    log = Log()
    folder = home / archive.LOG
    outside = _outside(checkpoint)
    if folder.is_symlink():
        log.problems.append(Problem(archive.LOG, "", "added: it is a link"))
    if not folder.is_dir():
        _no_log(home, log, trust, outside)
        return log
    for path in sorted(folder.iterdir()):
        if path.name not in (PUBLIC, LEAVES, CHECKPOINT):
            log.problem(path.name, "", "added: no file of the log")
        elif path.is_symlink() or not path.is_file():
            log.problem(path.name, "", "added: it is no plain file")
        elif is_executable(path):
            log.problem(path.name, "", "altered: it was made executable")
    _read_key(folder, log, trust)
    hashes = _read_leaves(folder, log)
    _read_checkpoint(folder, log, hashes)
    if outside is not None:
        _continue(log, hashes, outside)
    return log


def _outside(checkpoint: Path | None) -> bytes | None:
    if checkpoint is None:
        return None
    try:
        return checkpoint.read_bytes()
    except OSError as error:
        raise RecordError(f"{checkpoint} cannot be read: {error.strerror}") from error


def _no_log(home: Path, log: Log, trust: Path | None, outside: bytes | None) -> None:
    """Without a log nothing can be called intact; and something may speak of there having been one."""
    if trust is not None:
        log.key = _trusted(trust)
    known = outside is not None or trust is not None or (home / ".state" / "keys" / "signing.pem").exists()
    reason = (
        "missing: the log of this home is gone" if known else "missing: there is no log, so nothing was sealed here"
    )
    log.problems.append(Problem(archive.LOG, "", reason))


def _trusted(path: Path) -> Ed25519PublicKey:
    try:
        return signing.read_public(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecordError(f"{path} is no public key to trust: {error}") from error


def _read_key(folder: Path, log: Log, trust: Path | None) -> None:
    own: Ed25519PublicKey | None = None
    try:
        with archive.opened(folder / PUBLIC) as file:
            own = signing.read_public(file.read())
    except FileNotFoundError:
        log.problem(PUBLIC, "", "missing: the public key is gone")
    except OSError as error:
        log.problem(PUBLIC, "", f"altered: it cannot be read ({error.strerror})")
    except ValueError as error:
        log.problem(PUBLIC, "", f"altered: {error}")
    if trust is None:
        log.key = own
        return
    log.key = _trusted(trust)
    if own is not None and signing.key_id(own) != signing.key_id(log.key):
        log.problem(PUBLIC, "", "altered: it is not the trusted key")


def _bytes(folder: Path, name: str, log: Log) -> bytes | None:
    try:
        with archive.opened(folder / name) as file:
            return file.read()
    except FileNotFoundError:
        log.problem(name, "", "missing: it is gone")
    except OSError as error:
        log.problem(name, "", f"altered: it cannot be read ({error.strerror})")
    return None


def _read_leaves(folder: Path, log: Log) -> list[bytes]:
    """The leaf hashes; the leaves that can be read go to `log`."""
    data = _bytes(folder, LEAVES, log) or b""
    hashes: list[bytes] = []
    offset = 0
    seals: set[tuple[str, str]] = set()
    lines = data.split(b"\n")
    if rest := lines.pop():
        log.problem(LEAVES, f"line {len(lines) + 1}, byte {len(data)}", "altered: its last line is cut off")
        lines.append(rest)
    for number, line in enumerate(lines, start=1):
        where = f"line {number}, byte {offset}"
        offset += len(line) + 1
        hashes.append(merkle.leaf_hash(line))
        try:
            leaf = json.loads(line)
            good = canonical(leaf) == line and set(leaf) == _LEAF and leaf["index"] == number - 1
        except (ValueError, TypeError, RecursionError):
            good = False
        if not good or not _is_leaf(leaf):
            log.problem(LEAVES, where, "altered: it is no leaf as the signer writes it")
            continue
        if (leaf["folder"], leaf["seal"]) in seals:
            log.problem(LEAVES, where, "altered: the same seal is logged twice")
        seals.add((leaf["folder"], leaf["seal"]))
        log.leaves.append(leaf)
    return hashes


def _is_leaf(leaf: dict[str, Any]) -> bool:
    """Whether it names a place in the home where a seal of a record lies."""
    if not all(isinstance(leaf[name], str) for name in _LEAF - {"index"}):
        return False
    date, _, incident = leaf["folder"].partition("/")
    named = archive.DATE.fullmatch(date) and archive.INCIDENT.fullmatch(incident)
    return bool(named and archive.SEAL.fullmatch(leaf["seal"]))


def _read_checkpoint(folder: Path, log: Log, hashes: list[bytes]) -> None:
    data = _bytes(folder, CHECKPOINT, log)
    if data is None or log.key is None:
        return
    try:
        facts = signing.open_checkpoint(data, log.key)
    except signing.OtherKey as error:
        log.problem(CHECKPOINT, "key", f"altered: {error}")
        log.problem(PUBLIC, "", "altered, or the checkpoint is: they name different keys")
        return
    except ValueError as error:
        log.problem(CHECKPOINT, "", f"altered: {error}")
        return
    log.home = facts["home"]
    size = facts["size"]
    if len(hashes) < size:
        log.problem(LEAVES, f"line {len(hashes) + 1}", f"cut: it holds {len(hashes)} of the {size} seals signed for")
    elif len(hashes) > size:
        log.problem(LEAVES, f"line {size + 1}", f"added: only {size} seals were signed for")
    elif merkle.root(hashes).hex() != facts["root"]:
        log.problem(LEAVES, _first_wrong(hashes, facts), "altered: its root is not the one signed")
    elif facts["previous"] and merkle.root(hashes[: facts["previous"]["size"]]).hex() != facts["previous"]["root"]:
        log.problem(CHECKPOINT, "previous", "altered: the log does not continue the checkpoint before")


def _first_wrong(hashes: list[bytes], facts: dict[str, Any]) -> str:
    """Where the root shows the change to be, as far as the checkpoint before tells."""
    before = facts["previous"]
    if before and before["size"] < len(hashes) and merkle.root(hashes[: before["size"]]).hex() == before["root"]:
        return f"line {before['size'] + 1} or later"
    return ""


def _continue(log: Log, hashes: list[bytes], outside: bytes) -> None:
    """Whether the log continues a checkpoint from outside."""
    if log.key is None:
        return
    try:
        facts = signing.open_checkpoint(outside.removesuffix(b"\n"), log.key)
    except ValueError as error:
        log.problem(CHECKPOINT, "", f"the checkpoint from outside does not hold: {error}")
        return
    size = facts["size"]
    if size > len(hashes):
        reason = f"cut: a checkpoint from outside knows {size} seals; {len(hashes)} are left"
        log.problem(LEAVES, f"line {len(hashes) + 1}", reason)
    elif merkle.root(hashes[:size]).hex() != facts["root"]:
        log.problem(LEAVES, f"lines 1 to {size}", "altered: they are not those that a checkpoint from outside knows")
