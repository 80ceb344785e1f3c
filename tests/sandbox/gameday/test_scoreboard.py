"""The scoreboard: the matrix, and the page as a person sees it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.gameday import scoreboard
from sandbox.gameday.rounds import Round
from sandbox.gameday.score import Observed, broken, calm, summary
from tests.chromium import chromium, needed


def fault(name: str, named: str | None, *, missing: bool = False) -> dict[str, Any]:
    run = {"state": "succeeded", "record": None, "verdict": {"confirmed": bool(named), "cause": named, "causes": []}}
    one = Round(name, name, ("crypto",), 1)
    problem = f"there is no playbook {one.runbook}" if missing else None
    return broken(one, 0, Observed(run=None if missing else run, missing=missing, problem=problem))


FAULTS = [
    fault("var-breach/single-symbol", "single-symbol"),
    fault("var-breach/all-symbols", "single-symbol"),
    fault("var-breach/stale-volatility", None),
    fault("outage/<b>bold</b>", None, missing=True),
]

PAIRS = [fault("var-breach/stale-volatility+single-symbol", "single-symbol")]
PAIRS[0].update(named=["single-symbol", "stale-volatility"], correct=True)
UNLISTED = [fault("var-breach/kelly-raised", "none-of-these")]


def document() -> dict[str, Any]:
    healthy = [calm(Round("healthy 1", None, ("crypto",), 1), 0, 20.0, ["VarBreach"], [], None)]
    asked = {"only": None, "seeds": [1, 2], "decoys": 0, "begun_at": "2026-01-01T00:00:00+00:00"}
    played = {"faults": FAULTS, "pairs": PAIRS, "unlisted": UNLISTED, "healthy": healthy}
    return {"summary": {**summary(**played), **asked}, **played}


def test_expected_against_named() -> None:
    outage, breach = scoreboard.matrices(FAULTS)
    assert (outage["runbook"], outage["missing"], outage["columns"]) == ("outage", True, ["<b>bold</b>", "nothing"])
    assert breach["columns"] == ["single-symbol", "all-symbols", "stale-volatility", "nothing"]
    assert breach["rows"] == [
        ("single-symbol", [1, 0, 0, 0]),
        ("all-symbols", [1, 0, 0, 0]),
        ("stale-volatility", [0, 0, 0, 1]),
    ]


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(tmp_path: Path) -> None:
    page = scoreboard.write(tmp_path / "scoreboard.html", document()).read_text("utf-8")
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<script" not in page
    assert "://" not in page
    assert len(re.findall('class="[a-z ]*hit"', page)) == 5, (
        "a fault once in the matrix and once in the list, a pair in the list"
    )
    assert "single-symbol + stale-volatility" in page
    assert "seeds 1, 2," in page
    assert "<b>1 of 1</b> pairs, both named" in page
    assert "<b>1 of 1</b> unknown causes, none named" in page


@needed
@pytest.mark.slow
def test_a_person_sees_at_once_how_it_went(tmp_path: Path) -> None:
    path = scoreboard.write(tmp_path / "scoreboard.html", document())
    with chromium(tmp_path / "profile") as browser:
        browser.get(path.as_uri())
        text = browser.find_element("tag name", "body").text
        assert "1 of 4 causes named" in text
        assert "1 false alarms in 1 healthy rounds" in text.replace("\n", " ")
        wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert wide, "nothing is cut off at the right"
        assert browser.get_log("browser") == []
