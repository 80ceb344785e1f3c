"""The file probes, on a real folder: what can be read, what never is, and what is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "autotrader"
    (place / "config").mkdir(parents=True)
    (place / "models" / "registry").mkdir(parents=True)
    (place / "config" / "trading_config.json").write_text('{"max_position_pct": 0.02}', "utf-8")
    (place / "models" / "registry" / "v7.json").write_text('{"version": 7}', "utf-8")
    (place / "models" / "active.json").symlink_to("registry/v7.json")
    (tmp_path / "outside.txt").write_text("not yours", "utf-8")
    (place / "link.txt").symlink_to(tmp_path / "outside.txt")
    (place / "way-out").symlink_to(tmp_path)
    return place


@pytest.fixture
def target(folder: Path) -> Target:
    return Target("files", folder.as_uri())


def test_text_json_and_links_inside(target: Target) -> None:
    assert probes.call("files.json", target, {"path": "config/trading_config.json"}) == {"max_position_pct": 0.02}
    assert probes.call("files.json", target, {"path": "models/active.json"}) == {"version": 7}
    assert probes.call("files.text", target, {"path": "config/./trading_config.json"}).startswith("{")


@pytest.mark.parametrize(
    "path",
    ["../outside.txt", "config/../../outside.txt", "/etc/passwd", "link.txt", "way-out/outside.txt", "", "a\0b"],
)
def test_no_path_leads_out(target: Target, path: str) -> None:
    for name in ("text", "json", "tail", "lines", "stat"):
        with pytest.raises(ProbeError, match=r"is no path below the folder|leads out of the folder; not followed"):
            probes.call(f"files.{name}", target, {"path": path})


def test_lists_follow_no_link_out(target: Target) -> None:
    with pytest.raises(ProbeError, match="leads out of the folder"):
        probes.call("files.list", target, {"folder": "way-out"})
    listed = probes.call("files.list", target, {"deep": True}).table.to_pylist()
    kinds = {row["path"]: row["kind"] for row in listed}
    assert kinds["config/trading_config.json"] == "file"
    assert kinds["way-out"] == "other"
    assert not any(path.startswith("way-out/") for path in kinds)
    found = probes.call("files.list", target, {"folder": "config", "pattern": "*.json"}).table.to_pylist()
    assert [row["path"] for row in found] == ["config/trading_config.json"]


def test_tail_reads_the_end_of_a_file_of_any_length(folder: Path, target: Target) -> None:
    (folder / "trades.log").write_text("".join(f"line {number}\n" for number in range(900_000)), "utf-8")
    tail = probes.call("files.tail", target, {"path": "trades.log", "lines": 3})
    assert tail == "line 899997\nline 899998\nline 899999\n"
    with pytest.raises(ProbeError, match="at most 8,388,608 are read"):
        probes.call("files.text", target, {"path": "trades.log"})
    (folder / "one.log").write_text("a\nb\nc", "utf-8")
    assert probes.call("files.tail", target, {"path": "one.log", "lines": 10}) == "a\nb\nc"
    assert probes.call("files.tail", target, {"path": "one.log", "lines": 2}) == "b\nc"


def test_json_lines_are_a_table(folder: Path, target: Target) -> None:
    rows = [{"id": 1, "slippage": 2, "ok": True}, {"id": 2, "slippage": 1.5, "fill": {"px": 1}}, {"id": None}]
    text = "\n".join(map(json.dumps, rows)) + "\nbroken {\n"
    (folder / "trades.jsonl").write_text(text, "utf-8")
    answer = probes.call("files.lines", target, {"path": "trades.jsonl"})
    assert answer.table.to_pydict() == {
        "id": [1.0, 2.0, None],
        "slippage": [2.0, 1.5, None],
        "ok": [True, None, None],
        "fill": [None, '{"px": 1}', None],
    }
    assert answer.note == "1 lines of trades.jsonl are no JSON objects"
    with pytest.raises(ProbeError, match="is no JSON"):
        probes.call("files.json", target, {"path": "trades.jsonl"})


def test_stat_tells_age_and_absence(folder: Path, target: Target) -> None:
    os.utime(folder / "config" / "trading_config.json", (0, 1_000_000_000))
    seen = probes.call("files.stat", target, {"path": "config/trading_config.json"})
    assert (seen["exists"], seen["size"], seen["changed_at"].year) == (True, 26, 2001)
    assert seen["age_s"] > 7e8
    assert probes.call("files.stat", target, {"path": "KILL_SWITCH"})["exists"] is False


def test_what_is_no_file_is_said(folder: Path, target: Target) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ProbeError, match="pipe is no ordinary file"):
        probes.call("files.text", target, {"path": "pipe"})
    with pytest.raises(ProbeError, match="config is no ordinary file"):
        probes.call("files.text", target, {"path": "config"})
    with pytest.raises(ProbeError, match=r"nothing\.txt: is not there"):
        probes.call("files.text", target, {"path": "nothing.txt"})
    with pytest.raises(ProbeError, match="must be file:///path/to/it"):
        probes.call("files.text", Target("files", "file://elsewhere/x"), {"path": "a"})
