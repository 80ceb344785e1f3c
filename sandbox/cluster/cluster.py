"""A cluster as everything else sees it: one that `up` started, or one of the user's own."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandbox.cluster import capsule, control, images, layout
from sandbox.cluster.build import Built
from sandbox.errors import ControlRefused
from sandbox.gpu import description as gpu

__all__ = ["Cluster"]

_RUN_S = 300.0
_MIRRORED = range(20_000, 30_000)  # no connection starts from there, on the host or within, and no service is there


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster.

    Attributes
    ----------
    kubeconfig : Path
        Reaches the API server through loopback, as its administrator.
    context : str
    sandbox_id : str
        Every namespace that the sandbox makes carries it as the label `sandbox-id`.
    folder : Path
        Where files about it are kept.
    control : Path
        Socket on which requests to expose services are taken.
    keeper : int
        Pid of its outermost process; for a cluster of the user's own, of what exposes services.
    built : Path or None
        Folder of its programs; None for a cluster of the user's own.
    """

    kubeconfig: Path
    context: str
    sandbox_id: str
    folder: Path
    control: Path
    keeper: int
    built: Path | None = None

    @property
    def own(self) -> bool:
        """Whether it is one of the user's, which `down` leaves running."""
        return self.built is None

    def run(
        self, *argv: str, environment: Mapping[str, str] | None = None, timeout_s: float = _RUN_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside the cluster's network, with `KUBECONFIG` set; `kubectl` is always there.

        For a cluster of the user's own it runs outside, with a `KUBECONFIG` whose current context is the chosen one.

        Raises
        ------
        ControlRefused
            There is no such program.
        """
        programs = os.environ.get("PATH", os.defpath) if self.built is None else Built(self.built).programs
        found = shutil.which(argv[0], path=programs)
        if found is None:
            raise ControlRefused(f"this machine has no program {argv[0]}: install it, and try again")
        inside = [] if self.own else ["nsenter", "--target", str(capsule.first_process(self.keeper)), "--net", "--"]
        variables = {**os.environ, "PATH": programs, "KUBECONFIG": str(self.folder / "users" / "admin")}
        return subprocess.run(
            [*inside, found, *argv[1:]],
            env={**variables, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def apply(self, documents: Sequence[dict[str, Any]], namespace: str) -> None:
        """Make documents so in a namespace of the sandbox; it is made, with its label, where there is none.

        Parameters
        ----------
        documents : sequence of dict
            In the order in which they are applied; those of namespaced kinds go to `namespace`.
        namespace : str

        Raises
        ------
        NotOurs
            The namespace does not carry this cluster's `sandbox-id`; nothing was changed.
        ApplyFailed
            Every document that was refused, and why; the others were applied.
        """
        from sandbox.cluster import objects  # the client is loaded only by what needs it

        objects.apply(self.kubeconfig, self.context, self.sandbox_id, documents, namespace)

    def verify(self, namespace: str) -> None:
        """Make sure that a namespace is the sandbox's.

        Raises
        ------
        NotOurs
            It does not carry this cluster's `sandbox-id`, or is not there.
        """
        from sandbox.cluster import objects  # the client is loaded only by what needs it

        objects.verify(self.kubeconfig, self.context, self.sandbox_id, namespace)

    def account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with which one is a service account, its namespace the default; written anew each time."""
        from sandbox.cluster import objects  # the client is loaded only by what needs it

        return objects.account(self.kubeconfig, self.context, self.folder, namespace, name)

    def image(
        self,
        names: Sequence[str],
        *,
        files: Mapping[str, bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = ("/bin/sh",),
    ) -> None:
        """Put an image on every node under each of `names`, for example `runbooks/derivatives:v1.1.0`.

        It is the host image of `sandbox.cluster.pods` with `files` (path inside to content), variables and command of
        its own, so that one version differs from another. A name that was never put there cannot be pulled.
        """
        if self.built is None:
            raise ControlRefused("images reach a cluster of your own through a registry")
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            images.host_image(archive, names, files=files, environment=environment, command=command)
            for node in layout.NODES:
                socket_ = self._node_run(node) / "containerd/containerd.sock"
                ctr = [str(self.built / "root/usr/bin/ctr"), "--address", str(socket_), "--namespace", "k8s.io"]
                done = subprocess.run(
                    [*ctr, "images", "import", str(archive)],
                    capture_output=True,
                    text=True,
                    timeout=_RUN_S,
                    check=False,
                )
                if done.returncode != 0:
                    raise ControlRefused(f"{node.name} did not take {', '.join(names)}: {done.stderr.strip()}")

    @property
    def card(self) -> Path:
        """Folder of the graphics card on its node, as the host sees it.

        Raises
        ------
        ControlRefused
            For a cluster of the user's own.
        """
        return self._node_run(next(node for node in layout.NODES if gpu.RESOURCE in node.capacity)) / "nvidia"

    def _node_run(self, node: layout.Node) -> Path:
        """The `/run` of a node."""
        if self.own:
            raise ControlRefused("the nodes of a cluster of your own are not ours to enter")
        return Path(f"/proc/{capsule.first_process(self.keeper)}/root/run/nodes/{node.name}")

    def expose(self, namespace: str, service: str, port: int) -> int:
        """A port on the host's loopback that leads to a service; the same one as long as the cluster runs."""
        return self._expose([namespace, service, port])

    def reach(self, host: str, port: int) -> int:
        """A port on the host's loopback that leads to an address inside, for example that of a kubelet."""
        return self._expose([host, port])

    def mirror(self) -> int:
        """A port on the host's loopback that leads to the one of the same number on the loopback of the nodes.

        So a server of a pod that shares the network of its node has one address, within as without.

        Raises
        ------
        ControlRefused
            For a cluster of the user's own, whose nodes are elsewhere.
        """
        if self.own:
            raise ControlRefused("the loopback of the nodes of a cluster of your own is not ours to enter")
        with _listener() as listener:
            port: int = listener.getsockname()[1]
            control.ask(self.control, {"to": ["127.0.0.1", port]}, listener)
        return port

    def _expose(self, to: list[str | int]) -> int:
        known = control.ask(self.control, {"to": to})["port"]
        if known is None:
            with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
                known = control.ask(self.control, {"to": to}, listener)["port"]
        return int(known)

    def document(self) -> dict[str, Any]:
        """What is kept of it in a file."""
        return {name: value if value is None else str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Cluster:
        """The cluster that `document` tells of."""
        built = document["built"]
        return cls(
            kubeconfig=Path(document["kubeconfig"]),
            context=document["context"],
            sandbox_id=document["sandbox_id"],
            folder=Path(document["folder"]),
            control=Path(document["control"]),
            keeper=int(document["keeper"]),
            built=None if built is None else Path(built),
        )


def _listener() -> socket.socket:
    """A listening socket of the host's loopback on a free port of those that are mirrored."""
    for port in random.SystemRandom().sample(_MIRRORED, 200):
        try:
            return socket.create_server(("127.0.0.1", port), backlog=512)
        except OSError:
            continue  # somebody listens there
    raise ControlRefused(f"no port of {_MIRRORED.start} to {_MIRRORED.stop - 1} is free on this machine")
