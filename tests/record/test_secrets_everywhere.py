"""Two hundred secrets in twenty shapes through every path: none is in any byte that is written."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import io
import json
import random
import re
import zlib
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nbformat import v4
from psycopg import sql

from opslib import intake, store
from opslib.errors import ProbeError
from opslib.probes import Frame
from opslib.record import evidence, journal, redaction
from opslib.record.redaction import Redactor
from opslib.record.stream_redaction import StreamRedactor
from opslib.runs import html
from opslib.runs.outputs import CellOutputs
from opslib.settings import Settings
from tests.intake.bodies import alert, webhook
from tests.record.secrets_of_all_kinds import all_of_them

ALL = all_of_them()
TEXTS = [text for _, text, _ in ALL]
WHOLE = "\n".join(TEXTS)
COLOURED = re.sub(r"[=:]", "\x1b[2m\\g<0>\x1b[0;35m", WHOLE)  # as logs and tracebacks are
NOW = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)


def found_in(data: str | bytes) -> list[str]:
    """The kinds of the secrets that are still there, plain or in base64."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    return sorted({kind for kind, _, secret in ALL if secret in text or coded(secret) in text})


def coded(secret: str) -> str:
    return base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]


def test_there_are_two_hundred_in_twenty_shapes() -> None:
    assert len(ALL) == 200
    assert len({kind for kind, _, _ in ALL}) == 20
    assert len(found_in(WHOLE)) == 20


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in ALL}))
def test_each_is_found_and_counted(kind: str, tmp_path: Path) -> None:
    redact = Redactor(Settings(home=tmp_path))
    for _, text, secret in (one for one in ALL if one[0] == kind):
        before = redact.replaced
        assert secret not in redact(text)
        assert redact.replaced == before + 1
        assert secret not in json.dumps(redact({"a": [text]}))


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_cut_anywhere_lets_none_through(seed: int, tmp_path: Path) -> None:
    rng, redact = random.Random(seed), Redactor(Settings(home=tmp_path), ("two words of one secret",))
    text = f"{WHOLE}\nthen two words of one secret, and the end\n"
    stream, shown, at = StreamRedactor(redact), [], 0
    while at < len(text):
        step = rng.choice((1, 2, 3, 7, 40, 300))
        shown.append(stream.take(text[at : at + step]))
        at += step
    whole = "".join([*shown, stream.end()])
    assert found_in(whole) == []
    assert "two words" not in whole
    assert whole.endswith(", and the end\n")


def test_lines_that_hold_none_are_shown_at_once(tmp_path: Path) -> None:
    stream = StreamRedactor(Redactor(Settings(home=tmp_path)))
    assert stream.take("VaR of BTC-USD: 1.92 %\nnow the pass") == "VaR of BTC-USD: 1.92 %\nnow the "
    assert stream.take("word") == ""
    assert stream.take(" = hunt") == ""
    assert stream.take("er22 was").startswith("password = «redacted:")
    assert stream.end() == "was"
    long = StreamRedactor(str.upper)
    assert long.take("x" * 70_000) == "X" * 70_000  # a word that never ends is not held for ever


def png(text: str) -> str:
    """A picture of one point, with a text beside it in three kinds of chunks and behind its end."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    raw = text.encode()
    parts = [
        chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"),
        chunk(b"tEXt", b"Comment\0" + raw),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(raw)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(raw)),
        chunk(b"IDAT", zlib.compress(b"\0\0")),
        chunk(b"IEND", b""),
    ]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + raw).decode()


def jpeg(text: str) -> str:
    """The frame of a JPEG with a comment and an application's data."""
    raw = text.encode()[:60_000]

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content

    head = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + segment(0xFE, raw) + segment(0xE1, b"Exif\0\0" + raw)
    return base64.b64encode(b"\xff\xd8" + head + b"\xff\xda\0\2picture\xff\xd9" + raw).decode()


def show(outputs: CellOutputs, kind: str, **content: Any) -> None:
    outputs.take({"header": {"msg_type": kind}, "msg_type": kind, "content": content})


def cell_with_everything(redact: Any, side: Path) -> tuple[Any, list[str]]:
    """A cell that printed, showed and failed with every secret; and what was told of it while it ran."""
    cell, told = v4.new_code_cell("1", id="one"), []
    outputs = CellOutputs(cell, side, tell=told.append, redact=redact, limit=60_000)
    for at in range(0, len(WHOLE), 11):
        show(outputs, "stream", name="stdout" if at % 2 else "stderr", text=WHOLE[at : at + 11])
    for at in range(0, len(WHOLE), 37):
        show(outputs, "stream", name="stdout", text=WHOLE[at : at + 37])
    data = {"text/plain": WHOLE, "text/html": f"<pre>{WHOLE}</pre>", "application/json": {"texts": TEXTS}}
    pictures = {"image/png": png(WHOLE), "image/jpeg": jpeg(WHOLE), "image/svg+xml": f"<svg><!--{WHOLE}--></svg>"}
    other = {"image/gif": base64.b64encode(b"GIF89a" + WHOLE.encode()).decode()}
    for shown in (data, pictures, other):
        show(outputs, "display_data", data=shown, metadata={"note": WHOLE}, transient={"display_id": "d"})
    show(outputs, "update_display_data", data=data, metadata={}, transient={"display_id": "d"})
    show(outputs, "error", ename="ValueError", evalue=WHOLE, traceback=WHOLE.splitlines())
    show(outputs, "error", ename="ValueError", evalue="", traceback=[COLOURED])
    for at in range(0, len(COLOURED), 13):
        show(outputs, "stream", name="stderr", text=COLOURED[at : at + 13])
    outputs.close()
    return cell, told


