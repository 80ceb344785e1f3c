"""The table and the picture of speed in docs/engine.md come from the same documents of the benchmarks."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from bench import figures, plots
from bench.__main__ import main, names
from bench.timing import Row

IMAGES = figures.GUIDE.parent / "images"


def row(figure: figures.Figure, ratio: float, **other: Any) -> dict[str, Any]:
    return {
        "case": figure.case, "ours": 1234.0, "peer": 1234.0 * ratio, "peer_name": figure.peer, "unit": "us",
        "ratio": ratio, "error": None, "note": "a note", "ours_best": 1200.0, "peer_best": None, **other,
    }  # fmt: skip


def documents(ratio: float = 7.0) -> dict[str, dict[str, Any]]:
    """As every benchmark would write them, with one row that the table leaves out."""
    found: dict[str, dict[str, Any]] = {}
    for place, figure in enumerate(figures.ROWS):
        rows = found.setdefault(figure.bench, {"name": figure.bench, "rows": []})["rows"]
        rows.append(row(figure, ratio + place))
        rows.append({**rows[-1], "peer_name": "somebody else", "ratio": 1e6})
    return found


def drawn(picture: Path) -> list[str]:
    """Texts of a picture, which matplotlib writes beside their outlines."""
    return re.findall(r"<!-- (.*?) -->", picture.read_text("utf-8"))


def stated(text: str) -> list[list[str]]:
    """Rows of the table in a guide."""
    inside = text.partition(figures.BEGIN)[2].partition(figures.END)[0]
    lines = re.findall(r"^\|(.*)\|$", inside, re.MULTILINE)[2:]  # without the head
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def test_every_row_is_of_a_benchmark_that_is_run() -> None:
    assert {figure.bench for figure in figures.ROWS} <= set(names())


def untimed(case: str, ours: Any, peer: Any, peer_name: str, *, error: Any = None, note: str = "", **_: Any) -> Row:
    """A comparison as `bench.timing.compare` makes it, but for the clock."""
    return Row(case, 1.0, 2.0, peer_name, "us", 2.0, error, note)


def installed(peer: str) -> bool:
    """Whether a peer is there, where it is a package of its own."""
    package = re.split("[ ,]", peer)[0].replace("-", "_")
    return package not in ("QuantLib", "fast_vollib") or importlib.util.find_spec(package) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["greeks", "pbo", "psi", "simulation", "var", "warmup"])
def test_a_benchmark_gives_the_rows_of_the_table(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = importlib.import_module(f"bench.{name}")
    monkeypatch.setattr(bench, "compare", untimed)
    if name == "warmup":  # which starts processes
        monkeypatch.setattr(bench, "process", lambda _: None)
        monkeypatch.setattr(bench, "_within", lambda _: 0.5)
    given = {(row.case, row.peer_name) for row in bench.rows()}
    wanted = {(one.case, one.peer) for one in figures.ROWS if one.bench == name and installed(one.peer)}
    assert wanted
    assert wanted <= given


def test_the_table_says_what_was_measured(tmp_path: Path) -> None:
    guide = tmp_path / "engine.md"
    guide.write_text(f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n", "utf-8")
    figures.renew(documents(), "On a quiet machine.", guide)
    text = guide.read_text("utf-8")
    assert text.startswith(f"before\n{figures.BEGIN}\n\nOn a quiet machine.\n\n| work |")
    assert text.endswith(f"\n{figures.END}\nafter\n")
    rows = stated(text)
    assert len(rows) == len(figures.ROWS)
    assert rows[0] == [
        "price and 8 Greeks, one request",
        "1.23 (1.2) ms",
        "QuantLib, BlackCalculator, 8.64 ms",
        "7",
        "10",
    ]
    assert rows[3][2:4] == ["fast-vollib, numpy, 12.3 ms; a note", "10"]
    once_more = text
    figures.renew(documents(), "On a quiet machine.", guide)
    assert guide.read_text("utf-8") == once_more


def test_a_peer_that_is_not_installed_leaves_no_row() -> None:
    less = documents()
    less["implied"]["rows"] = []
    del less["heston"]
    missing = {"implied", "heston"}
    assert [figure for figure, _ in figures.figures(less)] == [one for one in figures.ROWS if one.bench not in missing]


def test_a_guide_is_not_renewed_by_half(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = figures.GUIDE.read_text("utf-8"), (IMAGES / "engine-speed.svg").read_bytes()
    assert figures.missing(documents()) == []
    monkeypatch.setattr("bench.__main__.names", list)  # nothing is run, so nothing was measured
    monkeypatch.setattr("sys.argv", ["bench", "--docs"])
    assert main() == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "docs/engine.md stays as it is; not measured: price and 8 Greeks, one request beside QuantLib"
    )
    assert told.count(" beside ") == len(figures.ROWS)
    assert (figures.GUIDE.read_text("utf-8"), (IMAGES / "engine-speed.svg").read_bytes()) == before


def test_a_guide_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    guide = tmp_path / "engine.md"
    guide.write_text("no marks\n", "utf-8")
    with pytest.raises(ValueError, match="lacks the marks"):
        figures.renew(documents(), "On a quiet machine.", guide)
    assert guide.read_text("utf-8") == "no marks\n"


@pytest.mark.parametrize(
    ("micro", "text"), [(0.3, "0.3 us"), (24.0, "24 us"), (5_600.0, "5.6 ms"), (1_522_000.0, "1.52 s")]
)
def test_a_time_is_in_the_unit_that_reads_best(micro: float, text: str) -> None:
    one = figures.ROWS[0]
    found = figures.table({one.bench: {"rows": [row(one, 2.0, ours=micro, ours_best=None)]}})
    assert f"| {text} |" in found


def test_the_picture_shows_the_ratios_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "IMAGES", tmp_path)
    plots.speed(documents(ratio=31.0))
    texts = drawn(tmp_path / "engine-speed.svg")
    assert {"31", "32", "34"} <= set(texts)
    assert "1e+06" not in texts
    assert "price and 8 Greeks, one request: QuantLib, BlackCalculator" in texts


def test_the_picture_of_the_guide_is_that_of_its_table() -> None:
    texts = drawn(IMAGES / "engine-speed.svg")
    ratios = []
    for work, _, peer, ratio, _ in stated(figures.GUIDE.read_text("utf-8")):
        figure = next(one for one in figures.ROWS if one.work == work and peer.startswith(one.peer))
        if figure.bench != "warmup" and figure.peer not in ("bound", "copy of its bytes"):
            assert f"{work}: {figure.peer}" in texts
            ratios.append(float(ratio.replace(",", "")))
    shown = [float(text.replace(",", "")) for text in texts if re.fullmatch(r"[\d.,]+", text)]
    assert shown == sorted(ratios)
