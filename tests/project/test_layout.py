"""The shape of the project: import directions, one set of packages, notebooks in order, docs that tell the truth."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "opslib": {"opslib"},
    "engine": {"engine"},
    "sandbox": {"sandbox", "opslib", "engine"},
    "bench": {"bench", "opslib", "engine"},
}
OURS = {"opslib", "engine", "sandbox", "bench", "notebooks", "tests"}
MOST_LINES = 400  # of a module, a test's too
NOTEBOOKS = sorted(PROJECT.glob("notebooks/**/*.ipynb"))


def imported(tree: ast.AST) -> set[str]:
    """Top-level packages that a module imports, wherever in the module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str) -> None:
    files = sorted((PROJECT / package).rglob("*.py"))
    assert files
    for file in files:
        wrong = (imported(ast.parse(file.read_text("utf-8"))) & OURS) - MAY_IMPORT[package]
        assert not wrong, f"{file.relative_to(PROJECT)} imports {wrong}"


def test_no_module_is_long() -> None:
    files = [file for package in OURS for file in (PROJECT / package).rglob("*.py")]
    assert {file.relative_to(PROJECT).parts[0] for file in files} == {*MAY_IMPORT, "tests"}
    lines = {str(file.relative_to(PROJECT)): len(file.read_text("utf-8").splitlines()) for file in files}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_only_opslib_and_engine_of_ours(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert imported(ast.parse(source)) & OURS <= {"opslib", "engine"}


def normal(name: str) -> str:
    """One spelling of a package's name in conda and in pip."""
    name = re.split(r"[\[<>=;!~ ]", name)[0].lower().replace("_", "-")
    names = {"python-kubernetes": "kubernetes", "redis-py": "redis", "python-tzdata": "tzdata", "cupy-cuda12x": "cupy"}
    return names.get(name, name)


def test_conda_and_pip_install_the_same_set() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {normal(item) for item in [*project["dependencies"], *extras["gpu"], *extras["dev"]]}
    dependencies = yaml.safe_load((PROJECT / "environment.yml").read_text("utf-8"))["dependencies"]
    pip = next(item["pip"] for item in dependencies if isinstance(item, dict))
    there = {normal(item) for item in [*pip, *(item for item in dependencies if isinstance(item, str))]}
    assert there - {"python", "pip", "psycopg-pool", "tinycss2"} == wanted


def test_the_customers_packages_are_there() -> None:
    given = {"jupyterlab", "papermill", "nbclient", "kubernetes", "redis", "psycopg"}
    given |= {"pandas", "matplotlib", "cupy", "numba", "pytest", "nbval"}
    dependencies = yaml.safe_load((PROJECT / "environment.yml").read_text("utf-8"))["dependencies"]
    assert given <= {normal(item) for item in dependencies if isinstance(item, str)}


def test_every_locked_package_has_hashes_and_no_address() -> None:
    text = (PROJECT / "requirements.lock").read_text("utf-8")
    packages = [block for block in re.split(r"\n(?=\S)", text) if block.strip()]
    assert len(packages) > 100
    assert all("--hash=sha256:" in block for block in packages)
    assert "://" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    """What every runbook looks like."""

    def test_it_is_clean(self, path: Path) -> None:
        notebook = json.loads(path.read_text("utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                assert cell["execution_count"] is None
        identifiers = [cell["id"] for cell in notebook["cells"]]
        assert len(set(identifiers)) == len(identifiers)

    def test_it_is_laid_out_for_a_tired_reader(self, path: Path) -> None:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        assert 10 <= len(cells) <= 25
        first = "".join(cells[0]["source"])
        assert first.startswith("# ")
        for word in ("**Alert**", "**Meaning**", "**Impact**", "**What buys time**", "**Whom to call**"):
            assert word in first
        assert cells[1]["metadata"]["tags"] == ["parameters"]
        headings = re.findall(r"^## (.+)$", "\n".join("".join(cell["source"]) for cell in cells), re.MULTILINE)
        assert headings == ["Is it real?", "Diagnosis", "Verdict", "Mitigation", "Next"]

    def test_it_compares_what_the_alert_names_with_what_it_examines(self, path: Path) -> None:
        notebook = json.loads(path.read_text("utf-8"))
        code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        about = [call for call in calls if ast.unparse(call.func) == "case.about"]
        compared = {word.arg for call in about for word in call.keywords}
        read = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
        assert set(notebook["metadata"]["runbook"]["target"]) <= compared | read

    def test_no_section_is_empty_and_no_cell_is_long(self, path: Path) -> None:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        for cell, following in zip(cells, [*cells[1:], None], strict=True):
            source = "".join(cell["source"])
            if cell["cell_type"] == "code":
                assert 1 <= len(source.splitlines()) <= 14, source
            elif len(source.splitlines()) == 1:
                assert following is not None
                assert following["cell_type"] == "code", f"empty section: {source}"


def test_the_python_is_one_that_is_tested() -> None:
    assert sys.version_info[:2] in ((3, 11), (3, 12))
