"""Prometheus and Alertmanager of the platform: `python -m sandbox.derivatives.monitoring FOLDER`.

Both run on the host; pods, exporters and kubelets are scraped through the API server's proxy, so that any cluster that
the kubeconfig reaches serves. They end with this process, however it ends.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from opslib.settings import PROJECT
from sandbox import processes
from sandbox.crypto.monitoring import alertmanager_configuration, available, launch, write
from sandbox.derivatives.setup import NAMESPACE
from sandbox.errors import StartFailed

__all__ = ["WATCHERS", "main", "prometheus_configuration"]

WATCHERS = "watchers.json"
_PROXY = f"/api/v1/namespaces/{NAMESPACE}"


def prometheus_configuration(folder: Path, kubeconfig: Path, alertmanager: str) -> dict[str, Any]:
    """Scrape the service every second, everything else every five, by the identity of a kubeconfig.

    Parameters
    ----------
    folder : Path
        Takes the identity's certificates.
    kubeconfig : Path
    alertmanager : str
        Its host and port.
    """
    document = yaml.safe_load(kubeconfig.read_text("utf-8"))
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    tls = {}
    for name, data in (
        ("ca_file", cluster["certificate-authority-data"]),
        ("cert_file", user["client-certificate-data"]),
        ("key_file", user["client-key-data"]),
    ):
        path = folder / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(data))
        tls[name] = str(path)
    server = urlsplit(cluster["server"]).netloc
    through = {"scheme": "https", "tls_config": tls}

    def discovered(role: str) -> dict[str, Any]:
        found: dict[str, Any] = {"role": role, "kubeconfig_file": str(kubeconfig)}
        return found if role == "node" else {**found, "namespaces": {"names": [NAMESPACE]}}

    def exporter(name: str, port: int) -> dict[str, Any]:
        targets = [{"targets": [server], "labels": {"platform": NAMESPACE, "statefulset": name}}]
        path = f"{_PROXY}/services/exporters:{port}/proxy/metrics"
        return {"job_name": name, "metrics_path": path, "static_configs": targets, "scrape_interval": "3s", **through}

    service = {
        "job_name": "derivatives-api",
        "kubernetes_sd_configs": [discovered("pod")],
        "relabel_configs": [
            {"source_labels": ["__meta_kubernetes_pod_label_app"], "regex": "derivatives-api", "action": "keep"},
            {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Running", "action": "keep"},
            _becomes("__meta_kubernetes_pod_name", "pod"),
            _becomes("__meta_kubernetes_pod_node_name", "node"),
            _becomes("__meta_kubernetes_pod_label_release", "release"),
            _becomes("__meta_kubernetes_pod_name", "__metrics_path__", f"{_PROXY}/pods/$1:8080/proxy/metrics"),
            _becomes("__meta_kubernetes_pod_name", "instance"),
            {"target_label": "platform", "replacement": NAMESPACE},
            {"target_label": "__address__", "replacement": server},
        ],
        **through,
    }
    containers = {
        "job_name": "cadvisor",
        "scrape_interval": "5s",
        "kubernetes_sd_configs": [discovered("node")],
        "relabel_configs": [
            _becomes("__meta_kubernetes_node_name", "__metrics_path__", "/api/v1/nodes/$1/proxy/metrics/cadvisor"),
            _becomes("__meta_kubernetes_node_name", "node"),
            {"target_label": "platform", "replacement": NAMESPACE},
            {"target_label": "__address__", "replacement": server},
        ],
        "metric_relabel_configs": [
            {"source_labels": ["namespace"], "regex": NAMESPACE, "action": "keep"},
            {
                "source_labels": ["__name__"],
                "regex": "container_(cpu_(usage_seconds|cfs_(throttled_)?periods)_total|memory_working_set_bytes)",
                "action": "keep",
            },
        ],
        **through,
    }
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(PROJECT / "deploy/prometheus/sandbox/derivatives.rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [service, exporter("postgres", 9187), exporter("redis", 9121), containers],
    }


def _becomes(source: str, target: str, replacement: str = "$1") -> dict[str, Any]:
    return {"source_labels": [source], "target_label": target, "replacement": replacement}


def main() -> None:
    """Run both until SIGTERM; tell where they answer in `watchers.json`."""
    folder = Path(sys.argv[1])
    given = json.loads((folder / "watch.json").read_text("utf-8"))
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    binaries = available()
    if binaries is None:
        raise StartFailed("prometheus or alertmanager is not on PATH: install them, or use --no-monitoring")
    children: dict[str, subprocess.Popen[bytes]] = {}
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
        scraped = prometheus_configuration(folder, Path(given["kubeconfig"]), alertmanager.removeprefix("http://"))
        rules = write(folder, "prometheus.yml", scraped)
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
        found = {"prometheus": prometheus, "alertmanager": alertmanager}
        temporary = folder / f".{WATCHERS}"
        temporary.write_text(
            json.dumps({**found, "pid": os.getpid(), "start": processes.started(os.getpid())}), "utf-8"
        )
        temporary.replace(folder / WATCHERS)
        while True:
            signal.pause()
    finally:
        for child in children.values():
            child.terminate()
        for child in children.values():
            try:
                child.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
