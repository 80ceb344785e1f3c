"""Systems through a real recorder: what was seen in part is said, remembered and on the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib.errors import ProbeError
from opslib.ops import Ops
from opslib.record import evidence
from opslib.settings import Settings
from opslib.store import embedded
from tests.probes.api_server import address, api_server


@pytest.fixture(autouse=True)
def systems(desk: Settings, server: embedded.Server, tmp_path: Path) -> Iterator[None]:
    """The desk has a PostgreSQL whose statistics of others our role may not see, a folder, and a namespace."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "limits.json").write_text('{"var_pct": 2.0, "api_key": "0123456789abcdef"}', "utf-8")
    path = desk.params / "platforms" / "desk.yaml"
    database = server.url("reader", "postgres")
    with api_server({"pods": [], "events": [], "deployments": [], "statefulsets": []}, {}) as url:
        cluster = address(url, tmp_path)
        more = f"  postgres: {database}\n  files: {folder.as_uri()}\n  kubernetes: {cluster}\n"
        path.write_text(f"{path.read_text('utf-8')}{more}", "utf-8")
        yield


@pytest.mark.slow
def test_what_was_seen_in_part(ops: Ops, desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    activity = ops.postgres.activity()
    again = ops.postgres.activity()
    assert "no member of pg_read_all_stats" in activity.attrs["note"]
    assert "Seen in part: postgres.activity: other sessions'" in capsys.readouterr().out
    assert len(ops.unseen) == 1  # said again, remembered once
    assert ops.postgres.server()["read_only"] is True
    names = ops.postgres.sql("SELECT current_setting('application_name') AS name")
    assert names["name"].tolist() == ["runbook INC-2026-000001"]
    [path] = desk.home.glob(f"*/*/evidence/{activity.attrs['evidence']}-*")
    assert "pg_read_all_stats" in evidence.read_head(path.read_bytes(), path.name)["note"]
    assert again.attrs["evidence"] != activity.attrs["evidence"]


def test_changes_that_may_not_be_seen(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(ops.changes.recent()) == 5
    [unseen] = ops.unseen
    assert unseen.startswith("changes.recent: configuration maps, ")
    assert unseen.endswith(": our identity may not do that")
    assert "secrets" not in unseen
    printed = capsys.readouterr().out
    assert f"Seen in part: {unseen}." in printed
    assert "Not looked at: secrets, Helm releases, since its role reads no secrets." in printed


@pytest.mark.slow
def test_files_hold_no_secret_and_lead_nowhere_else(ops: Ops, desk: Settings) -> None:
    limits = ops.files.json("limits.json")
    assert limits["var_pct"] == 2.0
    assert limits["api_key"].startswith("«redacted:")
    with pytest.raises(ProbeError, match="is no path below the folder"):
        ops.files.text("../params/policy.yaml")
    written = b"".join(path.read_bytes() for path in desk.home.rglob("*") if path.is_file())
    assert b"0123456789abcdef" not in written
    assert json.dumps("limits.json").encode() in written
