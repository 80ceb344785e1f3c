"""`nvidia-smi` answers and fails as the real one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib.settings import PROJECT
from sandbox.gpu.card import Card
from sandbox.gpu.description import CARD
from sandbox.gpu.nvidia_smi import Failure, run, wrapper


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a node with a card has."""
    (tmp_path / "clients").mkdir()
    (tmp_path / "card.json").write_text(json.dumps(CARD), "utf-8")
    return tmp_path


@pytest.fixture
def card(folder: Path) -> Iterator[Card]:
    """The card in use."""
    used = Card(folder)
    used.allocate(1234)
    yield used
    used.close()


def failure(folder: Path, *arguments: str) -> tuple[int, str]:
    with pytest.raises(Failure, match=r".") as caught:
        run(arguments, folder)
    return caught.value.status, caught.value.text


def test_the_table_is_as_wide_as_the_real_one(folder: Path, card: Card) -> None:
    lines = run([], folder).splitlines()
    assert {len(line) for line in lines[1:]} == {89}
    assert "Driver Version: 535.183.01   CUDA Version: 12.2" in lines[2]
    assert "NVIDIA A10 (simulated)" in lines[8]
    assert "1234MiB / 23028MiB" in lines[9]
    assert re.fullmatch(r"\|    0   N/A  N/A +\d+      C   \S+ +1234MiB \|", lines[-2])


def test_without_programs_it_says_so(folder: Path) -> None:
    lines = run([], folder).splitlines()
    assert {len(line) for line in lines[1:]} == {89}
    assert lines[-2].strip("| ") == "No running processes found"


def test_fields_are_queried_with_units_and_without(folder: Path, card: Card) -> None:
    query = "--query-gpu=name,memory.used,memory.total,utilization.gpu,fan.speed"
    assert run([query, "--format=csv"], folder).splitlines() == [
        "name, memory.used [MiB], memory.total [MiB], utilization.gpu [%], fan.speed [%]",
        "NVIDIA A10 (simulated), 1234 MiB, 23028 MiB, 0 %, [N/A]",
    ]
    bare = run([query, "--format=csv,noheader,nounits"], folder)
    assert bare == "NVIDIA A10 (simulated), 1234, 23028, 0, [N/A]\n"
    apps = run(["--query-compute-apps=process_name,used_memory", "--format=csv"], folder).splitlines()
    assert apps == ["process_name, used_gpu_memory [MiB]", f"{Path(sys.executable).name}, 1234 MiB"]


def test_used_and_free_and_reserved_make_the_whole(folder: Path, card: Card) -> None:
    names = ("used", "free", "reserved", "total")
    query = ",".join(f"memory.{name}" for name in names)
    used, free, reserved, total = map(
        int, run([f"--query-gpu={query}", "--format=csv,noheader,nounits"], folder).split(", ")
    )
    assert used + free + reserved == total


def test_the_long_description_has_the_sections_that_parsers_look_for(folder: Path, card: Card) -> None:
    text = run(["-q"], folder)
    assert "\n==============NVSMI LOG==============\n" in text
    assert "    FB Memory Usage\n        Total                             : 23028 MiB\n" in text
    assert "    Product Name                          : NVIDIA A10 (simulated)\n" in text
    assert re.search(r"    Utilization\n        Gpu +: \d+ %\n", text)
    assert "            Used GPU Memory               : 1234 MiB\n" in text


def test_the_list_names_the_card(folder: Path) -> None:
    assert re.fullmatch(r"GPU 0: NVIDIA A10 \(simulated\) \(UUID: GPU-[0-9a-f-]{36}\)\n", run(["-L"], folder))
    assert run(["-i", "0", "-L"], folder) == run(["-L"], folder)


def test_what_it_does_not_know_it_refuses(folder: Path) -> None:
    assert failure(folder, "--query-gpu=name,speed", "--format=csv") == (
        2,
        'Field "speed" is not a valid field to query.\n\n',
    )
    assert failure(folder, "--fly")[0] == 2
    assert failure(folder, "--query-gpu=name")[0] == 2
    assert failure(folder, "-i", "1") == (6, "No devices were found\n")


def test_it_fails_as_the_real_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")
    assert failure(folder) == (6, "No devices were found\n")
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES")
    (folder / "card.json").write_text(json.dumps({**CARD, "lost": True}), "utf-8")
    status, text = failure(folder)
    assert (status, "GPU is lost.  Reboot the system to recover this GPU" in text) == (15, True)
    (folder / "card.json").unlink()
    status, text = failure(folder, "-L")
    assert (status, text.startswith("NVIDIA-SMI has failed because it couldn't communicate")) == (9, True)


def test_the_program_on_the_path_says_the_same(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(wrapper(sys.executable, PROJECT), "utf-8")
    program.chmod(0o755)
    done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    assert done.returncode == 9
    assert "couldn't communicate with the NVIDIA driver" in done.stdout
