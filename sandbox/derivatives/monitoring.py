"""Prometheus and Alertmanager of the platform: `python -m sandbox.derivatives.monitoring FOLDER`.

Both run on the host; pods, exporters and kubelets are scraped through the API server's proxy, so that any cluster that
the kubeconfig reaches serves. They end with this process, however it ends.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from opslib import web
from opslib.settings import PROJECT
from sandbox import history, watchers
from sandbox.crypto.monitoring import alertmanager_configuration, available, launch, write
from sandbox.derivatives.history import healthy
from sandbox.derivatives.identity import Identity
from sandbox.derivatives.setup import EARLIER, NAMESPACE
from sandbox.errors import StartFailed
from sandbox.gpu import description as gpu

__all__ = ["earlier", "main", "nodes_of", "prometheus_configuration", "write_targets"]

TARGETS = "targets.json"
_FOLLOW_S = 1.5
_PROXY = f"/api/v1/namespaces/{NAMESPACE}"
# What is kept of the thousands of series that a cluster tells of itself.
_CONTAINERS = "container_(cpu_(usage_seconds|cfs_(throttled_)?periods)_total|memory_working_set_bytes)"
_KUBELET = "kubelet_(running_(pods|containers)|volume_stats_(available|capacity|used)_bytes|runtime_operations_.*total)"
_API_SERVER = "apiserver_request_(total|duration_seconds_(sum|count))|etcd_request_duration_seconds_(sum|count)"


def prometheus_configuration(
    folder: Path, identity: Identity, nodes: Sequence[str], alertmanager: str
) -> dict[str, Any]:
    """Scrape the service every second, stores and containers every few, the cluster itself every 15; by the API server.

    Parameters
    ----------
    folder : Path
        Where the list of pods is.
    identity : Identity
        Where the API server is, and as whom it is asked.
    nodes : sequence of str
        Names of the cluster's nodes.
    alertmanager : str
        Its host and port.
    """
    server, proxy, through = identity.server, f"{identity.path}{_PROXY}", identity.scraped

    def exporter(name: str, port: int) -> dict[str, Any]:
        targets = [{"targets": [server], "labels": {"platform": NAMESPACE, "statefulset": name}}]
        path = f"{proxy}/services/exporters:{port}/proxy/metrics"
        return {"job_name": name, "metrics_path": path, "static_configs": targets, "scrape_interval": "3s", **through}

    service = {
        "job_name": "derivatives-api",
        "file_sd_configs": [{"files": [str(folder / TARGETS)], "refresh_interval": "5s"}],
        "relabel_configs": [
            _becomes("pod", "__metrics_path__", f"{proxy}/pods/$1:8080/proxy/metrics"),
            _becomes("pod", "instance"),
        ],
        **through,
    }
    labels = {"platform": NAMESPACE}
    per_node = [{"targets": [server], "labels": {**labels, "node": node}} for node in nodes]

    def of_nodes(name: str, path: str, kept: str, interval: str, *more: dict[str, Any]) -> dict[str, Any]:
        return {
            "job_name": name,
            "scrape_interval": interval,
            "scrape_timeout": "4s",
            "static_configs": per_node,
            "relabel_configs": [_becomes("node", "__metrics_path__", f"{identity.path}/api/v1/nodes/$1/proxy/{path}")],
            "metric_relabel_configs": [*more, _only("__name__", kept)],
            **through,
        }

    api_server = {
        "job_name": "kube-apiserver",
        "scrape_interval": "15s",
        "scrape_timeout": "4s",
        "metrics_path": f"{identity.path}/metrics",
        "static_configs": [{"targets": [server], "labels": labels}],
        "metric_relabel_configs": [_only("__name__", _API_SERVER)],
        **through,
    }
    cluster = [
        of_nodes("cadvisor", "metrics/cadvisor", _CONTAINERS, "5s", _only("namespace", NAMESPACE)),
        of_nodes("kubelet", "metrics", _KUBELET, "15s"),
        api_server,
    ]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(PROJECT / "deploy/prometheus/sandbox/derivatives.rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [service, exporter("postgres", 9187), exporter("redis", 9121), *cluster],
    }


def _becomes(source: str, target: str, replacement: str = "$1") -> dict[str, Any]:
    return {"source_labels": [source], "target_label": target, "replacement": replacement}


def _only(source: str, values: str) -> dict[str, Any]:
    return {"source_labels": [source], "regex": values, "action": "keep"}


def write_targets(client: httpx.Client, server: str, path: Path) -> None:
    """List the pods of the service that run, for Prometheus, where they changed."""
    answer = client.get(f"/api/v1/namespaces/{NAMESPACE}/pods", params={"labelSelector": "app=derivatives-api"})
    groups = []
    for pod in answer.raise_for_status().json()["items"]:
        if pod["status"].get("phase") != "Running" or "deletionTimestamp" in pod["metadata"]:
            continue
        labels = {
            "platform": NAMESPACE,
            "pod": pod["metadata"]["name"],
            "node": pod["spec"].get("nodeName", ""),
            "release": pod["metadata"]["labels"].get("release", ""),
        }
        groups.append({"targets": [server], "labels": labels})
    text = json.dumps(groups)
    if not path.exists() or path.read_text("utf-8") != text:
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(text, "utf-8")
        temporary.replace(path)


def earlier(client: httpx.Client) -> str:
    """Name of the ReplicaSet of the release before this one."""
    wanted = {"labelSelector": f"app=derivatives-api,release={EARLIER[-1]}"}
    answer = client.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets", params=wanted)
    names = [str(one["metadata"]["name"]) for one in answer.raise_for_status().json()["items"]]
    return names[0] if names else "derivatives-api"


def nodes_of(client: httpx.Client) -> list[str]:
    """Names of the cluster's nodes, those with a card first."""
    items = client.get("/api/v1/nodes").raise_for_status().json()["items"]
    card = f"{gpu.RESOURCE}.present"
    items.sort(key=lambda node: (card not in node["metadata"].get("labels", {}), node["metadata"]["name"]))
    return [str(node["metadata"]["name"]) for node in items]


