"""Start, mend and end the crypto platform on the cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from opslib.settings import Settings
from sandbox import cluster, processes, state, watchers
from sandbox.cluster import missing
from sandbox.cluster.kube import Kube
from sandbox.crypto.deployed import manifests
from sandbox.crypto.deployed.setup import NAMESPACE, PORTS, STATE, Setup
from sandbox.crypto.front import Front
from sandbox.crypto.redis_server import Passwords
from sandbox.errors import CannotRun, NotUp, StartFailed
from sandbox.progress import Progress
from sandbox.state import State

__all__ = ["check", "clear", "mend", "renew_certificate", "up", "verify"]

_READY_S = 120.0
_ROLLED_OUT_S = 60.0

T = TypeVar("T")


def check(settings: Settings) -> None:
    """Make sure that the platform can be put on a cluster of this home.

    Raises
    ------
    CannotRun
        What this machine lacks, or that the cluster in use is one of the user's own.
    """
    adopted = cluster.find(settings)
    lacking = missing() if adopted is None else ["its cluster is one of your own"] if adopted.own else []
    if lacking:
        raise CannotRun(
            f"the crypto platform cannot be deployed on a Kubernetes of the sandbox here: {'; '.join(lacking)}. "
            "As plain processes it needs none: `runbook sandbox up crypto`",
            missing=lacking,
        )


def up(settings: Settings, *, webhook: str | None, nginx: str | None, progress: Progress) -> State:
    """Deploy the platform, on the cluster that runs or one that is started for it; whatever was there is gone.

    Parameters
    ----------
    settings : Settings
    webhook : str or None
        Where Alertmanager posts; without it there is neither it nor Prometheus.
    nginx : str or None
        The program, where it is installed.
    progress : callable

    Raises
    ------
    StartFailed
        What did not become ready.
    """
    state.cluster_mark(settings, NAMESPACE).touch(mode=0o600)
    running = cluster.up(settings, progress=progress)
    setup = _prepare(settings, running, webhook, nginx)
    kube = Kube(running, setup.folder, NAMESPACE)
    progress("deploying Redis, strategist, risk-harmoniser" + (" and web" if nginx else ""))
    running.apply([], NAMESPACE)  # makes the namespace, or refuses one that is another's
    kube.send("apply", manifests.everything(setup))
    found = _eventually(lambda: state.load(setup.folder / STATE), kube)
    if nginx is not None:
        _eventually(_front(setup).serves, kube)
    state.file(settings).symlink_to(setup.folder / STATE)
    return found


def verify(settings: Settings) -> None:
    """Make sure that the namespace is the sandbox's.

    Raises
    ------
    NotUp, NotOurs
    """
    setup, kube = _reach(settings)
    kube.verify(setup.sandbox_id)


def mend(settings: Settings) -> None:
    """Make every object of the platform what it was, and wait until its pods serve.

    Raises
    ------
    NotUp, NotOurs
        Nothing was changed.
    ControlRefused
        A part did not become ready.
    """
    setup, kube = _reach(settings)
    kube.verify(setup.sandbox_id)
    kube.send("apply", manifests.everything(setup))
    for name in manifests.names(setup):
        kube("rollout", "status", "deployment", name, f"--timeout={_ROLLED_OUT_S:.0f}s")


def renew_certificate(settings: Settings) -> None:
    """Issue a new certificate, and let nginx take it over with its configuration.

    Raises
    ------
    StartFailed
        It does not.
    """
    setup, kube = _reach(settings)
    if setup.nginx is None:
        return
    front = _front(setup)
    front.write()
    kube("exec", "deployment/web", "--", "/bin/sh", "-c", "kill -HUP 1")
    _eventually(front.serves, kube)


def clear(settings: Settings, *, progress: Progress) -> bool:
    """End what runs for it on this machine and its namespace, and the cluster unless another platform is on it.

    Returns whether anything ran. The folder is left to the caller.
    """
    mark = state.cluster_mark(settings, NAMESPACE)
    if not mark.exists():
        return False
    folder = _folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ran = watchers.end(folder)
    running = cluster.find(settings)
    if running is not None and state.on_cluster(settings, besides=NAMESPACE):
        ran = Kube(running, folder, NAMESPACE).delete_namespace(running.sandbox_id) or ran
    else:
        ran = cluster.down(settings, progress=progress) or ran
    mark.unlink()
    return ran


def _prepare(settings: Settings, running: cluster.Cluster, webhook: str | None, nginx: str | None) -> Setup:
    """Choose ports, start what watches, and put into the folder what pods read there."""
    folder = _folder(settings)
    (folder / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = {name: running.mirror() for name in PORTS}
    keeper = running.keeper or os.getpid()
    setup = Setup(
        folder=folder,
        sandbox_id=running.sandbox_id,
        passwords=Passwords.fresh(),
        ports=ports,
        kubernetes_admin=f"kubeconfig://{running.kubeconfig}?context={running.context}&namespace={NAMESPACE}",
        prometheus=None,
        alertmanager=None,
        webhook=webhook,
        nginx=nginx,
        pids={"cluster": keeper},
        starts={"cluster": processes.started(keeper) or ""},
    )
    if webhook is not None:
        facts = {"api": setup.api, "webhook": webhook, "passage": str(setup.passage)}
        facts["token_file"] = str(settings.state / "intake-token")
        found = watchers.begin("sandbox.crypto.deployed.monitoring", folder, facts)
        setup = setup.watched(found)
    if nginx is not None:
        _front(setup).write()
    setup.save()
    return setup


def _front(setup: Setup) -> Front:
    return Front(setup.folder, setup.folder / "logs" / "nginx.log", setup.api, setup.ports["web"])


def _reach(settings: Settings) -> tuple[Setup, Kube]:
    """The platform that runs, and its cluster."""
    running, setup = cluster.find(settings), Setup.read(_folder(settings))
    if running is None or setup is None:
        raise NotUp()
    return setup, Kube(running, setup.folder, NAMESPACE)


def _folder(settings: Settings) -> Path:
    return state.file(settings).with_suffix("").absolute()


def _eventually(seen: Callable[[], T | None], kube: Kube) -> T:
    """Wait until something is there, and return it."""
    deadline = time.monotonic() + _READY_S
    while not (found := seen()):
        if time.monotonic() > deadline:
            pods = kube("get", "pods", "-o", "wide", allowed_to_fail=True)
            logs = kube("logs", "deployment/strategist", "--tail=8", allowed_to_fail=True)
            raise StartFailed(f"the crypto platform did not become ready within {_READY_S:.0f} s\n{pods}\n{logs}")
        time.sleep(0.2)
    return found
