"""What a cell shows: nothing is dropped without a word, however much, however fast, however often it is replaced."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import pytest
from nbformat import v4

from opslib.runs import cells, kernels
from opslib.runs.outputs import CellOutputs


def outputs_of(side: Path | None, **limits: int) -> CellOutputs:
    return CellOutputs(v4.new_code_cell(""), side, tell=lambda _: None, redact=lambda it: it, **limits)


def show(outputs: CellOutputs, text: str, kind: str = "display_data", display_id: str | None = None) -> None:
    content: dict[str, Any] = {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": display_id}}
    outputs.take({"msg_type": kind, "header": {"msg_type": kind}, "content": content})


def write(outputs: CellOutputs, text: str) -> None:
    outputs.take({"msg_type": "stream", "content": {"name": "stdout", "text": text}})


def shown(outputs: CellOutputs) -> list[str]:
    """What the notebook has, the note at its end included."""
    outputs.close()
    return [one.get("text") or one["data"]["text/plain"] for one in outputs.cell.outputs]


def test_a_long_progress_bar_is_shown_to_its_end(tmp_path: Path) -> None:
    outputs = outputs_of(tmp_path / "side.gz", limit=1000)
    show(outputs, "0 of 500", display_id="bar")
    for number in range(1, 501):
        show(outputs, f"{number} of 500", "update_display_data", "bar")
    assert shown(outputs) == ["500 of 500"]


def test_an_update_that_is_too_long_is_kept_aside_and_told_of(tmp_path: Path) -> None:
    side = tmp_path / "side.gz"
    outputs = outputs_of(side, limit=300)
    show(outputs, "short", display_id="one")
    show(outputs, "x" * 500, "update_display_data", "one")
    first, note = shown(outputs)
    assert first == "short"
    assert "bytes of output cut here; the whole is in side.gz" in note
    assert "x" * 500 in gzip.decompress(side.read_bytes()).decode()


def test_an_update_of_what_was_cut_is_kept_aside_too(tmp_path: Path) -> None:
    side = tmp_path / "side.gz"
    outputs = outputs_of(side, limit=300)
    show(outputs, "x" * 500, display_id="one")
    show(outputs, "new", "update_display_data", "one")
    assert len(shown(outputs)) == 1
    assert '"new"' in gzip.decompress(side.read_bytes()).decode()


def test_the_whole_has_what_was_shown_after_the_cut(tmp_path: Path) -> None:
    side = tmp_path / "side.gz"
    outputs = outputs_of(side, limit=400)
    for text in ("first", "x" * 500, "last"):
        show(outputs, text)
    assert shown(outputs)[:-1] == ["first", "last"]
    whole = gzip.decompress(side.read_bytes()).decode()
    assert whole.index("first") < whole.index("x" * 500) < whole.index("last")


def test_the_whole_has_what_fitted_of_a_text_after_the_cut(tmp_path: Path) -> None:
    side = tmp_path / "side.gz"
    outputs = outputs_of(side, limit=400)
    show(outputs, "x" * 500)
    write(outputs, "first" + "y" * 500 + "last")
    shown(outputs)
    assert "first" + "y" * 500 + "last" in gzip.decompress(side.read_bytes()).decode()


@pytest.mark.parametrize(
    ("more", "says"),
    [("", "the whole is in side.gz"), ("é", "the first 600 bytes are in side.gz, the rest is lost")],
)
def test_a_side_file_that_is_full_is_not_called_the_whole(tmp_path: Path, more: str, says: str) -> None:
    side = tmp_path / "side.gz"
    outputs = outputs_of(side, limit=100, side_limit=600)
    write(outputs, "é" * 300)
    write(outputs, more)
    assert says in shown(outputs)[-1]
    assert gzip.decompress(side.read_bytes()).decode() == "é" * 300


def test_what_was_cleared_takes_no_room() -> None:
    outputs = outputs_of(None, limit=1000)
    for number in range(20):
        outputs.take({"msg_type": "clear_output", "content": {"wait": True}})
        write(outputs, f"{number:03} " + "x" * 196)
    assert shown(outputs) == ["019 " + "x" * 196]


@pytest.mark.slow
@pytest.mark.parametrize("code", ["for i in range(20000): display(i)", "for i in range(20000): print(i, flush=True)"])
def test_nothing_is_lost_that_comes_faster_than_it_is_read(code: str) -> None:
    told: list[str] = []

    def tell(text: str) -> None:
        if not told:
            time.sleep(3.0)
        told.append(text)

    outputs = CellOutputs(v4.new_code_cell(code), None, tell=tell, redact=lambda it: it)
    with kernels.started(None) as kernel:
        kernel.ready()
        stop = cells.Stop()
        result = cells.execute(kernel, code, outputs, timeout_s=150, deadline=1e12, stop=stop, idle=lambda: None)
    outputs.close()
    assert result.status == "succeeded"
    assert "".join(told).split() == [str(number) for number in range(20_000)]


@pytest.mark.slow
def test_a_cell_that_shows_without_end_can_be_interrupted() -> None:
    code = "while True: display(1)"
    outputs = CellOutputs(v4.new_code_cell(code), None, tell=lambda _: time.sleep(0.01), redact=lambda it: it)
    with kernels.started(None) as kernel:
        kernel.ready()
        stop = cells.Stop()
        result = cells.execute(kernel, code, outputs, timeout_s=2.0, deadline=1e12, stop=stop, idle=lambda: None)
    assert (result.status, result.reason) == ("interrupted", "timed-out")
    assert result.took_s < 10.0


@pytest.mark.slow
def test_a_cell_is_known_to_have_finished_when_only_its_reply_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    take = cells._Watch._take

    def without_idle(self: cells._Watch, message: dict[str, Any]) -> None:
        if message["msg_type"] != "status":
            take(self, message)

    monkeypatch.setattr(cells._Watch, "_take", without_idle)
    outputs = outputs_of(None)
    with kernels.started(None) as kernel:
        kernel.ready()
        stop = cells.Stop()
        result = cells.execute(kernel, "print(1)", outputs, timeout_s=30, deadline=1e12, stop=stop, idle=lambda: None)
    assert result.status == "succeeded"
    assert shown(outputs) == ["1\n"]
