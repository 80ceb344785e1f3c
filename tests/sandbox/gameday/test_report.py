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
        "harmful": 0, "harm": [], "unneeded": 0, "not_needed": [], "lacking": [], "missing": False, "problem": None,
        **more,
    }  # fmt: skip


FAULTS = [
    played("var-breach/one", "one", {"one": 0.95, "two": 0.05}),
    played("var-breach/two", "one", {"one": 0.6, "two": 0.4}, plan_ok=False, plan_state="failed", verdict_s=3.4),
]
DOCUMENT = {
    "summary": {"begun_at": "2026-01-02T03:04:05+00:00", "scoreboard": "/home/someone/scoreboard.html"},
    "faults": FAULTS,
    "healthy": [{"round": "healthy 1", "seed": 1, "alerts": [], "runs": [], "false_alarms": 0, "problem": None}],
}


def pair(fault: str, likelihoods: dict[str, float], *, correct: bool) -> dict[str, Any]:
    named = [key for key, value in likelihoods.items() if value > 0.5]
    expected = fault.partition("/")[2].split("+")
    return {**played(fault, None, likelihoods), "named": named, "expected": expected, "correct": correct}


def row(page: str, figure: str) -> str:
    """What the page says of a figure: its value, and whether it is met."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {figure}")]
    return " ".join(line.split(" | ")[2:]).removesuffix(" |")


def test_the_page_tells_what_was_named_and_what_went_wrong() -> None:
    page = report.page([DOCUMENT])
    assert row(page, "true cause named first") == "1 of 2 **not met**"
    assert row(page, "false alarms") == "0 in 1 **not met**"
    assert row(page, "alert to verdict, median") == "2.3 met"
    assert row(page, "alert to verdict, worst") == "3.4 met"
    assert "| broken | one | two | nothing |" in page
    assert "| two | 1 | · | · |" in page
    assert "| var-breach/two | 1 | one | two was not named; plan a.fix: failed |" in page


def whole() -> dict[str, Any]:
    """A game day on which every figure is met."""
    calm = [{**DOCUMENT["healthy"][0], "round": f"healthy {number}"} for number in range(20)]
    pairs = [pair(f"var-breach/one+{number}", {"one": 0.9, str(number): 0.6}, correct=True) for number in "abcdef"]
    odd = [played(f"var-breach/odd-{number}", "none-of-these", {"one": 0.1}) for number in range(3)]
    for one in odd:
        one.update(expected="none-of-these", correct=True)
    return {**DOCUMENT, "faults": FAULTS[:1], "pairs": pairs, "unlisted": odd, "healthy": calm}


def test_every_figure_is_printed_with_its_bound_and_whether_it_is_met() -> None:
    page = report.page([whole()])
    assert page.count("| met |") == 9
    assert "not met" not in page
    assert "What went wrong" not in page
    for bound in ("| all |", "| 0 |", "| 0 in at least 20 healthy rounds |", "| < 3 |", "| < 10 |"):
        assert bound in page
    assert "| var-breach/one+a | 1 | one 0.90, a 0.60 | yes |" in page
    assert "| none-of-these | · | 3 | · |" in page, "the matrix has what no playbook knows, too"


@pytest.mark.parametrize(
    ("figure", "change"),
    [
        ("true cause named first", {"faults": FAULTS}),
        ("true cause named first", {"faults": []}),
        ("plan as the seed demands", {"faults": [{**FAULTS[0], "plan_ok": False}]}),
        ("harmful changes", {"faults": [{**FAULTS[0], "harmful": 1, "harm": ["Worse came with a.fix"]}]}),
        ("unneeded actions", {"unlisted": [{**FAULTS[0], "unneeded": 1, "not_needed": ["b.fix"]}]}),
        ("false alarms", {"healthy": whole()["healthy"][1:]}),
        ("false alarms", {"healthy": [*whole()["healthy"], {**DOCUMENT["healthy"][0], "false_alarms": 1}]}),
        ("alert to verdict, median", {"faults": [{**FAULTS[0], "verdict_s": 3.0}] * 40}),
        ("alert to verdict, worst", {"faults": [{**FAULTS[0], "verdict_s": 10.0}]}),
        ("both of two at once", {"pairs": whole()["pairs"][1:]}),
        ("both of two at once", {"pairs": [*whole()["pairs"], pair("x/a+b", {"a": 0.9, "b": 0.5}, correct=False)]}),
        ("`none-of-these`", {"unlisted": []}),
        ("`none-of-these`", {"unlisted": [*whole()["unlisted"], {**FAULTS[1], "expected": "none-of-these"}]}),
    ],
)
def test_a_figure_that_is_missed_or_was_not_played_is_not_met(figure: str, change: dict[str, Any]) -> None:
    assert row(report.page([{**whole(), **change}]), figure).endswith("**not met**")


def test_what_harmed_what_was_not_needed_and_what_took_long_is_told() -> None:
    calm = {
        **DOCUMENT["healthy"][0], "false_alarms": 2, "alerts": ["VarBreach"],
        "runs": [{"runbook": "var-breach", "confirmed": True, "cause": "one", "plan": True}],
    }  # fmt: skip
    odd = played(
        "var-breach/one", "one", {"one": 0.9}, harmful=1, harm=["Worse came with a.fix"], unneeded=1,
        not_needed=["b.fix"], lacking=["c.fix"], verdict_s=11.2,
    )  # fmt: skip
    page = report.page([{**DOCUMENT, "faults": [odd], "healthy": [calm]}])
    assert (
        "| var-breach/one | 1 | one | c.fix is lacking; harmful: Worse came with a.fix; unneeded: b.fix; "
        "the verdict took 11.2 s |"
    ) in page
    assert "| healthy 1 | 1 |  | alert VarBreach; var-breach found one and made a plan |" in page


def test_likelihoods_are_held_against_the_truth() -> None:
    told = report.reliability(FAULTS)
    assert [(round(one["stated"], 2), one["observed"], one["n"]) for one in told] == [
        (0.05, 0.0, 1),
        (0.4, 1.0, 1),
        (0.6, 0.0, 1),
        (0.95, 1.0, 1),
    ]


def test_of_two_at_once_both_likelihoods_are_true() -> None:
    told = report.reliability([pair("x/a+b", {"a": 0.95, "b": 0.92, "c": 0.05}, correct=True)])
    assert [(one["observed"], one["n"]) for one in told] == [(0.0, 1), (1.0, 2)]


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
