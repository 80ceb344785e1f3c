"""metrics.k8s.io, so that `kubectl top` and autoscalers work: figures as the kubelets themselves measure them.

The API server checks who may read and passes the request on; only it has a certificate that is let in here.
"""

from __future__ import annotations

import json
import re
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox.cluster.api import Api, ApiRefused

__all__ = ["selected", "server"]

_VERSION = "metrics.k8s.io/v1beta1"
_PATH = re.compile(
    rf"/apis/{_VERSION}(?:/namespaces/(?P<namespace>[^/]+))?/(?P<kind>nodes|pods)(?:/(?P<name>[^/]+))?/?"
)
_WINDOW = "10s"
_RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": _VERSION,
    "resources": [
        {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
        {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
    ],
}


def server(api: Api, keys: Path, port: int) -> ThreadingHTTPServer:
    """A server on the loopback; the caller serves and closes it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(keys / "metrics.crt", keys / "metrics.key")
    tls.load_verify_locations(keys / "ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED

    class Handler(_Handler):
        answer = staticmethod(lambda path: _answer(api, path))

    listening = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    listening.daemon_threads = True
    listening.socket = tls.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    return listening


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    answer: Callable[[str], dict[str, Any] | None]

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer one request."""
        try:
            document = self.answer(self.path)
            code = 200 if document is not None else 404
        except ApiRefused as problem:
            document, code = _status(503, "ServiceUnavailable", str(problem)), 503
        body = json.dumps(document or _status(404, "NotFound", f"there is no {self.path}")).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _answer(api: Api, address: str) -> dict[str, Any] | None:
    path, _, query = address.partition("?")
    if path.rstrip("/") == f"/apis/{_VERSION}":
        return _RESOURCES
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    nodes = found["kind"] == "nodes"
    kind = "NodeMetrics" if nodes else "PodMetrics"
    wanted = urllib.parse.parse_qs(query).get("labelSelector", [""])[0]
    items = [
        item
        for item in (_nodes(api) if nodes else _pods(api, found["namespace"]))
        if selected(item["metadata"]["labels"], wanted) and found["name"] in (None, item["metadata"]["name"])
    ]
    if found["name"] is None:
        return {"kind": f"{kind}List", "apiVersion": _VERSION, "metadata": {}, "items": items}
    return {"kind": kind, "apiVersion": _VERSION, **items[0]} if items else None


def _nodes(api: Api) -> Iterator[dict[str, Any]]:
    for node, summary in _summaries(api):
        processor, memory = summary["node"].get("cpu", {}), summary["node"].get("memory", {})
        if "usageNanoCores" in processor:
            metadata = {"name": node["metadata"]["name"], "labels": node["metadata"].get("labels", {})}
            yield _measured(metadata, processor["time"], usage=_usage(processor, memory))


def _pods(api: Api, namespace: str | None) -> Iterator[dict[str, Any]]:
    where = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
    known = {pod["metadata"]["uid"]: pod["metadata"] for pod in api.get(where)["items"]}
    for _, summary in _summaries(api):
        for pod in summary.get("pods", []):
            metadata = known.get(pod["podRef"]["uid"])
            running = [one for one in pod.get("containers", []) if "usageNanoCores" in one.get("cpu", {})]
            if metadata is None or not running:
                continue
            described = {name: metadata.get(name, {}) for name in ("name", "namespace", "labels")}
            containers = [{"name": one["name"], "usage": _usage(one["cpu"], one["memory"])} for one in running]
            yield _measured(described, running[0]["cpu"]["time"], containers=containers)


def _summaries(api: Api) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every node with what its kubelet measured; a node that does not answer is left out, as metrics-server does."""
    for node in api.get("/api/v1/nodes")["items"]:
        addresses = {entry["type"]: entry["address"] for entry in node["status"].get("addresses", [])}
        try:
            yield node, api.get(f"https://{addresses.get('InternalIP')}:10250/stats/summary")
        except ApiRefused:
            continue


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def _measured(metadata: dict[str, Any], at: str, **figures: Any) -> dict[str, Any]:
    return {"metadata": metadata, "timestamp": at, "window": _WINDOW, **figures}


def _usage(processor: dict[str, Any], memory: dict[str, Any]) -> dict[str, str]:
    return {"cpu": f"{processor['usageNanoCores']}n", "memory": f"{memory.get('workingSetBytes', 0) // 1024}Ki"}


def selected(labels: dict[str, str], selector: str) -> bool:
    """Whether labels fit a selector: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, all of them."""
    for part in re.split(r",(?![^(]*\))", selector):
        term = part.strip()
        if among := re.fullmatch(r"(\S+) (in|notin) \(([^)]*)\)", term):
            values = {value.strip() for value in among[3].split(",")}
            fits = (labels.get(among[1]) in values) == (among[2] == "in")
        elif "!=" in term:
            name, _, value = term.partition("!=")
            fits = labels.get(name.strip()) != value.strip()
        elif "=" in term:
            name, _, value = term.replace("==", "=").partition("=")
            fits = labels.get(name.strip()) == value.strip()
        elif term.startswith("!"):
            fits = term[1:] not in labels
        else:
            fits = not term or term in labels
        if not fits:
            return False
    return True
