"""The card's memory is really accounted for: over programs, and when one of them is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.gpu.card import Card, CardLost, OutOfCardMemory, clients
from sandbox.gpu.description import CARD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a node with a card has."""
    (tmp_path / "clients").mkdir()
    (tmp_path / "card.json").write_text(json.dumps(CARD), "utf-8")
    return tmp_path


def test_what_programs_hold_is_no_longer_free(folder: Path) -> None:
    first, second = Card(folder), Card(folder)
    whole = first.free_mib()
    first.allocate(1000)
    second.allocate(200)
    assert second.free_mib() == whole - 1200
    first.free(400)
    first.free(9999)
    assert (first.used_mib, first.free_mib()) == (0, whole - 200)
    with second.computing(300):
        assert second.used_mib == 500
    second.close()
    assert first.free_mib() == whole
    first.close()


def test_more_than_is_free_is_refused_and_nothing_taken(folder: Path) -> None:
    card = Card(folder)
    card.allocate(20_000)
    with pytest.raises(OutOfCardMemory, match=r"CUDA out of memory\. Tried to allocate 5000\.00 MiB"):
        card.allocate(5000)
    assert card.used_mib == 20_000
    card.close()


def test_a_killed_program_gives_its_memory_back(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sandbox.gpu.card import Card\n"
        "card = Card(Path(sys.argv[1])); card.allocate(5000); print('holding', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "holding\n"
        assert [one["used_mib"] for one in clients(folder)] == [5000]
        program.kill()
    assert clients(folder) == []
    card = Card(folder)
    card.allocate(1)
    assert len(list((folder / "clients").glob("*.json"))) == 1
    card.close()


def test_a_lost_card_is_told_to_those_that_use_it(folder: Path) -> None:
    card = Card(folder)
    (folder / "card.json").write_text(json.dumps({**CARD, "lost": True}), "utf-8")
    with pytest.raises(CardLost, match="the device has fallen off the bus"):
        card.allocate(1)
    card.close()
    (folder / "card.json").unlink()
    with pytest.raises(CardLost, match="no CUDA-capable device is detected"):
        Card(folder)
