"""The pages: what a person sees, and that nothing from outside is more than text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opslib import store
from opslib.canonical import file_digest
from opslib.record import journal

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}{%print(1)%}javascript:alert(3)"


def test_first_screen_says_what_why_and_what_to_do(desk: Any, scene: Any) -> None:
    page = desk.signed_in("lena").get(f"/incidents/{scene.incident}")
    text = desk.visible(page)
    assert "BTC-USD alone carries the breach" in text
    assert "VarBreach" in text
    assert "single-symbol 93 %" in text
    assert "Not seen Prometheus (connection refused)" in text
    assert "Reduce the Kelly fraction of crypto from 0.25 to 0.1" in text
    assert "2.31 → 0.92 % of NAV limit 1.8" in text
    assert "sets the Kelly fraction back" in text
    assert f"runbook verify {scene.incident}" in text
    causes = [row.th.get_text(strip=True) for row in desk.parsed(page).select(".causes tr")]
    assert causes == ["single-symbol", "model-switch", "all-symbols", "stale-volatility"]


def test_list_shows_cause_and_plan_and_filters(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("vera")
    text = desk.visible(visitor.get("/"))
    assert scene.incident in text
    assert "single-symbol 93 %" in text
    assert "proposed" in text
    assert scene.incident not in desk.visible(visitor.get("/", params={"state": "resolved"}))
    assert visitor.get("/", params={"state": "nonsense"}).status_code == 422


def test_hostile_text_is_shown_as_text(desk: Any, scenes: Any) -> None:
    labels = {"alertname": HOSTILE, "platform": "crypto", HOSTILE: HOSTILE, "items": "x", "keys": "y"}
    verdict = {
        "confirmed": True,
        "cause": HOSTILE,
        "confidence": 1,
        "causes": [{"key": HOSTILE, "likelihood": 1, "because": HOSTILE, "evidence": [HOSTILE]}],
        "unseen": [HOSTILE],
        "summary": HOSTILE,
    }
    scene = scenes.make(title=HOSTILE, labels=labels, verdict=verdict)
    visitor = desk.signed_in("lena")
    key = desk.form_key(visitor.get("/"))
    noted = visitor.post(f"/incidents/{scene.incident}/note", data={"form_key": key, "text": HOSTILE})
    assert f"Note: {HOSTILE}" in desk.visible(noted)
    for path in ("/", f"/incidents/{scene.incident}", f"/incidents/{scene.incident}?part=true"):
        page = visitor.get(path)
        soup = desk.parsed(page)
        assert page.status_code == 200
        assert HOSTILE in desk.visible(page)
        assert all(str(tag.get("src", "")).startswith("/static/") for tag in soup.find_all("script"))
        assert all(str(tag["src"]).startswith("/static/") for tag in soup.find_all("img"))
        attributes = [name for tag in soup.find_all(True) for name in tag.attrs]
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        addresses = [
            str(tag[name]) for tag in soup.find_all(True) for name in ("href", "src", "action") if name in tag.attrs
        ]
        assert not [address for address in addresses if not address.startswith(("/", "#"))]


def test_every_answer_carries_the_headers(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("vera")
    paths = [
        "/",
        f"/incidents/{scene.incident}",
        "/incidents/INC-1999-000001",
        "/static/console.css",
        "/static/nothing",
    ]
    for path in paths:
        headers = visitor.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert visitor.get("/").headers["cache-control"] == "no-store"


def test_unknown_incident_is_not_found(desk: Any) -> None:
    answer = desk.signed_in("vera").get("/incidents/INC-1999-000001")
    assert answer.status_code == 404
    assert "there is no incident INC-1999-000001" in desk.visible(answer)


def test_notebook_is_framed_and_harmless(desk: Any, scenes: Any, scene: Any) -> None:
    scenes.write_notebook(scene.incident, [f"# Finding\n\n{HOSTILE}\n\n<b onclick='x()'>bold</b>"])
    visitor = desk.signed_in("vera")
    frame = desk.parsed(visitor.get(f"/incidents/{scene.incident}")).find("iframe")
    assert frame.get_attribute_list("sandbox") in ([], [""])
    assert frame["src"] == f"/incidents/{scene.incident}/runs/1/notebook.html"
    told = desk.parsed(visitor.get(f"/incidents/{scene.incident}")).select_one("#fold-investigate pre")
    assert told is not None
    assert told.text == f"runbook lab --investigate {scene.incident}"
    page = visitor.get(frame["src"])
    assert "Finding" in desk.visible(page)
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert not desk.parsed(page).find_all("script")
    assert not [tag for tag in desk.parsed(page).find_all(True) for name in tag.attrs if name.startswith("on")]


def test_final_page_of_the_record_is_served_once_the_run_is_over(desk: Any, scene: Any) -> None:
    with store.connect(desk.settings, role="reader") as connection:
        row = connection.execute("SELECT folder FROM incidents").fetchone()
    (desk.settings.home / row["folder"] / "01-var-breach.html").write_text("<p>as sealed</p>")
    answer = desk.signed_in("vera").get(f"/incidents/{scene.incident}/runs/1/notebook.html")
    assert answer.text == "<p>as sealed</p>"
    assert desk.signed_in("vera").get(f"/incidents/{scene.incident}/runs/2/notebook.html").status_code == 404


@pytest.mark.parametrize("name", ["01-var-breach.html", "01-var-breach.ipynb"])
def test_a_notebook_that_was_altered_is_not_shown_as_the_record(desk: Any, scene: Any, name: str) -> None:
    visitor, page = desk.signed_in("vera"), f"/incidents/{scene.incident}/runs/1/notebook.html"
    with store.transaction(desk.settings) as connection:
        row = connection.execute("SELECT folder FROM incidents").fetchone()
        path = desk.settings.home / row["folder"] / name
        if path.suffix == ".html":
            path.write_text("<p>VaR is 2.3 %</p>")
        body = {"run": scene.run, "path": name, "sha256": file_digest(path)}
        journal.append(connection, scene.incident, "file", body, actor="worker")
    assert "ALTERED" not in desk.visible(visitor.get(page))
    path.write_bytes(path.read_bytes().replace(b"VaR", b"vaR"))
    text = desk.visible(visitor.get(page))
    assert f"ALTERED : {name} is not as the journal says" in text
    assert "vaR" not in text


def test_evidence_is_shown_and_an_altered_file_is_named(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("vera")
    text = desk.visible(visitor.get(f"/incidents/{scene.incident}/evidence/E001"))
    assert "as the journal says" in text
    assert '"kelly_fraction": 0.25' in text
    with store.connect(desk.settings, role="reader") as connection:
        row = connection.execute("SELECT folder FROM incidents").fetchone()
    file = desk.settings.home / row["folder"] / "evidence" / "E001-http-json.json"
    file.write_text(json.dumps({"result": "forged"}))
    assert "ALTERED" in desk.visible(visitor.get(f"/incidents/{scene.incident}/evidence/E001"))


def test_files_are_given_away_not_opened(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("vera")
    answer = visitor.get(f"/incidents/{scene.incident}/files/01-var-breach.ipynb")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.content)["nbformat"] == 4


@pytest.mark.parametrize(
    "name",
    ["../../.state/keys/redaction", "..%2f..%2f.state%2fkeys%2fredaction", "/etc/passwd", "link", "evidence", ".h"],
)
def test_no_way_out_of_the_record(desk: Any, scene: Any, name: str) -> None:
    with store.connect(desk.settings, role="reader") as connection:
        row = connection.execute("SELECT folder FROM incidents").fetchone()
    folder = desk.settings.home / row["folder"]
    (folder / "link").symlink_to("/etc/passwd")
    (folder / ".h").write_text("hidden")
    answer = desk.signed_in("vera").get(f"/incidents/{scene.incident}/files/{name}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_stream_tells_of_a_change(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("lena")
    key = desk.form_key(visitor.get("/"))
    with visitor.stream("GET", f"/incidents/{scene.incident}/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in stream.iter_lines() if line.startswith("data:"))
        first = next(lines)
        desk.signed_in("lena")
        with desk.visitor() as other:
            other.cookies = visitor.cookies
            other.post(f"/incidents/{scene.incident}/acknowledge", data={"form_key": key})
        assert next(lines) != first


@pytest.mark.parametrize("path", ["/incidents/%00", "/incidents/%00/runs/1/notebook.html", "/incidents/%00/files/x"])
def test_address_with_letters_that_cannot_be_stored_is_a_page_that_says_so(desk: Any, path: str) -> None:
    page = desk.signed_in("vera").get(path)
    assert page.status_code == 422
    assert "cannot be stored (NUL" in desk.visible(page)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
