"""A cluster as one identity sees it: the official client's connection, within a time and a size, errors in words.

An address is `kubeconfig:///path/to/file?context=NAME&namespace=NS`. The version of each kind is the newest that
both the cluster serves and this code understands, so that one code serves clusters from 1.20 on.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from opslib.clusters import failures
from opslib.errors import ActionFailed, ProbeError
from opslib.record import redaction

if TYPE_CHECKING:
    import urllib3
    from kubernetes.client import ApiClient

CONNECT_S = 2.0
READ_S = 8.0
BUDGET_S = 16.0
CHANGE_S = 15.0
LARGEST = 8 * 1024 * 1024
PAGE = 500
MOST = 5_000
_DISCOVERY_S = 300.0
_PIECE = 65_536

# Kind -> group and the versions that this code understands, best first.
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("pods", "nodes", "events", "services", "endpoints", "secrets", "configmaps"), ("", ("v1",))),
    **dict.fromkeys(
        ("deployments", "statefulsets", "daemonsets", "replicasets", "controllerrevisions"), ("apps", ("v1",))
    ),
    "horizontalpodautoscalers": ("autoscaling", ("v2", "v2beta2", "v1")),
    "poddisruptionbudgets": ("policy", ("v1", "v1beta1")),
    "ingresses": ("networking.k8s.io", ("v1", "v1beta1")),
    "pods.metrics": ("metrics.k8s.io", ("v1", "v1beta1")),
    "nodes.metrics": ("metrics.k8s.io", ("v1", "v1beta1")),
}
_WITHOUT_NAMESPACE = frozenset({"nodes", "nodes.metrics"})
METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Address:
    """Where a cluster is: the kubeconfig, the context in it, and the platform's namespace."""

    file: Path
    context: str | None
    namespace: str

    @classmethod
    def of(cls, url: str) -> Address:
        """The parts of `kubeconfig:///path?context=NAME&namespace=NS`.

        Raises
        ------
        ProbeError
            When it is no such address.
        """
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        if parts.scheme != "kubeconfig" or not parts.path.startswith("/"):
            raise ProbeError("the address of a cluster is kubeconfig:///path/to/file?context=NAME&namespace=NS")
        return cls(Path(unquote(parts.path)), query.get("context", [None])[0], query.get("namespace", ["default"])[0])


def connect(url: str) -> Cluster:
    """The cluster at an address; one connection a process and kubeconfig, made anew when the file has changed.

    Raises
    ------
    ProbeError
        When the kubeconfig cannot be read.
    """
    address = Address.of(url)
    try:
        changed = address.file.stat().st_mtime_ns
    except OSError as error:
        raise ProbeError(f"the kubeconfig {address.file.name} cannot be read: {error.strerror}") from error
    return _connected(address, changed)


@lru_cache(maxsize=16)
def _connected(address: Address, _changed: int) -> Cluster:
    return Cluster(address)


