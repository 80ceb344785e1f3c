"""One record, offline: its seals against the log, its journal and files against the last seal."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from opslib.canonical import canonical, digest
from opslib.record import archive, signing

_ENTRY = {"actor", "at", "body", "incident", "kind", "prev", "seq"}


@dataclass(frozen=True)
class Problem:
    """What is wrong: the file (below the home), where in it, and why.

    What is no printable character in them is spelt as an escape: no name drives a terminal or pretends to be a line.
    """

    file: str
    where: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("file", "where", "reason"):
            object.__setattr__(self, name, _printable(getattr(self, name)))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


@dataclass
class Found:
    """What was found in one record.

    Attributes
    ----------
    wrong : list of Problem
        What no honest course of events explains.
    unsealed : list of Problem
        What goes on after the last seal.
    files : list of str
    entries : int
    sealed : int
        How many of the journal's entries the last seal covers.
    closing : bool
        A run has ended whose files the journal does not name yet: they may be written at this moment.
    """

    folder: str
    wrong: list[Problem] = field(default_factory=list)
    unsealed: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    entries: int = 0
    sealed: int = 0
    closing: bool = False

    def bad(self, file: str, reason: str, where: str = "") -> None:
        """Note what is wrong."""
        self.wrong.append(Problem(f"{self.folder}/{file}" if file else self.folder, where, reason))

    def later(self, file: str, reason: str, where: str = "") -> None:
        """Note what is not sealed yet."""
        self.unsealed.append(Problem(f"{self.folder}/{file}" if file else self.folder, where, reason))


def check(path: Path, folder: str, leaves: list[dict[str, Any]], key: Ed25519PublicKey | None) -> Found:
    """Check the record of one incident.

    Parameters
    ----------
    path : Path
        Its folder, which exists.
    folder : str
        `YYYY-MM-DD/INC-...`, as messages name it.
    leaves : list of dict
        Its leaves in the log, in order.
    key : Ed25519PublicKey or None
        The trusted key; without one nothing can be called intact.
    """
    found = Found(folder)
    _walk(path, found)
    seals = _check_seals(path, leaves, key, found)
    last = seals[-1] if seals else None
    entries, tail = _check_journal(path, seals, found)
    found.entries = len(entries)
    found.sealed = len(entries) - len(tail)
    found.closing = bool(_runs(entries, "run-ended") - _runs(entries, "file"))
    _check_evidence(path, entries, found)
    _check_files(path, last, entries, tail, found)
    if not leaves and not found.wrong:
        if entries:
            found.later("", "nothing of it is sealed yet")
        else:
            found.bad("", "added: neither the log nor a journal knows this folder")
    return found


def _walk(path: Path, found: Found) -> None:
    """List the plain files; links, folders and other things that a record does not have are wrong."""

    def closed(error: OSError) -> None:
        shown = Path(error.filename).relative_to(path).as_posix()
        found.bad("" if shown == "." else shown, f"altered: it cannot be read ({error.strerror})")

    for place, folders, names in os.walk(path, onerror=closed):
        below = Path(place).relative_to(path)
        for name in sorted([*folders, *names]):
            here, shown = Path(place, name), (below / name).as_posix()
            if here.is_symlink():
                found.bad(shown, "added: it is a link")
            elif here.is_dir():
                if shown != archive.EVIDENCE:
                    found.bad(shown, "added: a folder that a record does not have")
                elif _is_empty(here):
                    found.bad(shown, "added: an empty folder")
            elif archive.being_written(here):
                found.later(shown, "being written")
            elif not here.is_file():
                found.bad(shown, "added: it is no plain file")
            else:
                found.files.append(shown)
                if is_executable(here):
                    found.bad(shown, "altered: it was made executable")
    found.files.sort()


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:
        return False  # that it cannot be read is told by who walks into it


def is_executable(path: Path) -> bool:
    """Whether anybody may run a file."""
    try:
        return bool(path.stat().st_mode & 0o111)
    except OSError:
        return False  # it was taken away meanwhile, which is told by who reads it


def _read(path: Path, name: str, found: Found) -> bytes | None:
    try:
        with archive.opened(path / name) as file:
            return file.read()
    except OSError as error:
        found.bad(name, f"altered: it cannot be read ({error.strerror})")
        return None


def _digest(path: Path, name: str, found: Found) -> str | None:
    try:
        return archive.opened_digest(path / name)
    except OSError as error:
        found.bad(name, f"altered: it cannot be read ({error.strerror})")
        return None


def _check_seals(
    path: Path, leaves: list[dict[str, Any]], key: Ed25519PublicKey | None, found: Found
) -> list[dict[str, Any]]:
    """Each seal against its leaf and its signature; returns what those that hold state, in order."""
    held: list[dict[str, Any]] = []
    previous: str | None = None
    names = [leaf["seal"] for leaf in leaves]
    for name in (name for name in found.files if archive.SEAL.fullmatch(name) and name not in names):
        found.bad(name, "added: the log does not hold this seal")
    for number, leaf in enumerate(leaves, start=1):
        name = leaf["seal"]
        if name not in found.files:
            found.bad(name, "missing: the log holds this seal and the file is gone")
            previous = leaf["sha256"]
            continue
        data = _read(path, name, found)
        if data is None:
            previous = leaf["sha256"]
            continue
        try:
            predicate = _predicate(data, key)
        except ValueError as error:
            found.bad(name, f"altered: {error}")
        else:
            if digest(data) != leaf["sha256"]:
                found.bad(name, "altered: it is not the seal that the log holds")
            facts = (predicate["incident"], predicate["folder"], predicate["number"], predicate["previous"])
            if facts != (leaf["incident"], leaf["folder"], number, previous):
                found.bad(name, "altered: it is a seal of another place in the record")
            else:
                held.append(predicate)
        previous = leaf["sha256"]
    return held


def _predicate(data: bytes, key: Ed25519PublicKey | None) -> dict[str, Any]:
    """What a seal states, with the files it lists under `files`."""
    if key is None:
        raise ValueError("there is no key to check its signature with")
    document = signing.open_envelope(data, key)
    try:
        if document["_type"] != signing.STATEMENT or document["predicateType"] != signing.PREDICATE:
            raise ValueError("it is no statement of ours")
        files = {item["name"]: item["digest"]["sha256"] for item in document["subject"]}
        told = {**document["predicate"], "files": files}
        journal, _ = told["journal"], [told[name] for name in ("incident", "folder", "number", "previous")]
        words = [*files, *files.values(), journal["sha256"], journal["head"]]
        numbers = [journal["seq"], journal["bytes"]]
    except (KeyError, TypeError) as error:
        raise ValueError("it is no statement of ours") from error
    if not all(isinstance(word, str) for word in words) or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ValueError("it is no statement of ours")
    return told


def _check_journal(
    path: Path, seals: list[dict[str, Any]], found: Found
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The chain of the journal and what each seal has of it; returns all entries and those after the last seal."""
    name = archive.JOURNAL
    if name not in found.files:
        if seals:
            found.bad(name, "missing: it is sealed and the file is gone")
        return [], []
    data = _read(path, name, found)
    if data is None:
        return [], []
    entries = _chain(data, found)
    if not seals:
        return entries, entries
    sealed = seals[-1]["journal"]
    if len(data) < sealed["bytes"]:
        lines = data.count(b"\n")
        where = f"line {lines + 1}, byte {len(data)}"
        found.bad(name, f"cut: {lines} of {sealed['seq']} sealed lines are left", where)
    elif any(problem.file == f"{found.folder}/{name}" for problem in found.wrong):
        pass
    elif (other := _first_other(data, seals)) is not None:
        where = "" if _head(data, other["journal"]) else f"line {other['journal']['seq']}"
        found.bad(name, f"altered: its lines are not those that seal {other['number']} states", where)
    elif len(data) > sealed["bytes"]:
        found.later(name, "not sealed yet", f"line {sealed['seq'] + 1}, byte {sealed['bytes']}")
    return entries, entries[sealed["seq"] :]


