"""Documents of Kubernetes applied from the host, with the official client; only to namespaces of the sandbox."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from sandbox.cluster.certificates import kubeconfig as write_kubeconfig
from sandbox.cluster.certificates import private
from sandbox.errors import ApplyFailed, NotOurs, NotUp

__all__ = ["LABEL", "account", "api", "apply", "check", "only", "remove", "verify"]

LABEL = "sandbox-id"
_TIMEOUT_S = (3.0, 20.0)  # to connect, to read
_open: Any = config.new_client_from_config
_REMOVED_S = 120.0
_ACCOUNT_S = 60.0
_TOKEN_S = 30 * 24 * 3600


@contextmanager
def api(kubeconfig: Path, context: str) -> Iterator[client.ApiClient]:
    """A client of the official library for one context.

    Raises
    ------
    NotUp
        The kubeconfig is of no use, or the cluster does not answer.
    """
    try:
        with _open(str(kubeconfig), context=context) as opened:
            yield opened
    except (ConfigException, HTTPError) as problem:
        raise NotUp(f"the cluster {context} of {kubeconfig} does not answer: {problem}") from problem


def check(kubeconfig: Path, context: str) -> None:
    """Make sure that a cluster answers.

    Raises
    ------
    NotUp
        With the reason.
    """
    with api(kubeconfig, context) as opened:
        try:
            _call(opened, "GET", "/version")
        except ApiException as problem:
            raise NotUp(f"the cluster {context} of {kubeconfig} refuses: {_reason(problem)}") from problem


def verify(kubeconfig: Path, context: str, sandbox_id: str, namespace: str) -> None:
    """Raise `NotOurs` where a namespace does not carry this `sandbox-id`, or is not there."""
    with api(kubeconfig, context) as opened:
        _ours(opened, sandbox_id, namespace)


def apply(kubeconfig: Path, context: str, sandbox_id: str, documents: Sequence[dict[str, Any]], namespace: str) -> None:
    """Apply documents on the server's side, one after the other, in a namespace of the sandbox.

    Raises
    ------
    NotOurs
        Nothing was changed.
    ApplyFailed
        Every document that was refused, and why.
    """
    with api(kubeconfig, context) as opened:
        try:
            _ours(opened, sandbox_id, namespace)
        except _Absent:
            body = client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace, labels={LABEL: sandbox_id}))
            client.CoreV1Api(opened).create_namespace(body, _request_timeout=_TIMEOUT_S)
            _until_pods_are_let_in(opened, namespace)
        kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        failed = []
        for document in documents:
            name = f"{document['kind']} {document['metadata']['name']}"
            try:
                path = _path(opened, kinds, document, namespace)
                query = [("fieldManager", "sandbox"), ("force", "true")]
                _call(opened, "PATCH", path, _complete(document), query, "application/apply-patch+yaml")
            except ApiException as problem:
                failed.append(f"{name}: {_reason(problem)}")
            except KeyError:
                failed.append(f"{name}: this server has no such kind in {document['apiVersion']}")
    if failed:
        raise ApplyFailed(f"Kubernetes refused {len(failed)} of {len(documents)} documents: {'; '.join(failed)}")


def only(kubeconfig: Path, context: str, target: Path) -> None:
    """Write a kubeconfig in which the chosen context is the current one."""
    known = _read(kubeconfig)
    known["current-context"] = context
    private(target, yaml.safe_dump(known, sort_keys=False).encode())


def account(kubeconfig: Path, context: str, folder: Path, namespace: str, name: str) -> Path:
    """Write a kubeconfig with a token of a service account into a folder, and return it."""
    with api(kubeconfig, context) as opened:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _TOKEN_S},
        }
        token = _call(opened, "POST", path, wanted)["status"]["token"]
    known = _read(kubeconfig)
    chosen = next(one["context"] for one in known["contexts"] if one["name"] == context)
    server = next(one["cluster"] for one in known["clusters"] if one["name"] == chosen["cluster"])
    target = folder / f"kubeconfig-{namespace}-{name}"
    write_kubeconfig(target, server, {"token": token}, context, namespace)
    return target


def remove(kubeconfig: Path, context: str, sandbox_id: str) -> list[str]:
    """Delete every namespace that carries this `sandbox-id`, wait until they are gone, and return their names.

    Roles of the whole cluster that carry it go as well.
    """
    with api(kubeconfig, context) as opened:
        core = client.CoreV1Api(opened)
        selector = f"{LABEL}={sandbox_id}"

        def left() -> list[str]:
            found: Any = core.list_namespace(label_selector=selector, _request_timeout=_TIMEOUT_S)
            return [one.metadata.name for one in found.items]

        names = left()
        for name in names:
            core.delete_namespace(name, _request_timeout=_TIMEOUT_S)
        roles = client.RbacAuthorizationV1Api(opened)
        for delete in (roles.delete_collection_cluster_role_binding, roles.delete_collection_cluster_role):
            delete(label_selector=selector, _request_timeout=_TIMEOUT_S)
        deadline = time.monotonic() + _REMOVED_S
        while left() and time.monotonic() < deadline:
            time.sleep(0.5)
    return names


def _read(kubeconfig: Path) -> dict[str, Any]:
    """A kubeconfig that may lie anywhere: with files named by their whole path."""
    known: dict[str, Any] = yaml.safe_load(kubeconfig.read_bytes())
    parts = [one["cluster"] for one in known["clusters"]] + [one["user"] for one in known["users"]]
    for part in parts:
        for name in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
            if name in part:
                part[name] = str((kubeconfig.parent / part[name]).absolute())
    return known


class _Absent(NotOurs):
    """There is no such namespace."""


def _ours(opened: client.ApiClient, sandbox_id: str, namespace: str) -> None:
    try:
        found = client.CoreV1Api(opened).read_namespace(namespace, _request_timeout=_TIMEOUT_S)
    except ApiException as problem:
        if problem.status == 404:
            raise _Absent(f"there is no namespace {namespace}; run `runbook sandbox up` with its platform") from problem
        raise
    labels = (found.metadata.labels if found.metadata else None) or {}
    if labels.get(LABEL) != sandbox_id:
        raise NotOurs(f"the namespace {namespace} does not carry {LABEL}={sandbox_id}; nothing was changed there")


def _until_pods_are_let_in(opened: client.ApiClient, namespace: str) -> None:
    """Wait for the account of pods that name none, and, on servers before 1.24, for its token."""
    with_token = int(re.sub(r"\D", "", _call(opened, "GET", "/version")["minor"])) < 24
    deadline = time.monotonic() + _ACCOUNT_S
    while time.monotonic() < deadline:
        found = _call(opened, "GET", f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"]
        if any(one["metadata"]["name"] == "default" and (one.get("secrets") or not with_token) for one in found):
            return
        time.sleep(0.1)
    raise ApplyFailed(f"the namespace {namespace} got no default account within {_ACCOUNT_S:.0f} s")


def _path(
    opened: client.ApiClient,
    kinds: dict[str, dict[str, tuple[str, bool]]],
    document: dict[str, Any],
    namespace: str,
) -> str:
    """Address of a document, by what the server says of its kind."""
    version = document["apiVersion"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if version not in kinds:
        resources = _call(opened, "GET", base)["resources"]
        kinds[version] = {one["kind"]: (one["name"], one["namespaced"]) for one in resources if "/" not in one["name"]}
    plural, namespaced = kinds[version][document["kind"]]
    within = f"/namespaces/{namespace}" if namespaced else ""
    return f"{base}{within}/{plural}/{document['metadata']['name']}"


def _complete(document: Any) -> Any:
    """The document with the protocol of each port, which servers before 1.20.3 do not fill in by themselves."""
    if isinstance(document, list):
        return [_complete(one) for one in document]
    if not isinstance(document, dict):
        return document
    whole = {name: _complete(value) for name, value in document.items()}
    for port in whole.get("ports") or []:
        if isinstance(port, dict) and ("port" in port or "containerPort" in port):
            port.setdefault("protocol", "TCP")
    return whole


def _call(
    opened: client.ApiClient,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    query: Sequence[tuple[str, str]] = (),
    kind: str = "application/json",
) -> Any:
    headers = {"Accept": "application/json", "Content-Type": kind}
    address, headers, sent, posted = opened.param_serialize(
        method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
    )[1:5]
    answer: Any = opened.call_api(method, address, headers, sent, posted, _request_timeout=_TIMEOUT_S)
    content = answer.read()
    if not 200 <= answer.status < 300:
        raise ApiException(status=answer.status, reason=answer.reason, body=content.decode(errors="replace"))
    return json.loads(content)


def _reason(problem: ApiException) -> str:
    try:
        return str(json.loads(problem.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return f"{problem.status} {problem.reason}"
