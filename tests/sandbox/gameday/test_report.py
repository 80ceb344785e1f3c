"""The page of game days: what was named, how true the likelihoods were, what went wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opslib.settings import PROJECT
from sandbox.gameday import report


def played(fault: str, named: str | None, likelihoods: dict[str, float], **more: Any) -> dict[str, Any]:
    expected = fault.partition("/")[2]
    return {
        "fault": fault, "seed": 1, "decoys": 2, "expected": expected, "named": named, "correct": named == expected,
        "causes": [{"key": key, "likelihood": value} for key, value in likelihoods.items()], "alert_s": 4.0,
        "verdict_s": 1.2, "recovery_s": 9.0, "plan": ["a.fix"], "plan_state": "verified", "plan_ok": True,
        "harmful": 0, "unneeded": 0, "missing": False, "problem": None, **more,
    }  # fmt: skip


FAULTS = [
    played("var-breach/one", "one", {"one": 0.95, "two": 0.05}),
    played("var-breach/two", "one", {"one": 0.6, "two": 0.4}, plan_ok=False, plan_state="failed", verdict_s=3.4),
]
DOCUMENT = {
    "summary": {"begun_at": "2026-01-02T03:04:05+00:00", "scoreboard": "/home/someone/scoreboard.html"},
    "faults": FAULTS,
    "healthy": [{"false_alarms": 0, "problem": None}],
}


def test_the_page_tells_what_was_named_and_what_went_wrong() -> None:
    page = report.page([DOCUMENT])
    assert "| true cause named | 1 of 2 |" in page
    assert "| false alarms | 0 in 1 healthy rounds |" in page
    assert "| alert to verdict, median / worst [s] | 2.3 / 3.4 |" in page
    assert "| broken | one | two | nothing |" in page
    assert "| two | 1 | · | · |" in page
    assert "| var-breach/two | 1 | one | plan a.fix: failed |" in page


def test_likelihoods_are_held_against_the_truth() -> None:
    told = report.reliability(FAULTS)
    assert [(round(one["stated"], 2), one["observed"], one["n"]) for one in told] == [
        (0.05, 0.0, 1),
        (0.4, 1.0, 1),
        (0.6, 0.0, 1),
        (0.95, 1.0, 1),
    ]


def test_faults_without_a_playbook_are_left_out() -> None:
    missing = played("other/three", None, {}, missing=True)
    assert "three" not in report.page([{**DOCUMENT, "faults": [*FAULTS, missing]}])


def test_page_and_picture_are_written(tmp_path: Path) -> None:
    file = tmp_path / "day.json"
    file.write_text(json.dumps(DOCUMENT))
    assert report.main([str(file), "--docs", str(tmp_path / "docs")]) == 0
    assert (tmp_path / "docs/gameday.md").read_text().startswith("# Game days")
    first = (tmp_path / "docs/images/gameday-reliability.svg").read_bytes()
    page = (tmp_path / "docs/gameday.md").read_text()
    assert report.main([str(file), "--docs", str(tmp_path / "docs")]) == 0
    assert (tmp_path / "docs/images/gameday-reliability.svg").read_bytes() == first
    assert (tmp_path / "docs/gameday.md").read_text() == page, "the same game day counts once"


def test_it_is_made_again_from_what_is_kept_which_names_no_place(tmp_path: Path) -> None:
    file = tmp_path / "day.json"
    file.write_text(json.dumps(DOCUMENT))
    report.main([str(file), "--docs", str(tmp_path / "docs")])
    page = (tmp_path / "docs/gameday.md").read_text()
    (tmp_path / "docs/gameday.md").unlink()
    assert report.main(["--docs", str(tmp_path / "docs")]) == 0
    assert (tmp_path / "docs/gameday.md").read_text() == page
    assert "someone" not in (tmp_path / "docs/gameday/2026-01-02T030405.json").read_text()


def test_the_page_of_the_docs_is_what_its_game_days_give() -> None:
    assert (PROJECT / "docs/gameday.md").read_text("utf-8") == report.page(report.kept(PROJECT / "docs"))


def test_without_a_game_day_there_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["--docs", str(tmp_path)])
    assert "no game day" in capsys.readouterr().err


def test_a_file_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "nothing.json")])
    assert "nothing.json" in capsys.readouterr().err
