"""A small HTTP server with the paths of a Kubernetes API server, for what a healthy cluster does not show on demand.

Logs that cannot be read, more events than a probe lists, kinds that an identity may not see: the objects are given, and
so is what each log answers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

NAMESPACE = "desk"
_GROUPS = ("apps", "autoscaling", "networking.k8s.io")


def kubeconfig(url: str) -> str:
    """A kubeconfig with one context, `small`."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "small", "cluster": {"server": url}}],
            "users": [{"name": "reader", "user": {}}],
            "contexts": [{"name": "small", "context": {"cluster": "small", "user": "reader"}}],
        }
    )


def address(url: str, folder: Path) -> str:
    """The address of a cluster behind a URL, as a platform's file has it."""
    (folder / "kubeconfig").write_text(kubeconfig(url), "utf-8")
    return f"kubeconfig://{folder / 'kubeconfig'}?context=small&namespace={NAMESPACE}"


@contextmanager
def api_server(objects: Mapping[str, list[dict[str, Any]]], logs: Mapping[str, str | None]) -> Iterator[str]:
    """The URL of a server with these objects by kind, and these logs by pod; a log that is None cannot be read.

    A kind that is not among the objects may not be seen.
    """

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each body waits 40 ms for the acknowledgement of its head

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            inside = path.partition(f"/namespaces/{NAMESPACE}/")[2] or path.partition("/v1/")[2]
            kind, _, rest = inside.partition("/")
            if path == "/apis":
                groups = [{"name": name, "versions": [{"version": "v1"}]} for name in _GROUPS]
                self.answer(200, json.dumps({"groups": groups}))
            elif rest.endswith("/log"):
                text = logs[rest.removesuffix("/log")]
                refused = json.dumps({"message": "container is waiting to start: ContainerCreating"})
                self.answer(400, refused) if text is None else self.stream(text)
            elif kind in objects and rest:
                found = [one for one in objects[kind] if one["metadata"]["name"] == rest]
                self.answer(200, json.dumps(found[0])) if found else self.answer(404, "{}")
            elif kind in objects:
                self.answer(200, json.dumps({"items": objects[kind]}))
            else:
                self.answer(403, json.dumps({"message": f"cannot list resource {kind}"}))

        def answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stream(self, text: str) -> None:
            """A log as it is written, a chunk a line."""
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in text.encode().splitlines(keepends=True):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
