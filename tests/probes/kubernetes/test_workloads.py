"""Roll-outs, revisions, autoscalers, budgets, services, ingresses, secrets, releases and changes, on a real cluster."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from opslib import probes
from tests.probes.kubernetes.world import World, until

pytestmark = pytest.mark.slow


def rows(world: World, probe: str, /, **arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = probes.call(probe, world.target, arguments).table.to_pylist()
    return found


def named(world: World, name: str, key: str, which: str) -> dict[str, Any]:
    return next(row for row in rows(world, name) if row[key] == which)


@pytest.fixture(scope="module")
def second_revision(seen: World) -> World:
    """`scaled` with a second revision: another image, variable, request and cause."""
    apps = client.AppsV1Api(seen.api)
    main = {
        "name": "main",
        "env": [{"name": "LEVEL", "value": "debug"}, {"name": "API_TOKEN", "value": "never-to-be-shown"}],
        "resources": {"requests": {"cpu": "7m"}},
    }
    body = {
        "metadata": {"annotations": {"kubernetes.io/change-cause": "tune it"}},
        "spec": {"template": {"spec": {"containers": [main]}}},
    }
    apps.patch_namespaced_deployment("scaled", seen.namespace, body)
    until(lambda: named(seen, "kubernetes.workloads", "workload", "deployment/scaled")["complete"], "the roll-out")
    return seen


def test_workloads_say_whether_they_are_rolled_out(seen: World) -> None:
    web = named(seen, "kubernetes.workloads", "workload", "deployment/web")
    assert (web["desired"], web["ready"], web["complete"], web["revision"]) == (2, 2, True, "1")
    crash = named(seen, "kubernetes.workloads", "workload", "deployment/crash")
    assert (crash["desired"], crash["ready"], crash["complete"]) == (1, 0, False)


def test_revisions_differ_in_words(second_revision: World) -> None:
    newest, oldest = rows(second_revision, "kubernetes.history", workload="deployment/scaled")
    assert (newest["revision"], newest["current"], newest["change_cause"]) == (2, True, "tune it")
    assert (oldest["revision"], oldest["current"], oldest["changes"]) == (1, False, "the first kept")
    assert "main: env LEVEL (unset) -> 'debug'" in newest["changes"]
    assert "main: env API_TOKEN (unset) -> (not shown)" in newest["changes"]
    assert "main: requests.cpu 5m -> 7m" in newest["changes"]
    assert "never-to-be-shown" not in str(newest)


def test_autoscalers_and_budgets(seen: World) -> None:
    scaler = named(seen, "kubernetes.autoscalers", "autoscaler", "scaled")
    assert (scaler["workload"], scaler["least"], scaler["most"]) == ("deployment/scaled", 1, 3)
    assert "80 %" in scaler["metrics"]
    until(lambda: named(seen, "kubernetes.budgets", "budget", "web")["pods"] == 2, "the budget's count")
    budget = named(seen, "kubernetes.budgets", "budget", "web")
    assert (budget["min_available"], budget["disruptions_allowed"], budget["selector"]) == ("2", 0, "app=web")


def test_services_and_ingresses_say_what_stands_behind_them(seen: World) -> None:
    web = named(seen, "kubernetes.services", "service", "web")
    assert (web["ready"], web["not_ready"]) == (2, 0)
    assert named(seen, "kubernetes.services", "service", "nobody")["ready"] == 0
    problems = {row["path"]: row["problem"] for row in rows(seen, "kubernetes.ingresses")}
    assert problems == {
        "/": None,
        "/nobody": "no ready pod stands behind service nobody",
        "/gone": "there is no service gone",
    }


def test_secrets_by_name_and_age_alone(seen: World) -> None:
    table = probes.call("kubernetes.secrets", seen.target, {}).table
    assert "web-secrets" in table.column("secret").to_pylist()
    assert "swordfish" not in str(table.to_pylist())
    assert named(seen, "kubernetes.secrets", "secret", "web-secrets")["created"] is not None


def test_releases_tell_what_changed_and_no_value(seen: World) -> None:
    newest, oldest = rows(seen, "kubernetes.releases", release="desk")
    assert (newest["revision"], newest["status"], newest["chart"]) == (2, "deployed", "desk-1.2.0")
    assert newest["changes"] == ("chart 1.1.0 -> 1.2.0; images desk/api:v1 -> desk/api:v2; values image.tag, password")
    assert oldest["status"] == "superseded"
    assert "hidden-value" not in str(newest) + str(oldest)


def test_changes_most_recent_first(second_revision: World) -> None:
    found = [row for row in rows(second_revision, "changes.recent", minutes=60) if row["time"] is not None]
    times = [row["time"] for row in found]
    assert times == sorted(times, reverse=True)
    told = {(row["kind"], row["name"]): row["what"] for row in found}
    assert any("revision 2: main: env" in row["what"] for row in found if row["name"] == "scaled")
    assert not any("replica set scaled" in row["what"] for row in found)
    assert ("secret", "web-secrets") in told
    assert ("configmap", "web-config") in told
    assert not any(row["name"].startswith("sh.helm") for row in found)
    assert "never-to-be-shown" not in str(found)
