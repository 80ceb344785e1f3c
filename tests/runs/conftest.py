"""Fixtures of the runs: tiny notebooks, one behaviour each, and a platform without systems."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from opslib import store
from opslib.record import client
from opslib.runs import queue
from opslib.settings import Settings

NOTEBOOKS = Path(__file__).parent / "notebooks"


@pytest.fixture(scope="session", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Kernels of all tests share what matplotlib caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        patch.setenv("RUNBOOK_WARM_KERNELS", "0")  # the tests of warm kernels have a nursery of their own
        yield


@pytest.fixture(scope="package")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One home for all runs, with PostgreSQL, recorder and signer as under `runbook serve`."""
    settings = _settings(tmp_path_factory.mktemp("runs"))
    store.ensure(settings)
    servers = [
        subprocess.Popen([sys.executable, "-m", f"opslib.record.{name}"], env=client.environment(settings), cwd="/")
        for name in ("recorder", "signer")
    ]
    yield settings
    for server in servers:
        server.terminate()
    for server in servers:
        server.wait(30)
    store.stop(settings)


@pytest.fixture
def runs(_home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings whose runbooks are the tiny ones and whose one platform, `test`, has no systems.

    What waits at a test's end is cancelled, so that no worker of the next test takes it.
    """
    for name in ("home", "params", "notebooks"):
        monkeypatch.setenv(f"RUNBOOK_{name.upper()}", str(getattr(_home, name)))
    yield _home
    with store.transaction(_home) as connection:
        rows = connection.execute("SELECT DISTINCT incident FROM runs WHERE state = 'waiting' ORDER BY 1").fetchall()
        for row in rows:
            queue.cancel(connection, row["incident"], "test")


@pytest.fixture
def offline(tmp_path: Path) -> Settings:
    """The same, of the test's own, without a store."""
    settings = _settings(tmp_path)
    settings.make_home()
    return settings


def _settings(tmp_path: Path) -> Settings:
    params = tmp_path / "params"
    (params / "platforms").mkdir(parents=True)
    project = Path(__file__).parents[2] / "params"
    for name in ("contacts.yaml", "policy.yaml", "routes.yaml"):
        shutil.copy(project / name, params / name)
    (params / "platforms" / "test.yaml").write_text(
        "title: Test\nenvironment: staging\nendpoints:\n  api: http://127.0.0.1:1\nsymbols: [A, B]\n"
    )
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks" / "alerts")
    return Settings(home=tmp_path / "home", params=params, notebooks=tmp_path / "notebooks")


@pytest.fixture
def notebook(runs: Settings) -> Callable[..., str]:
    """Makes a runbook of the given cells; returns its name."""

    def make(name: str, *cells: str, **facts: Any) -> str:
        write_runbook(runs.notebooks / "alerts" / f"{name}.ipynb", *cells, **facts)
        return name

    return make


def write_runbook(path: Path, *cells: str, **facts: Any) -> None:
    """A runbook with the parameters that every one has, and these code cells."""
    parameters = 'platform: str = "test"\nalert: dict = {}\n' + facts.pop("parameters", "")
    node = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Test", id="title"),
            nbformat.v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}),
            *(nbformat.v4.new_code_cell(source, id=f"cell-{index}") for index, source in enumerate(cells)),
        ],
        metadata={
            "kernelspec": {"name": "runbook", "language": "python", "display_name": "Runbook"},
            "runbook": {"id": "T01", "title": "Test", "kind": "alert", "cell_timeout_s": 20, **facts},
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(node, path)
