"""What counts as the same when a notebook runs again."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

import pytest

from opslib.runs.comparison import cells, differences, same_text
from opslib.runs.formats import NotebookNode, v4


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("VaR 2.27 %", "VaR 2.27 %", True),
        ("VaR 2.27 %", "VaR 2.28 %", True),
        ("VaR 2.27 %", "VaR 2.29 %", False),
        ("1234567.891", "1234567.892", True),
        ("1234567.8", "1234570.8", False),
        ("3 of 5 symbols", "4 of 5 symbols", False),
        ("1.5e-7", "1.6e-7", True),
        ("1.5e-7", "1.9e-7", False),
        ("−1.00", "-1.00", True),
        ("<Figure at 0x7f3a2b1c9d10>", "<Figure at 0x7f0000000000>", True),
        ("in /tmp/runbook-0-abc/kernel-ab12cd34/work", "in /tmp/runbook-0-xyz/kernel-zz99yy88/work", True),
        ("[1,234 bytes of output cut here; the whole is in a.gz]", "[99 bytes of output cut here; it is lost]", True),
        ("SOL-USD outgrew", "ADA-USD outgrew", False),
        ("a 1.0", "a 1.0 b", False),
        ("a 1.0 2.0", "a 1.0", False),
        ("E001", "E002", False),
    ],
)
def test_texts(before: str, after: str, same: bool) -> None:
    assert same_text(before, after) is same
    assert same_text(after, before) is same


def notebook(*outputs: list[dict[str, Any]], status: str = "succeeded") -> NotebookNode:
    made = v4.new_notebook()
    for number, some in enumerate(outputs):
        cell = v4.new_code_cell(f"cell {number}", outputs=[NotebookNode(one) for one in some])
        cell.metadata["runbook"] = {"status": status}
        made.cells.append(cell)
    return made


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return dict(v4.new_output("stream", name=name, text=text))


def shown(**data: str) -> dict[str, Any]:
    named = {name.replace("_", "/", 1): text for name, text in data.items()}
    return dict(v4.new_output("display_data", data=named))


def test_pieces_of_a_stream_count_as_one() -> None:
    ((_, _, difference),) = cells(notebook([stream("a\n"), stream("b\n")]), notebook([stream("a\nb\n")]))
    assert difference is None


def test_pictures_count_by_being_there() -> None:
    one, other = shown(image_png="AAAA", text_plain="<Figure>"), shown(image_png="BBBB", text_plain="<Figure>")
    ((_, _, difference),) = cells(notebook([one]), notebook([other]))
    assert difference is None
    ((_, _, difference),) = cells(notebook([one]), notebook([shown(text_plain="<Figure>")]))
    assert difference is not None


def test_what_differs_is_shown_with_its_surroundings() -> None:
    ((index, _, difference),) = cells(
        notebook([stream("x" * 500 + " is 3 of 5")]), notebook([stream("x" * 500 + " is 4 of 5")])
    )
    assert index == 0
    assert difference is not None
    assert difference.archived.endswith("is 3 of 5")
    assert difference.replayed.endswith("is 4 of 5")
    assert len(difference.archived) < 200


@pytest.mark.parametrize(("before", "after"), [([], [stream("more")]), ([stream("less")], [])])
def test_more_or_less_than_before_differs(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    ((_, _, difference),) = cells(notebook(before), notebook(after))
    assert difference is not None
    assert "nothing" in (difference.archived, difference.replayed)


def test_a_cell_that_did_not_end_says_nothing() -> None:
    assert list(cells(notebook([stream("half")], status="interrupted"), notebook([stream("whole")]))) == []


def test_verdicts() -> None:
    before = {
        "cause": "a",
        "confidence": 0.991,
        "causes": [{"key": "a", "likelihood": 0.991}],
        "unseen": [],
        "plan": None,
    }
    assert list(differences(before, {**before, "confidence": 0.9915})) == []
    found = list(differences(before, {**before, "cause": "b", "causes": [{"key": "b", "likelihood": 0.5}]}))
    assert [one.where for one in found] == ["cause", "causes[0].key", "causes[0].likelihood"]
    assert (found[0].archived, found[0].replayed) == ("a", "b")
    assert [one.where for one in differences({"n": 3}, {"n": 4})] == ["n"]
    assert [one.where for one in differences({"n": True}, {"n": 1})] == ["n"]
    assert [one.where for one in differences({"n": [1]}, {"n": [1, 2]})] == ["n"]
    assert [one.where for one in differences(None, {"n": 1})] == [""]
