"""`runbook sandbox` as a person and as a program use it."""

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

from opslib.settings import Settings
from sandbox import crypto

pytestmark = pytest.mark.slow


@pytest.fixture
def cli_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home for commands; the platform that they start is ended."""
    settings = Settings(home=tmp_path_factory.mktemp("cli") / "home")
    yield settings
    crypto.down(settings)
    shutil.rmtree(settings.runtime, ignore_errors=True)


def runbook(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `runbook sandbox ...`."""
    return subprocess.run(
        [sys.executable, "-c", "from opslib.cli import main; main()", "sandbox", *words],
        env={**os.environ, "RUNBOOK_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_what_is_not_there_is_wrong_usage(cli_home: Settings) -> None:
    unknown = runbook(cli_home.home, "up", "derivatives-2")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "the sandbox has no platform 'derivatives-2'; it has crypto" in unknown.stderr
    healed = runbook(cli_home.home, "heal", "crypto", "derivatives-2")
    assert (healed.returncode, healed.stdout) == (2, "")
    assert "the sandbox has no platform 'derivatives-2'; it has crypto" in healed.stderr
    fault = runbook(cli_home.home, "break", "var-breach/greed")
    assert fault.returncode == 2
    assert "there are var-breach/after-model-switch" in fault.stderr


def test_without_root_up_says_what_is_missing_and_what_else_can_be_done() -> None:
    with tempfile.TemporaryDirectory() as open_folder:  # in which everybody may write
        Path(open_folder).chmod(0o777)
        environment = {**os.environ, "RUNBOOK_HOME": f"{open_folder}/home", "HOME": open_folder, "TMPDIR": open_folder}
        # what is needed is loaded first: the interpreter may lie where only root may look
        loaded = "import opslib.people, sandbox.derivatives.operations, sandbox.cluster, rich.status; "
        become = "import os; os.getuid() == 0 and (os.setgid(65534), os.setuid(65534)); "
        code = f"from opslib.cli import main; {loaded}{become}main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "sandbox", "up", "derivatives"],
            env=environment | {"XDG_CACHE_HOME": f"{open_folder}/cache"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    told = " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert "it needs root, to make namespaces and control groups" in told
    assert "A cluster of yours serves instead: --kubeconfig FILE --context NAME" in told
    assert "The platform crypto needs no cluster: `runbook sandbox up crypto`" in told
    assert "Traceback" not in told


def test_nothing_up_is_said_and_fails(cli_home: Settings) -> None:
    heal = runbook(cli_home.home, "heal")
    assert heal.returncode == 1
    assert "Start it with `runbook sandbox up crypto`" in heal.stderr
    assert runbook(cli_home.home, "down").returncode == 0
    status = json.loads(runbook(cli_home.home, "status", "--json").stdout)
    assert status == {
        "postgres": None,
        "redis": None,
        "prometheus": None,
        "alertmanager": None,
        "kubeconfig": None,
        "platforms": {},
    }


def test_break_and_heal_print_one_document(cli_home: Settings) -> None:
    found = crypto.up(cli_home, monitored=False)
    status = json.loads(runbook(cli_home.home, "status", "--json").stdout)
    assert status["redis"] == found.endpoints.redis_admin
    assert status["platforms"]["crypto"]["api"] == found.endpoints.api
    listed = json.loads(runbook(cli_home.home, "faults", "--json").stdout)["faults"]
    assert {"fault": "var-breach/all-symbols", "platform": "crypto"} in listed
    assert "://recorder" not in runbook(cli_home.home, "status").stdout
    broken = runbook(cli_home.home, "break", "var-breach/all-symbols", "--seed", "4", "--json")
    assert broken.returncode == 0
    document = json.loads(broken.stdout)
    assert (document["fault"], document["seed"]) == ("var-breach/all-symbols", 4)
    assert "change 1 of 1 made" in broken.stderr
    healed = json.loads(runbook(cli_home.home, "heal", "crypto", "--json").stdout)
    assert (healed["healthy"], healed["platform"]) == (True, "crypto")
    named_twice = json.loads(runbook(cli_home.home, "heal", "crypto", "--platform", "crypto", "--json").stdout)
    assert (named_twice["healthy"], named_twice["platform"]) == (True, "crypto")


def test_up_makes_the_people_of_the_sandbox(settings: Settings) -> None:
    done = runbook(settings.home, "up", "crypto", "--no-monitoring", "--json")
    try:
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["platforms"]["crypto"]["api"].startswith("http://127.0.0.1:")
        assert sorted(path.name for path in (settings.state / "tokens").iterdir())[0] == "demo-l1"
    finally:
        crypto.down(settings)
        shutil.rmtree(settings.runtime, ignore_errors=True)
