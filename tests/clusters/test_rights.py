"""The least rights of a runbook on a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from opslib.actions.catalogue import ACTIONS
from opslib.clusters import rights
from opslib.errors import ConfigurationError
from opslib.runs import catalogue

PARAMETERS = 'platform: str = "crypto"\nalert: dict = {}'


def notebook(path: Path, code: str, **declared: Any) -> catalogue.Runbook:
    """A runbook of two cells."""
    cells = [
        {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": PARAMETERS},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": code},
    ]
    about = {"id": "A99", "title": "t", "kind": "alert", **declared}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": {"runbook": about}}), "utf-8")
    return catalogue.read(path)


@pytest.mark.parametrize(
    "words", [["sh", "-c", "id"], ["/bin/bash"], ["env", "x"], [], ["{program}"], ["df", ""], ["busybox", "df"]]
)
def test_a_command_that_runs_others_cannot_be_declared(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"metadata\.runbook\.commands"):
        notebook(tmp_path / "alerts" / "one.ipynb", "1", commands={"x": words})


def test_every_action_on_a_cluster_has_its_rights_declared() -> None:
    ours = {name for name in ACTIONS if name.startswith(("helm.", "kubernetes."))}
    assert ours == set(rights.CHANGES) == set(rights.OBSERVES)


def test_the_recorder_may_never_change_anything() -> None:
    wanted = rights.of_recorder(rights.READS, rights.CHANGES)
    verbs = {(verb, resource) for right in wanted for verb in right.verbs for resource in right.resources}
    assert {(verb, resource) for verb, resource in verbs if verb not in ("get", "list")} == {("create", "pods/exec")}


def test_scaling_needs_the_scale_alone() -> None:
    [role, _] = rights.roles("r", "desk", "applier", rights.CHANGES["kubernetes.scale"])
    assert role["rules"] == [
        {"apiGroups": ["apps"], "resources": ["deployments/scale", "statefulsets/scale"], "verbs": ["patch"]}
    ]


def test_the_command_prints_the_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook(tmp_path / "alerts" / "one.ipynb", "ops.kubernetes.nodes()", reads=["kubernetes.nodes"])
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path))
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    runbook = str(Path(sys.executable).with_name("runbook"))
    done = subprocess.run([runbook, "rbac", "one", "--namespace", "desk"], capture_output=True, text=True, check=True)
    documents = list(yaml.safe_load_all(done.stdout))
    assert [document["kind"] for document in documents] == ["ClusterRole", "ClusterRoleBinding"]
    assert documents[0]["rules"] == [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list"]}]
    notebook(tmp_path / "alerts" / "one.ipynb", "ops.kubernetes.pods()")
    done = subprocess.run([runbook, "rbac", "one"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "it reads kubernetes.pods: add it" in done.stderr