class Cluster:
    """One identity's connection to a cluster. Its calls may come from several threads.

    Attributes
    ----------
    address : Address
    namespace : str
        The platform's.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.namespace = address.namespace
        self.api: ApiClient = _api_client(address)
        self._lock = threading.Lock()
        self._served: dict[str, list[str]] = {}
        self._served_at = 0.0

    # where things are

    def path(
        self,
        kind: str,
        name: str | None = None,
        part: str | None = None,
        *,
        everywhere: bool = False,
        namespace: str | None = None,
    ) -> str:
        """The path of a kind, of one object, or of a part of it (`scale`, `log`, `eviction`).

        Raises
        ------
        ProbeError
            When the cluster serves no version of it that this code understands.
        """
        group, version = self.version(kind)
        steps = [f"/apis/{group}/{version}" if group else f"/api/{version}"]
        if kind not in _WITHOUT_NAMESPACE and not everywhere:
            steps.append(f"namespaces/{quote(namespace or self.namespace, safe='')}")
        steps.append(kind.partition(".")[0])
        steps += [quote(step, safe="") for step in (name, part) if step]
        return "/".join(steps)

    def version(self, kind: str) -> tuple[str, str]:
        """Group and version of a kind: the first that is understood here and served there."""
        group, understood = _KINDS[kind]
        if not group:
            return group, understood[0]
        served = self._groups().get(group, [])
        for version in understood:
            if version in served:
                return group, version
        there = f"it serves {', '.join(served)}" if served else "it serves none"
        raise ProbeError(f"this cluster has no {group} {' or '.join(understood)} ({there})", absent=True)

    def _groups(self) -> dict[str, list[str]]:
        """The versions of each group of the API, asked again after some minutes."""
        with self._lock:
            if not self._served or time.monotonic() - self._served_at > _DISCOVERY_S:
                found = self.get("/apis")["groups"]
                self._served = {group["name"]: [one["version"] for one in group["versions"]] for group in found}
                self._served_at = time.monotonic()
            return self._served

    # reading

    def get(
        self,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        accept: str = "application/json",
        until: float | None = None,
    ) -> Any:
        """The JSON that a path answers.

        Parameters
        ----------
        path : str
        query : dict, optional
        accept : str
        until : float, optional
            The answer is whole by then, on the monotonic clock [s]; 16 s from now where it is left out.

        Raises
        ------
        ProbeError
            When the server cannot be reached, refuses, or answers too much; the fact `status` tells 403 from 404.
        """
        with self._open("GET", path, query, headers={"Accept": accept}) as response:
            body = self._body(response, path, until)
            if response.status >= 400:
                raise failures.refused(path, response.status, body)
        try:
            return json.loads(body)
        except ValueError as error:
            raise ProbeError(f"{path} did not answer JSON") from error

    def one(self, kind: str, name: str, part: str | None = None) -> dict[str, Any]:
        """One object.

        Raises
        ------
        ProbeError
            When there is none, or it cannot be seen.
        """
        found: dict[str, Any] = self.get(self.path(kind, name, part))
        return found

    def all(
        self,
        kind: str,
        *,
        selector: str = "",
        fields: str = "",
        everywhere: bool = False,
        metadata_alone: bool = False,
    ) -> list[dict[str, Any]]:
        """The objects of a kind in the namespace, in pages, at most 5,000, all of them within 16 s.

        Parameters
        ----------
        kind : str
        selector, fields : str
            Label and field selector.
        everywhere : bool
            In all namespaces.
        metadata_alone : bool
            The server leaves out everything but metadata: the values of secrets never travel.

        Raises
        ------
        ProbeError
            When they cannot be seen.
        """
        found: list[dict[str, Any]] = []
        going_on, until = "", time.monotonic() + BUDGET_S
        while True:
            query = {"limit": PAGE, "labelSelector": selector, "fieldSelector": fields, "continue": going_on}
            accept = METADATA_ALONE if metadata_alone else "application/json"
            path, asked = self.path(kind, everywhere=everywhere), {k: v for k, v in query.items() if v}
            page = self.get(path, asked, accept=accept, until=until)
            found += page.get("items") or []  # an old server says null for none, where it gives metadata alone
            going_on = (page.get("metadata") or {}).get("continue") or ""
            if not going_on:
                return found
            if len(found) >= MOST:
                raise ProbeError(f"there are more than {MOST:,} {kind} in {self.namespace}; give a selector")

    @contextlib.contextmanager
    def lines(self, path: str, query: dict[str, Any], *, until: float) -> Iterator[Iterator[bytes]]:
        """The lines of a text as they come; the caller stops when it has enough.

        Parameters
        ----------
        path : str
        query : dict
        until : float
            No line later than this, on the monotonic clock [s].
        """
        with self._open("GET", path, query) as response:
            if response.status >= 400:
                raise failures.refused(path, response.status, self._body(response, path))
            yield _lines(response, until)

    # changing

    def change(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        dry_run: bool,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Change something, or with `dry_run` let the server say what would come of it.

        Raises
        ------
        ActionFailed
            When it is refused or fails; `sent` tells whether it may have been done, `status` what the server said.
        """
        query = {"dryRun": "All"} if dry_run else None
        if dry_run and method == "DELETE":
            body = {**body, "dryRun": ["All"]}  # where a deletion has a body, the server does not look at the query
        headers = {"Content-Type": content, "Accept": accept}
        try:
            opened = self._open(method, path, query, headers=headers, body=json.dumps(body), timeout_s=CHANGE_S)
            with opened as response:
                answer = self._body(response, path)
                if response.status >= 400:
                    raise failures.refused(path, response.status, answer)
        except ProbeError as error:
            status = error.facts.get("status")
            sent = (status >= 500 if status else error.facts.get("sent", True)) and not dry_run
            raise ActionFailed(str(error), sent=sent, status=status) from error
        try:
            told = json.loads(answer)
        except ValueError as error:
            raise ActionFailed(f"{path} did not answer JSON", sent=not dry_run, status=None) from error
        return told if isinstance(told, dict) else {}

    # the connection

    @contextlib.contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        headers: dict[str, str] | None = None,
        body: str | None = None,
        timeout_s: float = READ_S,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """One request; what goes wrong on the way becomes a `ProbeError` in words."""
        import urllib3

        url = self.api.configuration.host.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        bearer = self.api.configuration.auth_settings().get("BearerToken", {}).get("value")
        if bearer:
            redaction.learn(str(bearer).rpartition(" ")[2])
        try:
            response = self.api.rest_client.pool_manager.request(
                method,
                url,
                headers={"User-Agent": "runbook", **({"Authorization": bearer} if bearer else {}), **(headers or {})},
                body=body,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise failures.unreached(error, CONNECT_S, timeout_s) from error
        try:
            yield response
        except urllib3.exceptions.HTTPError as error:
            raise failures.unreached(error, CONNECT_S, timeout_s) from error
        finally:
            if not response.closed:  # not read to its end: the connection is of no use any more
                response.close()
            response.release_conn()

    def _body(self, response: urllib3.BaseHTTPResponse, path: str, until: float | None = None) -> bytes:
        """The body, read as it comes so that neither a large nor a slow answer goes beyond its budget."""
        body = bytearray()
        until = time.monotonic() + BUDGET_S if until is None else until
        while part := response.read1(_PIECE):
            body += part
            if len(body) > LARGEST:
                raise ProbeError(f"the answer to {path} is more than {LARGEST:,} bytes; narrow the selector")
            if time.monotonic() > until:
                raise ProbeError(f"the answer to {path} took more than {BUDGET_S:g} s")
        return bytes(body)


def _api_client(address: Address) -> ApiClient:
    """The official client for a kubeconfig; certificates, tokens and credential programs are its business."""
    from kubernetes import config

    try:
        load: Callable[..., ApiClient] = config.new_client_from_config
        client = load(str(address.file), address.context, persist_config=False)
    except Exception as error:  # the loader raises whatever its credential programs and parsers do
        said = " ".join(str(error).split())[:300]
        raise ProbeError(f"the kubeconfig {address.file.name} cannot be used: {said}") from error
    client.configuration.retries = False
    return client


def _lines(response: urllib3.BaseHTTPResponse, until: float) -> Iterator[bytes]:
    """The lines of a streamed text until the time is over."""
    rest = b""
    while part := response.read1(_PIECE):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
        if time.monotonic() > until:
            return
    if rest:
        yield rest
