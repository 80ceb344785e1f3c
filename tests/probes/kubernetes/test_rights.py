"""Who may see what: the least role that `runbook rbac` prints is enough, and everything else is refused in words."""

from __future__ import annotations

import time
from typing import Any

import pytest

from opslib import probes
from opslib.clusters import rights
from opslib.errors import ProbeError
from opslib.probes import Target
from tests.probes.kubernetes.world import World, recorder_of

pytestmark = pytest.mark.slow

ARGUMENTS: dict[str, dict[str, Any]] = {
    "kubernetes.history": {"workload": "deployment/web"},
    "kubernetes.pods": {"workload": "deployment/web"},
    "kubernetes.logs": {"workload": "deployment/web"},
    "kubernetes.run": {"command": "disk", "workload": "deployment/web", "values": {"path": "/"}},
    "gpu.cards": {"workload": "deployment/web"},
    "logs.count": {"patterns": {"ticks": "tick"}, "workload": "deployment/web"},
    "logs.over_time": {"patterns": {"ticks": "tick"}, "workload": "deployment/web"},
}
ALL = [name for name in rights.READS if name != "gpu.metrics"]


def asked(address: str, world: World, name: str) -> str:
    """What a probe says under an account: "seen", or why it could not see."""
    try:
        probes.call(name, Target("kubernetes", address, world.target.commands), ARGUMENTS.get(name, {}))
    except ProbeError as error:
        return str(error)
    return "seen"


def test_every_probe_of_a_cluster_has_its_rights_declared() -> None:
    ours = {name for name in probes.names() if name.partition(".")[0] in ("kubernetes", "gpu", "logs", "changes")}
    assert ours == set(rights.READS)


@pytest.mark.parametrize("name", ALL)
def test_a_probe_works_with_its_least_role_and_no_more_can_be_seen(seen: World, name: str) -> None:
    account = name.replace(".", "-").replace("_", "-")
    address = recorder_of(seen, [name], [], account)
    told = asked(address, seen, name)
    assert told == "seen" or "does not serve metrics" in told
    other = "kubernetes.secrets" if name not in ("kubernetes.secrets", "kubernetes.releases") else "kubernetes.logs"
    refused = asked(address, seen, other)
    assert "our identity may not do that" in refused
    assert "`runbook rbac NAME` prints the role" in refused


def test_an_account_without_rights_is_refused_in_words(seen: World) -> None:
    address = seen.address_of("nobody", [])
    assert {name: "may not" in asked(address, seen, name) for name in ALL if name != "changes.recent"} == dict.fromkeys(
        (name for name in ALL if name != "changes.recent"), True
    )
    table = probes.call("changes.recent", Target("kubernetes", address), {}).table.to_pylist()
    assert {row["kind"] for row in table} >= {"deployments", "secrets", "events"}
    told = {row["kind"]: row["unseen"] for row in table}
    assert {told.pop(kind) for kind in ("secrets", "Helm releases")} == {"not looked at: its role reads no secrets"}
    assert told
    assert all("may not do that" in why for why in told.values())


def test_a_token_that_is_not_valid_is_told(seen: World) -> None:
    address = seen.address_of("forged", [])
    path = seen.folder / "forged.kubeconfig"
    path.write_text(path.read_text("utf-8").replace("token: ", "token: x"), "utf-8")
    with pytest.raises(ProbeError, match="it refuses our identity"):
        probes.call("kubernetes.pods", Target("kubernetes", address), {})


def test_a_dead_api_server_is_told_at_once(seen: World, free_port: int) -> None:
    path = seen.folder / "dead.kubeconfig"
    text = seen.kubeconfig.read_text("utf-8")
    lines = [
        f"{line.partition('server:')[0]}server: https://127.0.0.1:{free_port}" if "server:" in line else line
        for line in text.splitlines()
    ]
    path.write_text("\n".join(lines), "utf-8")
    address = seen.admin.replace(str(seen.kubeconfig), str(path))
    began = time.monotonic()
    with pytest.raises(ProbeError, match=rf"^kubernetes at {seen.namespace}: the API server refuses connections"):
        probes.call("kubernetes.pods", Target("kubernetes", address), {})
    assert time.monotonic() - began < 120, "it tries without end"  # a bound of waiting, no claim of speed


def test_a_kubeconfig_that_is_none_is_told(seen: World) -> None:
    with pytest.raises(ProbeError, match="the kubeconfig none cannot be read: No such file"):
        probes.call("kubernetes.pods", Target("kubernetes", f"kubeconfig://{seen.folder}/none?namespace=x"), {})
    (seen.folder / "bad").write_text("{]", "utf-8")
    with pytest.raises(ProbeError, match="the kubeconfig bad cannot be used"):
        probes.call("kubernetes.pods", Target("kubernetes", f"kubeconfig://{seen.folder}/bad?namespace=x"), {})
    with pytest.raises(ProbeError, match="the address of a cluster is kubeconfig:///"):
        probes.call("kubernetes.pods", Target("kubernetes", "https://somewhere"), {})
