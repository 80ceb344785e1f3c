"""The offline verifier on what is moved, swapped, linked, renamed or emptied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from opslib.record.verify import verify
from tests.record.verifying.sealed import DATE, FIRST, SECOND, caught, named


def test_a_record_that_is_gone_or_elsewhere_is_missing(home: Path, tmp_path: Path) -> None:
    shutil.move(home / DATE / SECOND, tmp_path / "away")
    report = verify(home)
    assert [(item.incident, item.state) for item in report.incidents] == [(FIRST, "intact"), (SECOND, "missing")]
    assert "the log holds 1 seal of this incident" in report.incidents[1].problems[0].reason
    assert verify(home, FIRST).ok
    shutil.move(tmp_path / "away", home / DATE / "INC-2026-000003")
    assert {item.state for item in verify(home).incidents} == {"intact", "missing", "altered"}
    shutil.rmtree(home / DATE)
    assert [item.state for item in verify(home).incidents] == ["missing", "missing"]


def test_files_swapped_between_incidents_are_named(home: Path) -> None:
    first, second = home / DATE / FIRST, home / DATE / SECOND
    for name in ("journal.jsonl", "seal-0001.json"):
        mine, others = (first / name).read_bytes(), (second / name).read_bytes()
        (first / name).write_bytes(others)
        (second / name).write_bytes(mine)
        caught(home, first / name)
        caught(home, second / name)
        (first / name).write_bytes(mine)
        (second / name).write_bytes(others)
    assert verify(home).ok


def swapped(one: Path, other: Path) -> None:
    """Each has what the other had."""
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def elsewhere(path: Path) -> None:
    """A link to where it is now."""
    home = next(one for one in path.parents if one.name == "home")
    path.symlink_to(path.rename(home.with_name(f"moved-{path.name}")))


def linked(one: Path, other: Path) -> None:
    """Two names of one file."""
    other.unlink()
    other.hardlink_to(one)


def evidence_of(folder: Path) -> list[Path]:
    return sorted((folder / "evidence").iterdir())


# What is done to the folder of the first incident, and what has to be named: below that folder, or from the home (`/`).
TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "evidence swapped": (lambda at: swapped(*evidence_of(at)[:2]), "evidence"),
    "evidence of two names": (lambda at: linked(*evidence_of(at)[:2]), "evidence"),
    "evidence empty": (lambda at: evidence_of(at)[0].write_bytes(b""), "evidence"),
    "evidence elsewhere": (lambda at: elsewhere(at / "evidence"), "evidence"),
    "evidence in capitals": (lambda at: (at / "evidence").rename(at / "Evidence"), "Evidence"),
    "record elsewhere": (elsewhere, ""),
    "record twice": (lambda at: shutil.copytree(at, at.parents[1] / "2026-11-21" / FIRST), f"/2026-11-21/{FIRST}"),
    "record renamed": (lambda at: shutil.copytree(at, at.parent / "INC-2026-000003"), f"/{DATE}/INC-2026-000003"),
    "record in small letters": (lambda at: shutil.copytree(at, at.parent / FIRST.lower()), f"/{DATE}/{FIRST.lower()}"),
    "record with a line": (lambda at: shutil.copytree(at, at.parent / f"{FIRST}\n"), f"/{DATE}/{FIRST}\\n"),
    "day renamed": (lambda at: at.parent.rename(at.parents[1] / "2026-11-19"), ""),
    "day and log gone": (lambda at: [shutil.rmtree(one) for one in (at.parent, at.parents[1] / "log")], "/log"),
    "journal empty": (lambda at: (at / "journal.jsonl").write_bytes(b""), "journal.jsonl"),
    "journal in capitals": (lambda at: (at / "journal.jsonl").rename(at / "Journal.jsonl"), "Journal.jsonl"),
    "seals swapped": (lambda at: swapped(at / "seal-0001.json", at / "seal-0002.json"), "seal-0002.json"),
    "seals gone": (lambda at: [one.unlink() for one in at.glob("seal-*")], "seal-0001.json"),
    "page in capitals": (
        lambda at: (at / "01-var-breach.html").rename(at / "01-Var-Breach.html"),
        "01-Var-Breach.html",
    ),
    "page of two names": (lambda at: (at / "02-more.html").hardlink_to(at / "01-var-breach.html"), "02-more.html"),
    "a part": (lambda at: (at / ".02-more.ipynb.0123456789ab.part").touch(), ".02-more.ipynb.0123456789ab.part"),
    "log reordered": (lambda at: _turned(at.parents[1] / "log" / "leaves.jsonl"), "/log/leaves.jsonl"),
    "log empty": (lambda at: (at.parents[1] / "log" / "leaves.jsonl").write_bytes(b""), "/log/leaves.jsonl"),
}


def _turned(path: Path) -> None:
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_is_moved_swapped_linked_or_emptied_is_named(home: Path, name: str) -> None:
    folder = f"{DATE}/{FIRST}"
    tamper, expected = TAMPERINGS[name]
    tamper(home / folder)
    report = verify(home)
    assert not report.ok
    wanted = expected.removeprefix("/") if expected.startswith("/") else f"{folder}/{expected}".rstrip("/")
    assert any(one == wanted or one.startswith(f"{wanted}/") for one in named(report)), (wanted, named(report))
