"""What a probe answers beside tables shows itself: laid out, whole or counted, and harmless whatever stands in it."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from IPython.core.formatters import DisplayFormatter

from opslib.probes.calls import seen
from opslib.probes.registry import Target
from opslib.probes.seen import Seen, SeenList, SeenText
from opslib.record.shown import Context

HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"'&\x1b[2J\x07\u202e\nend"
ALLOWED = {"table", "thead", "tbody", "tr", "th", "td", "p", "small", "pre"}


class Tags(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.text += data


def displayed(value: object) -> tuple[str, Tags]:
    """As a notebook displays it: the text, and the page."""
    data, _ = DisplayFormatter().format(value)  # type: ignore[no-untyped-call]
    return data["text/plain"], Tags(data["text/html"])


def context() -> Context:
    facts = {"incident": HOSTILE, "run": 1, "runbook": "r", "platform": "p", "environment": "e", "mode": "plan"}
    return Context(
        {**facts, "systems": [HOSTILE], "parameters": {HOSTILE: HOSTILE}, "alert": {"labels": {"a": HOSTILE}}}
    )


ANSWERS = {
    "object": {HOSTILE: HOSTILE, "nested": {"a": [HOSTILE]}},
    "list of objects": [{HOSTILE: HOSTILE}, {"b": HOSTILE}],
    "list": [HOSTILE, 1, None],
    "text": HOSTILE,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_hostile_is_only_shown(name: str) -> None:
    plain, page = displayed(seen(ANSWERS[name], HOSTILE))
    assert page.tags <= ALLOWED
    assert page.attributes <= {"class", "style"}
    assert "<script>alert(1)</script>" in page.text
    for text in (plain, page.text):
        assert all(one.isprintable() or one == "\n" for one in text)
    assert "alert(1)" in plain


def test_the_context_of_a_run_shows_itself_and_nothing_runs() -> None:
    _, page = displayed(context())
    assert page.tags <= ALLOWED
    assert page.attributes <= {"style"}
    assert "<script>alert(1)</script>" in page.text


def test_an_object_shows_a_field_a_line_with_its_unit_and_evidence() -> None:
    memory = seen({"used_memory": 1234567, "share_pct": 12.3456, "policy": "noeviction", "full": False}, "E007")
    plain, page = displayed(memory)
    assert plain.splitlines() == [
        "field        value",
        "used_memory  1,234,567",
        "share_pct    12.35 %",
        "policy       noeviction",
        "full         no",
    ]
    assert page.text.endswith("evidence E007")


def test_a_list_of_objects_is_a_table_and_another_one_a_column() -> None:
    plain, _ = displayed(seen([{"name": "a", "size": 1}, {"name": "b"}], ""))
    assert plain.splitlines() == ["name  size", "a     1", "b     –"]
    assert repr(SeenList(["a", 2])).splitlines() == ["entry", "a", "2"]
    assert (repr(Seen()), repr(SeenList())) == ("nothing", "nothing")


def test_what_is_too_long_is_counted_or_cut() -> None:
    plain, page = displayed(SeenList(range(1000)))
    assert plain.splitlines()[-1] == "and 940 more"
    assert len(plain.splitlines()) == 62
    assert "and 940 more" in page.text
    assert len(repr(Seen(text="x" * 5000))) < 400


def test_they_are_what_they_were_for_everything_else() -> None:
    found = seen({"a": 1}, "E001")
    assert (found, json.dumps(found), found["a"]) == ({"a": 1}, '{"a": 1}', 1)
    text = seen("two\nlines", "E002")
    assert isinstance(text, SeenText)
    assert (text, repr(text), f"{text}") == ("two\nlines", "'two\\nlines'", "two\nlines")
    assert displayed(text)[0] == "two\nlines"


def test_a_system_does_not_show_its_address() -> None:
    assert "swordfish" not in repr(Target("redis", "redis://recorder:swordfish@127.0.0.1:6379/0"))
