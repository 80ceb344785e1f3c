"""Warm kernels for everybody: papermill's own command and API, nbclient; plainly started ones, and that told, else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from opslib.runs import leases
from opslib.settings import Settings
from tests.runs import support
from tests.runs.support import wait_for

pytestmark = pytest.mark.slow

WARM = "import sys\nprint('pandas' in sys.modules)"
DRAW = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
PLAIN = "plain: no nursery runs"


@pytest.fixture(scope="module")
def warm_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with a nursery."""
    settings = Settings(home=tmp_path_factory.mktemp("peers"), notebooks=tmp_path_factory.mktemp("notebooks"))
    with support.nursery(settings):
        yield settings


@pytest.fixture
def cold_home(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "cold")
    settings.make_home()
    return settings


def book(path: Path) -> Path:
    """A notebook that is for the kernel "Runbook"."""
    spec = {"name": "runbook", "language": "python", "display_name": "Runbook"}
    cells = [v4.new_code_cell("x = 6", metadata={"tags": ["parameters"]}), v4.new_code_cell(WARM)]
    cells += [v4.new_code_cell(DRAW), v4.new_code_cell("print(x * 7)")]
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


def ran(settings: Settings, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RUNBOOK_HOME": str(settings.home)}
    done = subprocess.run(
        [sys.executable, *words], env=environment, cwd=folder, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def shown(path: Path) -> list[str]:
    """Was pandas there, was there a picture, and the answer."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if "injected" not in str(cell.metadata)]
    picture = "image/png" in str([output.get("data", {}).keys() for output in cells[2].outputs])
    return [cells[1].outputs[0].text.strip(), str(picture), cells[3].outputs[0].text.strip()]


def taken(settings: Settings) -> int:
    return int(json.loads((settings.runtime / leases.STATUS).read_text("ascii"))["taken"])


COMMAND = ("-m", "papermill", "--no-progress-bar", "-p", "x", "2", "in.ipynb", "out.ipynb")
API = (
    "import papermill, logging; logging.basicConfig(level='INFO'); "
    "papermill.execute_notebook('in.ipynb', 'out.ipynb', {'x': 2}, progress_bar=False, engine_name='runbook')"
)
NBCLIENT = (
    "import nbformat, nbclient; book = nbformat.read('in.ipynb', as_version=4); book.cells[0].source = 'x = 2'; "
    "nbclient.NotebookClient(book, timeout=120).execute(); nbformat.write(book, 'out.ipynb')"
)


@pytest.mark.parametrize(
    "words",
    [(*COMMAND, "--engine", "runbook"), ("-c", API), COMMAND, ("-c", NBCLIENT)],
    ids=["papermill --engine runbook", "papermill's API", "papermill's own engine", "nbclient"],
)
def test_whoever_executes_it_gets_a_warm_kernel(warm_home: Settings, tmp_path: Path, words: tuple[str, ...]) -> None:
    book(tmp_path / "in.ipynb")
    wait_for(lambda: support.warm(warm_home))
    before = taken(warm_home)
    ran(warm_home, tmp_path, *words)
    assert shown(tmp_path / "out.ipynb") == ["True", "True", "14"]
    wait_for(lambda: taken(warm_home) == before + 1)
    if "runbook" in words or words[1] == API:
        assert nbformat.read(tmp_path / "out.ipynb", as_version=4).metadata.run.kernel == "warm"


def test_without_a_nursery_our_engine_starts_one_plainly_and_says_so(cold_home: Settings, tmp_path: Path) -> None:
    book(tmp_path / "in.ipynb")
    done = ran(cold_home, tmp_path, *COMMAND, "--engine", "runbook")
    assert f"Kernel: {PLAIN}" in done.stderr
    assert shown(tmp_path / "out.ipynb") == ["False", "True", "14"]
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).metadata.run.kernel == PLAIN


def test_without_a_nursery_nbclient_gets_a_plain_one_and_that_is_said(cold_home: Settings, tmp_path: Path) -> None:
    book(tmp_path / "in.ipynb")
    done = ran(cold_home, tmp_path, "-c", NBCLIENT)
    assert f"kernel: {PLAIN}" in done.stderr
    assert shown(tmp_path / "out.ipynb") == ["False", "True", "14"]
    assert not list(cold_home.runtime.glob("kernel-*"))
