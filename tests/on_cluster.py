"""The cluster of the tests: a fresh one of the sandbox, or that of the kubeconfig which KUBECONFIG_OF_TESTS names."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opslib.settings import Settings

if TYPE_CHECKING:
    from sandbox.cluster import Cluster


@pytest.fixture(scope="session")
def of_the_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A fresh cluster of the sandbox, for what needs its nodes as well."""
    from sandbox import cluster

    lacking = cluster.missing()
    if lacking:
        pytest.skip(f"no cluster can run here: {'; '.join(lacking)}")
    settings = Settings(home=tmp_path_factory.mktemp("kubernetes") / "home")
    settings.make_home()
    yield cluster.up(settings)
    cluster.down(settings)


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> tuple[Path, str]:
    """The kubeconfig of an identity that may do everything on a real cluster, and its context."""
    import yaml

    given = os.environ.get("KUBECONFIG_OF_TESTS")
    if given:
        return Path(given), yaml.safe_load(Path(given).read_text("utf-8"))["current-context"]
    running: Cluster = request.getfixturevalue("of_the_sandbox")
    return running.kubeconfig, running.context


@pytest.fixture(scope="session")
def namespace(kubeconfig: tuple[Path, str]) -> Iterator[str]:
    """A namespace of its own on that cluster, which is taken away with all in it."""
    from kubernetes import client, config

    name = f"tests-{secrets.token_hex(4)}"
    with config.new_client_from_config(str(kubeconfig[0]), kubeconfig[1]) as api:
        core = client.CoreV1Api(api)
        core.create_namespace({"metadata": {"name": name, "labels": {"sandbox-id": name}}})
        yield name
        core.delete_namespace(name)
