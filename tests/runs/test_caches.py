"""What a kernel finds ready made: copies of its own, of what no kernel could have written."""

from __future__ import annotations

from pathlib import Path

import pytest

from opslib.runs import caches


@pytest.fixture(autouse=True)
def of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "runbooks" / "numba"


def test_machine_code_is_kept_for_all_homes_of_a_user(of_this_user: Path, tmp_path: Path) -> None:
    kept = caches.compiled(tmp_path / "home")
    assert kept.parent == of_this_user
    assert kept == caches.compiled(tmp_path / "another home")
    assert kept.stat().st_mode & 0o777 == 0o700


def test_an_engine_that_lies_elsewhere_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = caches.compiled(tmp_path / "home")
    monkeypatch.setattr(caches, "__file__", str(tmp_path / "opslib" / "runs" / "caches.py"))
    assert caches.compiled(tmp_path / "home") != here


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    caches.compiled(tmp_path / "home").chmod(0o777)
    assert caches.compiled(tmp_path / "home") == tmp_path / "home"


def test_where_the_user_has_no_folder_for_caches_the_home_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert caches.compiled(tmp_path / "home") == tmp_path / "home"


def test_a_kernel_gets_a_copy_and_writes_nowhere_else(of_this_user: Path, tmp_path: Path) -> None:
    kept = caches.compiled(tmp_path / "home") / "pricing"
    kept.mkdir()
    (kept / "loop.nbc").write_bytes(b"code")
    (kept / "loop.nbc.tmp.1").write_bytes(b"half")
    folder = tmp_path / "kernel"
    folder.mkdir()
    own = Path(caches.private(None, folder)["NUMBA_CACHE_DIR"])
    assert own.is_relative_to(folder)
    assert [file.name for file in (own / "pricing").iterdir()] == ["loop.nbc"]
    (own / "pricing" / "loop.nbc").write_bytes(b"else")
    assert (kept / "loop.nbc").read_bytes() == b"code"


def test_a_fork_has_no_use_for_files(tmp_path: Path) -> None:
    (caches.compiled(tmp_path / "home") / "pricing").mkdir()
    own = Path(caches.private(None, tmp_path, code=False)["NUMBA_CACHE_DIR"])
    assert own.is_relative_to(tmp_path)
    assert list(own.iterdir()) == []


def test_the_first_kernel_of_a_user_starts_without(of_this_user: Path, tmp_path: Path) -> None:
    of_this_user.parent.mkdir(parents=True)
    assert list(Path(caches.private(None, tmp_path)["NUMBA_CACHE_DIR"]).iterdir()) == []
