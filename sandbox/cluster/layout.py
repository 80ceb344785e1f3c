"""What a cluster of the sandbox consists of: addresses, nodes, and the command line of every server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sandbox.gpu import description as gpu

__all__ = ["API", "DNS", "NODES", "PAUSE", "POD_NETWORK", "SERVICE_NETWORK", "Node", "commands", "kubelet_options"]

API = "https://127.0.0.1:6443"
SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_API = "10.96.0.1"
POD_NETWORK = "10.201.0.0/22"
DNS = "10.200.0.1"
METRICS_PORT = 4443
PAUSE = "docker.io/runbooks/pause:1"


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes
    ----------
    name, address : str
    labels : dict
    taints : tuple of str
        As `key=value:effect`.
    capacity : dict
        Extended resources and how many of each.
    """

    name: str
    address: str
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    capacity: dict[str, int] = field(default_factory=dict)


NODES = (
    Node("node-1", "10.200.0.1"),
    Node("node-2", "10.200.0.2", labels=gpu.LABELS, taints=(gpu.TAINT,), capacity={gpu.RESOURCE: gpu.SHARES}),
)


def commands(state: Path) -> dict[str, list[str]]:
    """Command lines of the servers of the control plane, by name; `state` is the cluster's folder."""
    keys, users = state / "keys", state / "users"
    etcd = [
        "etcd",
        f"--data-dir={state / 'etcd'}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # it lives no longer than the machine is up
    ]
    api = [
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--advertise-address=10.200.0.1",
        "--secure-port=6443",
        "--insecure-port=0",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        "--profiling=false",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--tls-cert-file={keys / 'api.crt'}",
        f"--tls-private-key-file={keys / 'api.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--kubelet-client-certificate={keys / 'api-to-kubelet.crt'}",
        f"--kubelet-client-key={keys / 'api-to-kubelet.key'}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--requestheader-allowed-names=front-proxy",
        f"--requestheader-client-ca-file={keys / 'ca.crt'}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={keys / 'front-proxy.crt'}",
        f"--proxy-client-key-file={keys / 'front-proxy.key'}",
    ]
    controllers = [
        "kube-controller-manager",
        f"--kubeconfig={users / 'controllers'}",
        f"--authentication-kubeconfig={users / 'controllers'}",
        f"--authorization-kubeconfig={users / 'controllers'}",
        "--bind-address=127.0.0.1",
        "--port=0",
        "--leader-elect=false",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        f"--root-ca-file={keys / 'ca.crt'}",
        "--use-service-account-credentials=true",
        f"--cert-dir={state / 'controllers'}",
        f"--flex-volume-plugin-dir={state / 'controllers'}",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=20s",
        "--pod-eviction-timeout=20s",
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
        "--horizontal-pod-autoscaler-downscale-stabilization=60s",
    ]
    scheduler = [
        "kube-scheduler",
        f"--kubeconfig={users / 'scheduler'}",
        f"--authentication-kubeconfig={users / 'scheduler'}",
        f"--authorization-kubeconfig={users / 'scheduler'}",
        "--bind-address=127.0.0.1",
        "--port=0",
        "--leader-elect=false",
        f"--cert-dir={state / 'scheduler'}",
    ]
    proxy = [
        "kube-proxy",
        f"--kubeconfig={users / 'proxy'}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={POD_NETWORK}",
        f"--hostname-override={NODES[0].name}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]
    return {"etcd": etcd, "api": api, "controllers": controllers, "scheduler": scheduler, "proxy": proxy}


def kubelet_options(state: Path, node: Node) -> list[str]:
    """Options of a node's kubelet beside its configuration file."""
    files = state / "nodes" / node.name
    options = [
        f"--config={files / 'kubelet.yaml'}",
        f"--kubeconfig={state / 'users' / node.name}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
        "--container-runtime=remote",
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        f"--pod-infra-container-image={PAUSE}",
    ]
    if node.labels:
        options.append("--node-labels=" + ",".join(f"{name}={value}" for name, value in node.labels.items()))
    if node.taints:
        options.append("--register-with-taints=" + ",".join(node.taints))
    return options
