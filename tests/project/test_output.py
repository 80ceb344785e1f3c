"""Tables: a row is one line in a pipe; a narrow terminal loses columns before it breaks words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from opslib.commands import output

HEADS = ["name", "title", "kind"]
ROWS = [("a-long-name-of-a-runbook", "What it is about, in words", "alert"), ("b", "x", "[bold]no markup[/]")]


def test_in_a_pipe_a_row_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    output.print_table(HEADS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert [part.strip() for part in lines[1].split("  ") if part.strip()] == list(ROWS[0])
    assert lines[2].rstrip().endswith("[bold]no markup[/]")


@pytest.mark.parametrize(("width", "shown"), [(120, HEADS), (60, ["name", "title"]), (30, ["name"])])
def test_a_narrow_terminal_loses_columns(width: int, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = io.StringIO()
    monkeypatch.setattr(output, "out", Console(file=seen, force_terminal=True, width=width, color_system=None))
    output.print_table(HEADS, ROWS, less=["kind", "title"])
    head, first, *rest = seen.getvalue().splitlines()
    assert head.split() == shown
    assert len(rest) == 1
    assert ROWS[0][len(shown) - 1] in first
