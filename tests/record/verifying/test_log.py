"""The offline verifier on the log of seals: rolled back, gone, continued, and signed by another key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opslib.errors import RecordError
from opslib.record import signing
from opslib.record.verify import verify
from tests.record.verifying.sealed import DATE, FIRST, Original, caught, named


def test_the_log_rolled_back_by_one_seal(original: Original, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(original.after, home)
    assert verify(home).ok
    shutil.rmtree(home / "log")
    shutil.copytree(original.before / "log", home / "log")
    caught(home, home / DATE / FIRST / "seal-0003.json")
    # With seal and journal rolled back too, only a checkpoint from outside can tell.
    (home / DATE / FIRST / "seal-0003.json").unlink()
    path = home / DATE / FIRST / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify(home).ok
    report = verify(home, checkpoint=original.after / "log" / "checkpoint.json")
    assert not report.ok
    assert report.log[0].reason == "cut: a checkpoint from outside knows 4 seals; 3 are left"


def test_an_earlier_checkpoint_is_continued(original: Original, tmp_path: Path) -> None:
    outside = tmp_path / "checkpoint.json"
    shutil.copy(original.before / "log" / "checkpoint.json", outside)
    assert verify(original.after, checkpoint=outside).ok
    outside.write_bytes(outside.read_bytes().replace(b'"size":3', b'"size":2'))
    assert "does not hold: its signature does not hold" in verify(original.after, checkpoint=outside).log[0].reason


def test_another_key_is_not_trusted(home: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.pub"
    shutil.copy(home / "log" / "signer.pub", own)
    assert verify(home, trust=own).ok
    foreign = signing.public_pem(Ed25519PrivateKey.generate().public_key())
    (home / "log" / "signer.pub").write_bytes(foreign)
    assert "log/signer.pub" in named(verify(home, trust=own))
    assert {item.state for item in verify(home, trust=own).incidents} == {"intact"}
    assert not verify(home).ok
    (tmp_path / "no.pub").write_text("no key")
    with pytest.raises(RecordError, match="is no public key to trust"):
        verify(home, trust=tmp_path / "no.pub")


def test_the_whole_log_gone_is_told(home: Path) -> None:
    shutil.rmtree(home / "log")
    report = verify(home)
    assert "log" in named(report)
    assert {item.state for item in report.incidents} == {"altered"}
