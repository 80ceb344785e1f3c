"""One cluster for the tests of a worker, and a home in which none runs yet."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opslib.settings import Settings
from sandbox import cluster as clusters
from sandbox.cluster import Cluster, capsule


def until(seen: Callable[[], object], within_s: float = 120.0) -> object:
    """What `seen` returns, once it is true."""
    deadline = time.monotonic() + within_s
    while not (found := seen()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def traces(settings: Settings) -> list[str]:
    """What is left of the cluster of a home: processes, control groups, mounts."""
    name, state = capsule.group(settings), str(settings.state / "sandbox" / "cluster")
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            groups = (folder / "cgroup").read_text()
        except OSError:
            continue
        if int(folder.name) != os.getpid() and (f"GROUP={name}".encode() in told or f"/{name}" in groups):
            left.append(f"process {folder.name}: {(folder / 'cmdline').read_bytes()[:200]!r}")
    left += [f"control group {path}" for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]
    left += [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if state in line]
    return left


@pytest.fixture(scope="session")
def able() -> None:
    """Skip where the machine cannot run a cluster."""
    lacking = clusters.missing()
    if lacking:
        pytest.skip(f"no cluster can run here: {'; '.join(lacking)}")


@pytest.fixture
def home(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home in which no cluster runs; whatever a test leaves is ended."""
    settings = Settings(home=tmp_path_factory.mktemp("cluster") / "home")
    yield settings
    clusters.down(settings)
    shutil.rmtree(settings.runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def shared(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The home of the cluster that the tests share."""
    settings = Settings(home=tmp_path_factory.mktemp("cluster") / "home")
    clusters.up(settings)
    yield settings
    clusters.down(settings)
    assert until(lambda: not traces(settings), 20.0)
    shutil.rmtree(settings.runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(shared: Settings) -> Cluster:
    """The cluster that the tests share."""
    found = clusters.find(shared)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Callable[..., str]:
    """`kubectl` inside the cluster's network; what it prints."""

    def run(*words: str) -> str:
        done: subprocess.CompletedProcess[str] = cluster.run("kubectl", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