def _remember(folder: Path, client: httpx.Client, document: dict[str, Any], node: str) -> None:
    """Give Prometheus its yesterday, with the pods of the release before."""
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    history.backfill(healthy(time.time(), jobs, earlier(client), EARLIER[-1], node), folder, history.promtool())


def _follow(folder: Path, client: httpx.Client) -> None:
    """Follow the pods, for ever; while the cluster does not answer, the list stays."""
    server = client.base_url.netloc.decode("ascii")
    while True:
        try:
            write_targets(client, server, folder / TARGETS)
        except (httpx.HTTPError, ValueError, KeyError) as problem:
            print(f"the pods cannot be listed: {problem}", file=sys.stderr)
        time.sleep(_FOLLOW_S)


def post_to(webhook: str, token_file: Path, folder: Path, alertmanager: str) -> None:
    """Have the Alertmanager that runs post somewhere else.

    Raises
    ------
    StartFailed
        It does not take its new configuration.
    """
    write(folder, "alertmanager.yml", alertmanager_configuration(webhook, token_file))
    try:
        web.post(f"{alertmanager}/-/reload", timeout=5.0).raise_for_status()
    except httpx.HTTPError as problem:
        raise StartFailed(f"Alertmanager does not take its new configuration: {problem}") from problem


def main() -> None:
    """Run both until SIGTERM; tell where they answer in `watchers.json`."""
    folder = Path(sys.argv[1])
    given = watchers.given(folder)
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    binaries = available()
    if binaries is None:
        raise StartFailed("prometheus or alertmanager is not on PATH: install them, or use --no-monitoring")
    children: dict[str, subprocess.Popen[bytes]] = {}
    leaving = ExitStack()
    signal.signal(signal.SIGTERM, _leave)
    try:
        token_file = Path(given["token_file"]) if given["token_file"] else None
        configuration = write(folder, "alertmanager.yml", alertmanager_configuration(given["webhook"], token_file))
        alertmanager = launch(
            "alertmanager",
            folder,
            logs,
            lambda port: [
                binaries[1],
                f"--config.file={configuration}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            children,
        )
        identity = Identity.read(Path(given["kubeconfig"]), given["context"], folder)
        client = leaving.enter_context(identity.client())
        nodes = nodes_of(client)
        scraped = prometheus_configuration(folder, identity, nodes, alertmanager.removeprefix("http://"))
        rules = write(folder, "prometheus.yml", scraped)
        _remember(folder / "prometheus", client, scraped, nodes[0])
        prometheus = launch(
            "prometheus",
            folder,
            logs,
            lambda port: [
                binaries[0],
                f"--config.file={rules}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                "--storage.tsdb.retention.time=2d",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            children,
        )
        watchers.tell(folder, prometheus, alertmanager)
        _follow(folder, client)
    finally:
        leaving.close()
        watchers.end_children(children.values())


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