def _first_other(data: bytes, seals: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first seal that another journal was sealed by: each one states how the same journal begins."""
    begun, size = hashlib.sha256(), 0
    for seal in seals:
        sealed = seal["journal"]
        begun.update(data[size : sealed["bytes"]])
        if sealed["bytes"] < size or begun.hexdigest() != sealed["sha256"]:
            return seal
        size = sealed["bytes"]
    return None


def _head(data: bytes, sealed: dict[str, Any]) -> bool:
    """Whether the last sealed line is the one sealed."""
    lines = data.split(b"\n")
    return len(lines) >= sealed["seq"] and bool(digest(lines[sealed["seq"] - 1]) == sealed["head"])


def _chain(data: bytes, found: Found) -> list[dict[str, Any]]:
    """The entries up to the first line that does not fit the one before."""
    entries: list[dict[str, Any]] = []
    name, offset, head = archive.JOURNAL, 0, ""
    incident = found.folder.rpartition("/")[2]
    lines = data.split(b"\n")
    if lines.pop():
        found.bad(name, "altered: its last line is cut off", f"line {len(lines) + 1}, byte {len(data)}")
    for number, line in enumerate(lines, start=1):
        where = f"line {number}, byte {offset}"
        try:
            entry = json.loads(line)
            good = canonical(entry) == line and set(entry) == _ENTRY and isinstance(entry["body"], dict)
            good = good and isinstance(entry["body"].get("run"), int | str | None)
            good = good and all(isinstance(entry[field], str) for field in ("actor", "at", "kind"))
        except (ValueError, TypeError, RecursionError):
            good = False
        if not good:
            found.bad(name, "altered: it is no journal line as it is written", where)
            break
        if entry["incident"] != incident:
            found.bad(name, f"altered: it is of {entry['incident']}", where)
            break
        if entry["seq"] != number:
            found.bad(name, f"altered: it is number {entry['seq']}", where)
            break
        if entry["prev"] != head:
            found.bad(name, f"altered: line {number} does not follow line {number - 1}", where)
            break
        head = digest(line)
        offset += len(line) + 1
        entries.append(entry)
    return entries


def _check_evidence(path: Path, entries: list[dict[str, Any]], found: Found) -> None:
    """Each piece of evidence against the digest in the journal."""
    for entry in entries:
        if entry["kind"] != "evidence":
            continue
        name, expected = str(entry["body"].get("file")), entry["body"].get("sha256")
        where = f"journal line {entry['seq']}"
        if name not in found.files:
            found.bad(name, "missing: the journal names this evidence and the file is gone", where)
        elif (own := _digest(path, name, found)) is not None and own != expected:
            found.bad(name, "altered: it is not the evidence that the journal names", where)


def _check_files(
    path: Path,
    last: dict[str, Any] | None,
    entries: list[dict[str, Any]],
    tail: list[dict[str, Any]],
    found: Found,
) -> None:
    """Each file against the last seal; what came after it must be explained by the journal."""
    sealed: dict[str, str] = dict(last["files"]) if last is not None else {}
    sealed.pop(archive.JOURNAL, None)
    known = {problem.file for problem in found.wrong}
    written, final = _written(tail), _written(entries[: len(entries) - len(tail)])
    for name, expected in sealed.items():
        if f"{found.folder}/{name}" in known:
            continue
        if name not in found.files:
            found.bad(name, "missing: it is sealed and the file is gone")
        elif (own := _digest(path, name, found)) is not None and own != expected:
            if written.get(name) != own:
                found.bad(name, "altered: it is not as it was sealed")
            elif name in final:
                found.bad(name, "altered: it is not as it was sealed, whatever a line after the seal says")
            else:
                found.later(name, "written again by its run, which had not told of it before the seal; not sealed yet")
    names, beginnings = _explained(entries, tail)
    others = [name for name in found.files if name not in sealed and name != archive.JOURNAL]
    for name in (name for name in others if not archive.SEAL.fullmatch(name)):
        begun, whole = last is None and bool(entries), archive.part_of(name)
        if begun or whole in names or whole in written or whole.startswith(beginnings):
            found.later(name, "not sealed yet" if name == whole else "left half written by a killed process")
        else:
            found.bad(name, "added: no seal lists it")


def _written(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The digest of each file that its run has told of, which it does when that is final, and never after a seal."""
    return {str(entry["body"].get("path")): entry["body"].get("sha256") for entry in entries if entry["kind"] == "file"}


def _runs(entries: list[dict[str, Any]], kind: str) -> set[Any]:
    return {entry["body"].get("run") for entry in entries if entry["kind"] == kind}


def _explained(entries: list[dict[str, Any]], tail: list[dict[str, Any]]) -> tuple[set[str], tuple[str, ...]]:
    """The names, and how names begin, of files that runs have written since the last seal, or are writing."""
    numbers = {entry["body"].get("run"): entry["body"].get("number") for entry in entries if "number" in entry["body"]}
    active = {entry["body"].get("run") for entry in tail if entry["kind"].startswith(("run-", "cell-", "apply-"))}
    going: set[Any] = set()
    for entry in entries:
        if entry["kind"] in ("run-started", "apply-started"):
            going.add(entry["body"].get("run"))
        elif entry["kind"] in ("run-ended", "apply-ended"):
            going.discard(entry["body"].get("run"))
    names = {str(entry["body"].get("file")) for entry in tail if entry["kind"] == "evidence"}
    beginnings = [f"{numbers[run]:02d}-" for run in active | going if isinstance(numbers.get(run), int)]
    if going:
        beginnings.append(f"{archive.EVIDENCE}/")
    return names, tuple(beginnings)