@pytest.mark.slow
def test_cells_their_pictures_the_page_and_the_side_file(tmp_path: Path) -> None:
    redact, side = Redactor(Settings(home=tmp_path)), tmp_path / "side.gz"
    cell, told = cell_with_everything(redact, side)
    book = v4.new_notebook(cells=[cell], metadata={"runbook": {"name": "x", "title": "X"}})
    assert found_in(nbformat.writes(book)) == []
    assert found_in("".join(told)) == []
    assert found_in(html.render(book)) == []
    assert found_in(gzip.decompress(side.read_bytes())) == []
    pictures = {
        name: base64.b64decode(data)
        for output in cell.outputs
        for name, data in output.get("data", {}).items()
        if name in ("image/png", "image/jpeg")
    }
    assert found_in(b"".join(pictures.values())) == []
    assert pictures["image/png"].startswith(b"\x89PNG")  # still pictures
    assert b"IDAT" in pictures["image/png"]
    assert b"picture\xff\xd9" in pictures["image/jpeg"]
    assert redact.replaced > 1000


@pytest.mark.slow
def test_evidence_of_every_kind(tmp_path: Path) -> None:
    redact = Redactor(Settings(home=tmp_path))
    nested = pa.array([[{"a": text}] for text in TEXTS])
    table = pa.table(
        {
            "text": TEXTS,
            "coded": pa.array(TEXTS).dictionary_encode(),
            "bytes": [text.encode() for text in TEXTS],
            "nested": nested,
            WHOLE[:60]: [1] * len(TEXTS),
        }
    )
    named = pa.table({"field": ["requirepass", "password", "port"], "value": ["opaque words", "x1", "6379"]})
    outcomes = [Frame(table, note=WHOLE), Frame(named), {"a": TEXTS, WHOLE: 1}, ProbeError(WHOLE), WHOLE]
    for number, outcome in enumerate(outcomes):
        arguments = redact({"sql": WHOLE})
        call = evidence.Call("INC-2026-000001", 1, "desk.look", arguments, number, NOW, 1.0)
        seen = evidence.write(tmp_path, call, outcome, redact)
        assert found_in(json.dumps(seen.entry, default=str)) == []
        assert found_in(repr(seen.result)) == []
    for path in (tmp_path / "evidence").iterdir():
        assert found_in(path.read_bytes()) == []
        if path.suffix == ".parquet":
            read = pq.read_table(io.BytesIO(path.read_bytes()))
            assert found_in(repr(read.to_pydict()) + repr(read.schema)) == []
            if "value" in read.column_names:
                assert read.column("value").to_pylist()[1].startswith("«redacted:")
                assert read.column("value").to_pylist()[2] == "6379"


@pytest.mark.slow
def test_alert_journal_run_and_store(settings: Settings) -> None:
    for number, (_, text, _) in enumerate(ALL[::5]):
        body = webhook(alert(f"S{number}", annotations={"summary": text}), commonAnnotations={"note": text})
        intake.accept(settings, body, sender="intake", endpoint="v1", now=NOW)
    intake.accept(settings, b'{"version": "4", "broken": ' + WHOLE.encode(), sender="intake", endpoint="v1", now=NOW)
    with store.transaction(settings) as connection:
        incident = connection.execute("SELECT id FROM incidents ORDER BY id LIMIT 1").fetchone()["id"]
        journal.append(connection, incident, "note", {"text": WHOLE, "list": TEXTS}, actor=TEXTS[0], settings=settings)
        journal.export(connection, settings, incident)
    journal.record(settings, incident, "note", {"text": WHOLE}, actor="somebody")
    with store.transaction(settings) as connection:
        names = [row["n"] for row in connection.execute(
            "SELECT c.relname AS n FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND s.nspname = 'public'")]  # fmt: skip
        for name in names:
            rows = connection.execute(
                sql.SQL("SELECT t::text AS row FROM {} t").format(sql.Identifier(name))
            ).fetchall()
            assert found_in("\n".join(row["row"] for row in rows)) == [], name
    for path in settings.home.rglob("*"):
        if path.is_file():
            assert found_in(path.read_bytes()) == [], path


def test_known_secrets_are_found_in_every_look(tmp_path: Path) -> None:
    secret = 'kno\\wn "value" & more/4711'
    redaction.learn(secret)
    redact = Redactor(Settings(home=tmp_path))
    looks = [
        secret,
        json.dumps({"x": secret}),
        f"https://h/?q={'kno%5Cwn%20%22value%22%20%26%20more%2F4711'}",
        "<b>kno\\wn &quot;value&quot; &amp; more/4711</b>",
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(b"desk:" + secret.encode() + b":x").decode(),
    ]
    for look in looks:
        done = redact(look)
        assert "«redacted:" in done, look
        assert "4711" not in done, look
