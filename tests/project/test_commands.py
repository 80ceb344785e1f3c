"""The command line says what there is, and the docs say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opslib import cli
from opslib.commands.output import printable
from opslib.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
RUNBOOK = str(Path(sys.executable).with_name("runbook"))


def test_every_command_is_documented() -> None:
    text = (PROJECT / "docs" / "commands.md").read_text("utf-8")
    for name in [*cli.COMMANDS, "gameday", "sandbox"]:
        assert re.search(rf"`runbook {name}\b", text), name


def test_every_setting_is_documented() -> None:
    text = (PROJECT / "docs" / "commands.md").read_text("utf-8")
    for name in Settings.model_fields:
        assert f"`RUNBOOK_{name.upper()}`" in text, name


@pytest.mark.parametrize("name", [*cli.COMMANDS, "gameday", "sandbox"])
def test_every_command_explains_itself(name: str) -> None:
    done = CliRunner().invoke(cli.app, [name, "--help"], prog_name="runbook")
    assert done.exit_code == 0
    assert f"runbook {name}" in done.stdout


def test_wrong_words_are_wrong_usage() -> None:
    for words in (["nonsense"], ["run"], ["run", "var-breach", "--platform"], ["list", "--nonsense"]):
        done = subprocess.run([RUNBOOK, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2, words
        assert done.stdout == ""


def test_nothing_from_outside_drives_the_terminal() -> None:
    assert printable("\x1b[31mred\x07") == "�[31mred�"


def test_the_public_names_of_opslib() -> None:
    import opslib

    assert opslib.__all__ == ["Ops", "connect"]
