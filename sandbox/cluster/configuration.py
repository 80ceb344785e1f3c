"""Everything that the servers of a cluster read, written before the first of them starts."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from string import Template
from typing import Any

from opslib.settings import PROJECT
from sandbox.cluster import images, layout
from sandbox.cluster.build import Built
from sandbox.cluster.certificates import Authority, kubeconfig, private, service_account_keys
from sandbox.gpu import description as gpu
from sandbox.gpu import nvidia_smi

__all__ = ["write"]

_FILES = Path(__file__).parent / "files"


def write(state: Path, built: Built, server: str, context: str) -> Path:
    """Fill the empty folder of a cluster.

    Parameters
    ----------
    state : Path
    built : Built
    server : str
        Address of the API server as the host reaches it.
    context : str
        Name of the context in the kubeconfig.

    Returns
    -------
    Path
        The administrator's kubeconfig for the host.
    """
    for name in ("addresses", "controllers", "images", "keys", "network", "scheduler", "users"):
        (state / name).mkdir(mode=0o700)
    _identities(state)
    _network(state)
    for node in layout.NODES:
        _node(state, built, node)
        if gpu.RESOURCE in node.capacity:
            _card(state / "nodes" / node.name / "nvidia")
    images.pause_image(state / "images" / "pause.tar", layout.PAUSE, built.folder / "pause")
    images.host_image(state / "images" / "host.tar", [images.HOST])
    outside = state / "kubeconfig"
    kubeconfig(outside, _server(server, state / "keys"), _user(state / "keys", "admin"), context)
    return outside


def _identities(state: Path) -> None:
    """Make every certificate, and a kubeconfig for those that ask the API server."""
    keys, users = state / "keys", state / "users"
    authority = Authority.make(keys)
    service_account_keys(keys)
    api = ["127.0.0.1", layout.SERVICE_API, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    authority.issue("api", "kube-apiserver", hosts=[*api, *(node.address for node in layout.NODES)])
    authority.issue("metrics", "metrics", hosts=["metrics.kube-system.svc", "localhost", "127.0.0.1"])
    authority.issue("front-proxy", "front-proxy")
    authority.issue("api-to-kubelet", "kube-apiserver", "system:masters")
    people = {
        "admin": ("admin", "system:masters"),
        "controllers": ("system:kube-controller-manager", None),
        "scheduler": ("system:kube-scheduler", None),
        "proxy": ("system:kube-proxy", None),
    }
    for name, (common, group) in people.items():
        authority.issue(name, common, group)
    for node in layout.NODES:
        authority.issue(node.name, f"system:node:{node.name}", "system:nodes", [node.address, node.name])
    for name in [*people, *(node.name for node in layout.NODES)]:
        kubeconfig(users / name, _server(layout.API, keys), _user(keys, name), "inside")


def _network(state: Path) -> None:
    _render("network.conflist", state / "network" / "10-sandbox.conflist", state=state)
    private(state / "resolv.conf", f"nameserver {layout.DNS}\n".encode())


def _node(state: Path, built: Built, node: layout.Node) -> None:
    files = state / "nodes" / node.name
    files.mkdir(parents=True, mode=0o700)
    known = {
        "files": files,
        "state": state,
        "keys": state / "keys",
        "root": built.folder / "root",
        "node": node.name,
        "address": node.address,
        "dns": layout.DNS,
        "pause": layout.PAUSE,
    }
    _render("containerd.toml", files / "containerd.toml", **known)
    _render("kubelet.yaml", files / "kubelet.yaml", **known)
    private(files / "kubelet.options", ("\n".join(layout.kubelet_options(state, node)) + "\n").encode())


def _card(folder: Path) -> None:
    """What the node with the card copies to `gpu.FOLDER`."""
    (folder / "clients").mkdir(mode=0o755, parents=True)
    (folder / "card.json").write_text(json.dumps(gpu.CARD, indent=1) + "\n", encoding="utf-8")
    program = folder / "bin/nvidia-smi"
    program.parent.mkdir(mode=0o755)
    program.write_text(nvidia_smi.wrapper(sys.executable, PROJECT), encoding="utf-8")
    program.chmod(0o755)


def _server(address: str, keys: Path) -> dict[str, Any]:
    return {"server": address, "certificate-authority-data": _encoded(keys / "ca.crt")}


def _user(keys: Path, name: str) -> dict[str, Any]:
    parts = {"client-certificate-data": f"{name}.crt", "client-key-data": f"{name}.key"}
    return {part: _encoded(keys / file) for part, file in parts.items()}


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _render(template: str, target: Path, **known: Any) -> None:
    text = Template((_FILES / template).read_text(encoding="utf-8"))
    private(target, text.substitute({name: str(value) for name, value in known.items()}).encode())
