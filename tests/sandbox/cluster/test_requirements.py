"""A machine that cannot run a cluster says what it lacks; a build that fails says which step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib.settings import PROJECT
from sandbox.cluster import packages, requirements
from sandbox.cluster.build import Built, build, built, cache
from sandbox.cluster.steps import Steps
from sandbox.errors import BuildFailed


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def as_nobody(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as a user without rights."""
    become = "import os, sys; os.getuid() == 0 and (os.setgid(65534), os.setuid(65534)); "
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "RUNBOOK_HOME": str(home / "runbooks")}
    environment |= {"PYTHONPATH": str(PROJECT), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home)}
    # what is needed is loaded first: the interpreter may lie where only root may look
    loaded = "from sandbox import cluster; from opslib.settings import Settings; from opslib.errors import *; "
    return subprocess.run(
        [sys.executable, "-c", loaded + become + code], env=environment, capture_output=True, text=True, check=False
    )


def test_without_root_it_says_so_and_what_else_can_be_done(open_folder: Path) -> None:
    told = as_nobody("import json; print(json.dumps(cluster.missing()))", open_folder)
    assert any("it needs root" in line for line in json.loads(told.stdout)), told.stderr
    tried = as_nobody("\ntry: cluster.up(Settings())\nexcept RunbookError as problem: print(problem)", open_folder)
    assert "it needs root, to make namespaces and control groups" in tried.stdout
    assert "Use a cluster of yours with --kubeconfig and --context; the platform `crypto` needs none" in tried.stdout
    assert "Traceback" not in tried.stderr


def test_down_without_root_and_without_a_cluster_is_harmless(open_folder: Path) -> None:
    assert as_nobody("print(cluster.down(Settings()))", open_folder).stdout == "False\n"


def test_another_system_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    release = tmp_path / "os-release"
    release.write_text("ID=fedora\nVERSION_ID=40\n", "utf-8")
    monkeypatch.setattr(requirements, "_RELEASE", release)
    assert built() is None
    assert any(
        "from the packages of Debian 12 (bookworm), and this system is another" in x for x in requirements.missing()
    )


def test_the_cache_is_where_the_user_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / "runbooks"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache() == tmp_path / ".cache" / "runbooks"
    assert Built(tmp_path).programs.startswith(f"{tmp_path}/bin:")


def test_a_step_that_fails_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    said: list[str] = []
    steps = Steps(tmp_path, tmp_path / "build.log", said.append)
    steps.run("counting", ["sh", "-c", "echo one; echo two"], folder=tmp_path)
    with pytest.raises(BuildFailed, match=r"fetching did not work; the end of .*build\.log says:\nno route to host"):
        steps.run("fetching", ["sh", "-c", "echo no route to host >&2; exit 100"], folder=tmp_path)
    with pytest.raises(BuildFailed, match="this machine has no program no-such-program"):
        steps.run("compiling", ["no-such-program"], folder=tmp_path)
    with pytest.raises(BuildFailed, match="sleeping took longer than 0 s"):
        steps.run("sleeping", ["sleep", "60"], folder=tmp_path, limit_s=0.1)
    assert said[0].endswith("counting")


def test_source_packages_are_asked_for_beside_the_others() -> None:
    given = (
        "# main\ndeb https://mirror.example/debian bookworm main\ndeb-src https://mirror.example/old bookworm main\n"
    )
    assert packages.with_sources(given).splitlines() == [
        "# main",
        "deb https://mirror.example/debian bookworm main",
        "deb-src https://mirror.example/debian bookworm main",
    ]


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt here")
def test_a_build_that_apt_fails_says_so_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "_APT", tmp_path)  # a machine without package sources
    dead = cache() / "kubernetes-1.2.3-1.partial" / "work"
    dead.mkdir(parents=True)
    with pytest.raises(BuildFailed, match=r"downloading \d+ packages did not work; [\s\S]*Unable to locate package"):
        build(lambda _: None)
    assert built() is None
    assert {path.name for path in cache().iterdir()} == {"build.log", "kubernetes.lock"}


def test_a_cluster_of_ones_own_is_never_guessed(tmp_path: Path) -> None:
    for given in (["--context", "staging"], ["--kubeconfig", "/dev/null"]):
        done = subprocess.run(
            [Path(sys.executable).with_name("runbook"), "sandbox", "up", "derivatives", *given],
            env={**os.environ, "RUNBOOK_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "--kubeconfig and --context go together" in done.stderr
