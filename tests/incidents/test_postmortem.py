"""Post-mortems: every sentence rests on the record, and what no record can know is left open."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from opslib.errors import NotFound
from opslib.incidents.postmortem import TEMPLATES, Template, gather, render
from opslib.record import archived
from tests.golden import FOLDER

ENTRIES = archived.journal_of(FOLDER / "var-breach-single-symbol")
HASH = next(entry["body"]["hash"] for entry in ENTRIES if entry["kind"] == "plan-proposed")


def told(*more: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The golden journal, gone on with."""
    entries = [*ENTRIES]
    for kind, body in more:
        entries.append({**entries[-1], "seq": entries[-1]["seq"] + 1, "actor": "demo-l1", "kind": kind, "body": body})
    return entries


APPLIED = told(
    ("plan-decided", {"hash": HASH, "person": "demo-l1", "role": "L1", "decision": "approve", "reason": "go"}),
    ("apply-started", {"hash": HASH, "run": 9, "number": 2}),
    ("apply-ended", {"hash": HASH, "run": 9, "state": "verified", "reason": "VaR 1.2 % <= 1.8 %"}),
    ("alert-resolved", {"count": 1, "alerts": []}),
    ("note", {"person": "demo-l1", "text": "a | b <script>alert(1)</script> *c* [d](http://e)"}),
    ("resolved", {"person": "demo-l1", "text": "over"}),
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_statement_names_what_it_rests_on(template: Template) -> None:
    text = render(gather(APPLIED, "intact"), template)
    numbers = {f"J{entry['seq']}" for entry in APPLIED}
    pieces = {entry["body"]["id"] for entry in APPLIED if entry["kind"] == "evidence"}
    cited = {name for found in re.findall(r"\[([JE]\d[^\]]*)\]", text) for name in found.split(", ")}
    assert cited
    assert cited <= numbers | pieces
    part = (
        text.partition("oot cause\n")[2].partition("\n## ")[0]
        if template != "001"
        else text.partition("### Why did")[2]
    )
    for line in part.partition("\n## ")[0].splitlines():
        if line.startswith("- ") and "(to be filled in" not in line:
            assert re.search(r"\[[JE][^\]]*\]\.$", line), line
    assert "single-symbol" in part
    assert "(to be filled in" in text
    for piece in pieces & cited:
        assert f"**{piece}** evidence/{piece}-" in text, "and says where that lies"


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_comes_from_outside_is_text(template: Template) -> None:
    text = render(gather(APPLIED, "intact"), template)
    assert "<script" not in text
    assert r"a \| b &lt;script>alert(1)&lt;/script> \*c\* [d]\(http://e)" in text, "no table is broken by it"


def test_times_cause_and_fix() -> None:
    found = gather(APPLIED, "intact")
    assert (found.platform, found.severity, found.verified) == ("crypto", "critical", "intact")
    assert [what for what, clock, _ in found.milestones if clock == "–"] == []
    assert "single-symbol" in found.cause[0].text
    assert any("all-symbols" in sentence.text for sentence in found.ruled_out)
    assert [sentence.rests_on[0] for sentence in found.fix if "applied, effect verified" in sentence.text]
    assert found.ended is not None
    assert found.risk


def test_a_broken_glass_is_in_the_timeline_and_beside_the_fix() -> None:
    body = {"hash": HASH, "person": "demo-l1", "role": "L1", "skipped": ["it needs L2"], "reason": "nobody answers"}
    found = gather(told(("plan-break-glass", body), ("apply-started", {"hash": HASH, "run": 9, "number": 2})), "open")
    mark = f"J{ENTRIES[-1]['seq'] + 1}"
    loud = [one.text for one in (*found.fix, *(text for _, text in found.timeline)) if one.rests_on == (mark,)]
    assert len(loud) == 2
    assert all("THE GLASS WAS BROKEN" in text and "although it needs L2: nobody answers" in text for text in loud)
    assert "THE GLASS WAS BROKEN" in render(found, "000")


def test_an_incident_that_goes_on_says_so() -> None:
    found = gather(ENTRIES, "open")
    assert found.duration == "not over yet"
    assert found.fix[0].text == "No plan was applied"
    assert ("Fix applied", "–", "not on the record") in found.milestones
    again = told(("alert-resolved", {"count": 1}), ("alert-accepted", {"alerts": [{"annotations": {}}]}))
    assert gather(again, "open").ended is None, "an alert that fires again is not over"


def test_a_run_without_a_verdict_names_no_cause() -> None:
    without = [entry for entry in ENTRIES if entry["kind"] != "verdict"]
    text = render(gather(without, "intact"), "000")
    assert "No verdict is on the record." in text


def test_a_journal_that_does_not_begin_is_refused() -> None:
    with pytest.raises(NotFound, match="does not tell how the incident began"):
        gather(ENTRIES[1:], "intact")
    assert json.dumps(ENTRIES[0])
