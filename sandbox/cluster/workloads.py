"""How the objects of a platform are written: what all of them have in common, in whichever namespace."""

from __future__ import annotations

from typing import Any

__all__ = ["LABEL", "Document", "controlled", "namespace", "object_", "resources"]

Document = dict[str, Any]
LABEL = "app"


def namespace(name: str, sandbox_id: str) -> Document:
    """The namespace of a platform, with the mark of who made it."""
    labels = {"sandbox-id": sandbox_id, "environment": "sandbox"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def object_(platform: str, version: str, kind: str, name: str, **content: Any) -> Document:
    """An object of a platform, in the namespace of the same name."""
    metadata: Document = {"name": name, "labels": {LABEL: name, "platform": platform}}
    if not kind.startswith("Cluster"):
        metadata["namespace"] = platform
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def controlled(name: str, pod: Document, replicas: int) -> Document:
    """The specification of what keeps so many pods; `pod` is theirs."""
    pod = {"automountServiceAccountToken": False, "enableServiceLinks": False, **pod}
    template = {"metadata": {"labels": {LABEL: name}}, "spec": pod}
    return {"replicas": replicas, "selector": {"matchLabels": {LABEL: name}}, "template": template}


def resources(cpu: str, cpu_most: str, memory: str, memory_most: str) -> Document:
    """What a container asks for, and what it may have: CPU, memory."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu_most, "memory": memory_most}}
