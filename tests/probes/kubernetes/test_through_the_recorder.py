"""What a notebook gets of a cluster through the recorder: evidence, and only the commands that it declares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib import store
from opslib.errors import ProbeError
from opslib.ops import Ops
from opslib.record.client import running
from opslib.settings import Settings
from tests.probes.kubernetes.world import World

pytestmark = pytest.mark.slow
INCIDENT = "INC-2026-000001"
CONTACT = "{who: somebody, how: a bell, within: 5 minutes}"


@pytest.fixture
def ops(seen: World, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ops]:
    """The `ops` of a run of a playbook that declares one command."""
    params = tmp_path / "params"
    (params / "platforms").mkdir(parents=True)
    (params / "platforms" / "desk.yaml").write_text(
        f"title: Desk\nenvironment: staging\nendpoints:\n  kubernetes: {seen.admin}\n"
    )
    levels = "".join(f"  L{level}: {CONTACT}\n" for level in range(1, 5))
    (params / "contacts.yaml").write_text(f"levels:\n{levels}")
    code = {
        "cell_type": "code",
        "id": "a",
        "metadata": {"tags": ["parameters"]},
        "source": "platform: str\nalert: dict",
    }
    reads = ["changes.recent", "gpu.cards", "kubernetes.pods", "kubernetes.run", "logs.count"]
    about = {"id": "A99", "title": "t", "kind": "alert", "commands": {"disk": ["df", "-P", "{path}"]}, "reads": reads}
    place = tmp_path / "notebooks" / "alerts" / "sick-desk.ipynb"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"cells": [code], "metadata": {"runbook": about}}))
    monkeypatch.setenv("RUNBOOK_PARAMS", str(params))
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path / "notebooks"))
    settings = Settings()
    with store.transaction(settings) as connection:
        connection.execute(
            "INSERT INTO incidents (id, platform, runbook, opened_by, folder) "
            "VALUES (%s, 'desk', 'sick-desk', 'op', %s)",
            (INCIDENT, f"2026-11-20/{INCIDENT}"),
        )
        row = connection.execute(
            "INSERT INTO runs (incident, number, runbook, platform, mode, requested_by, state, parameters) "
            "VALUES (%s, 1, 'sick-desk', 'desk', 'plan', 'op', 'running', '{}') RETURNING id",
            (INCIDENT,),
        ).fetchone()
    assert row is not None
    facts = {"incident": INCIDENT, "platform": "desk", "runbook": "sick-desk", "mode": "plan"}
    with running(settings) as client, client.session(run=int(row["id"]), **facts) as session:
        found = Ops(session.socket_path)
        yield found
        found.close()


def test_frames_come_with_evidence_and_exec_is_held_to_the_declaration(ops: Ops) -> None:
    assert list(ops.context.systems) == ["kubernetes"]
    pods = ops.kubernetes.pods("deployment/crash")
    assert pods.attrs["evidence"]
    assert pods.iloc[0]["last_exit_code"] == 3
    counted = ops.logs.count({"errors": "ERROR"}, selector="app=chatty")
    assert counted.loc["errors", "count"] >= 1
    changes = ops.changes.recent(60)
    assert {"time", "kind", "name", "what", "by"} <= set(changes.columns)
    disk = ops.kubernetes.run("disk", workload="deployment/web", path="/")
    assert disk["exit_code"] == 0
    assert disk.evidence
    with pytest.raises(ProbeError, match=r"declares no command 'id'.*it declares disk"):
        ops.kubernetes.run("id", workload="deployment/web")
    with pytest.raises(ProbeError, match="does not declare that it runs nvidia-smi"):
        ops.gpu.cards("deployment/web")
