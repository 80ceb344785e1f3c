"""An executed notebook as one page: readable, self-contained, and harmless whatever the notebook holds.

Markdown and outputs are untrusted: they show what an alert, a platform or a library said. Only listed elements and
attributes pass, no picture but one embedded in the page, no link that leads out of it, no script.
"""

# nbformat and nbconvert have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from pathlib import Path
from typing import Any

from opslib.runs.formats import NotebookNode

_TEMPLATES = Path(__file__).parent / "templates"
_LONGEST_TEXT = 200_000
_LONGEST_HTML = 200_000
# What is shown of an output, the best first; the rest is left out.
_SHOWN = ("image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown", "text/latex", "text/plain")
_TAGS = frozenset({
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del", "details", "div", "dl",
    "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "meter", "ol", "p",
    "pre", "q", "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "tt", "u", "ul", "var",
})  # fmt: skip
_STYLES = frozenset({
    "background-color", "color", "font-style", "font-weight", "text-align", "text-decoration", "white-space",
})  # fmt: skip
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")
_CALLED = {"injected-parameters": "parameters of this run", "parameters": "parameters and what they mean"}
_HEADING = re.compile(r"h[1-6]")
_NUMBER = re.compile(r"\d{1,4}")
_AMOUNT = re.compile(r"-?\d+(?:\.\d+)?")
_MESSAGE = "message"  # the cell that drafts the message: what is the case, what is proposed, when more is told
_LABEL = re.compile(r"[A-Z][^:(]{0,70}:(?=\s|$)")  # of a line of it: `Proposed:`, `Stays at risk:`
_WITH_CONTENT = re.compile(r"<(script|style|title|template|noscript|iframe)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)


def render(notebook: NotebookNode, title: str = "") -> str:
    """The page.

    Parameters
    ----------
    notebook : NotebookNode
        Executed, or on its way; it is not changed.
    title : str
        Empty: the notebook's own, else its first heading.

    Returns
    -------
    str
        A whole HTML document without scripts and without any address outside itself.
    """
    shown = _shown(notebook)
    run = notebook.metadata.get("run") or {}
    runbook = notebook.metadata.get("runbook") or {}
    title = title or str(runbook.get("title") or "") or _first_heading(notebook) or "Runbook"
    facts = [str(run[name]) for name in ("incident", "platform") if run.get(name)]
    facts += [_moment(run["started_at"])] if run.get("started_at") else []
    page = {
        "title": " ".join(str(part) for part in (runbook.get("id"), title) if part),
        "state": str(run.get("state") or "not run"),
        "facts": facts,
        "short": _labelled(_message(notebook)),
        "style": (_TEMPLATES / "notebook.css").read_text("utf-8"),
    }
    body, _ = exporter().from_notebook_node(shown, resources={"page": page})
    return str(body).encode("utf-8", "replace").decode()


@cache
def exporter() -> Any:
    """The exporter of nbconvert with our template and our cleaning; made once, since that takes a second."""
    from jinja2 import FileSystemLoader
    from nbconvert.exporters import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        template_file="notebook.html",
        extra_loaders=[FileSystemLoader(_TEMPLATES)],
        sanitize_html=True,
        embed_images=False,
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
        widget_renderer_url="",
        html_manager_semver_range="",
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    exporter.register_filter("clean_html", clean)
    return exporter


def clean(text: object) -> str:
    """HTML reduced to what may be shown: listed elements and attributes, embedded pictures, links within the page."""
    source = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return str(_cleaner().clean(_WITH_CONTENT.sub("", source.replace("\x00", "\ufffd"))))


@cache
def _cleaner() -> Any:
    import bleach  # type: ignore[import-untyped]
    from bleach.css_sanitizer import CSSSanitizer  # type: ignore[import-untyped]

    return bleach.Cleaner(
        tags=_TAGS,
        attributes=_allowed,
        protocols=("data",),
        css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
        strip=True,
        strip_comments=True,
    )


def _allowed(tag: str, name: str, value: str) -> bool:
    """Whether an attribute may stay."""
    if name == "href":
        return tag == "a" and value.startswith("#")
    if name == "src":
        return tag == "img" and _PICTURE.fullmatch(value) is not None
    if name in ("colspan", "rowspan", "width", "height"):
        return _NUMBER.fullmatch(value) is not None
    if name in ("min", "max", "value"):
        return tag == "meter" and _AMOUNT.fullmatch(value) is not None
    if name == "class":
        return value == "dataframe" or tag in ("span", "pre", "code") or value == "highlight"
    if name == "id":
        return _HEADING.fullmatch(tag) is not None
    return name in ("alt", "title", "style", "align", "open", "start")


def _shown(notebook: NotebookNode) -> NotebookNode:
    """A copy with nothing in it but what the page shows."""
    cells = []
    for index, cell in enumerate(notebook.cells):
        fresh = NotebookNode(cell_type=cell.cell_type, source=cell.source, id=f"c{index}", metadata=NotebookNode())
        marks = cell.metadata.get("runbook") or {}
        status = str(marks.get("status") or "not-run")
        took = marks.get("took_s")
        note = f"{took:.2f} s" if isinstance(took, float | int) else ""
        note = note if status == "succeeded" else status.replace("-", " ")
        fresh.metadata["runbook"] = NotebookNode(status=status, note=note)
        tags = cell.metadata.get("tags", [])
        fresh.metadata["tags"] = [tag for tag in tags if tag == "runbook-banner"]
        fresh.metadata["called"] = next((name for tag, name in _CALLED.items() if tag in tags), "code")
        if cell.cell_type == "code":
            fresh["execution_count"] = None
            fresh["outputs"] = [_output(output) for output in cell.get("outputs", [])]
        cells.append(fresh)
    return NotebookNode(cells=cells, metadata=NotebookNode(), nbformat=4, nbformat_minor=5)


def _output(output: NotebookNode) -> NotebookNode:
    """One output, of allowed kinds only, cut where it is too long for a page."""
    if output.output_type == "stream":
        return NotebookNode(output_type="stream", name=str(output.name), text=_short(output.text))
    if output.output_type == "error":
        lines = [_short("\n".join(str(line) for line in output.traceback))]
        return NotebookNode(output_type="error", ename="", evalue="", traceback=lines)
    data: dict[str, Any] = {}
    for kind in _SHOWN:
        value = output.data.get(kind)
        if not isinstance(value, str) or (kind == "text/html" and len(value) > _LONGEST_HTML):
            continue
        data = {kind: value if kind.startswith("image/") or kind == "text/html" else _short(value)}
        break
    if not data:
        data = {"text/plain": "(an output of a kind that is not shown here)"}
    return NotebookNode(output_type="display_data", data=NotebookNode(data), metadata=NotebookNode())


def _short(text: object) -> str:
    whole = text if isinstance(text, str) else "".join(map(str, text)) if isinstance(text, list) else str(text)
    if len(whole) <= _LONGEST_TEXT:
        return whole
    return f"{whole[:_LONGEST_TEXT]}\n[{len(whole) - _LONGEST_TEXT:,} characters more are in the notebook]"


def _message(notebook: NotebookNode) -> str:
    """What the last cell of a runbook says in short; empty where it did not come to that."""
    said = [cell for cell in notebook.cells if cell.get("id") == _MESSAGE and cell.cell_type == "code"]
    streams = [output for cell in said for output in cell.get("outputs", []) if output.output_type == "stream"]
    return _short("".join(str(output.text) for output in streams if output.name == "stdout")).strip()


def _labelled(message: str) -> list[tuple[str, str]]:
    """The lines of a message: of each its label, such as `Proposed:`, empty where it has none, and the rest."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    split = [(line, _LABEL.match(line)) for line in lines]
    return [(found[0], line[found.end() :]) if found else ("", line) for line, found in split]


def _moment(value: object) -> str:
    """A time for reading [UTC]; as it stands where it is none."""
    try:
        return f"{dt.datetime.fromisoformat(str(value)).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return str(value)


def _first_heading(notebook: NotebookNode) -> str:
    for cell in notebook.cells:
        found = re.search(r"^#[ \t]+(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if found:
            return found[1].strip()
    return ""
