"""Secrets by name and age, and the history of Helm releases: values are read by nobody, or shown to nobody."""

from __future__ import annotations

import re
from typing import Any

from opslib.clusters import Cluster, helm, objects
from opslib.probes.kubernetes import reading
from opslib.probes.registry import Frame, Target, probe
from opslib.probes.tables import Kind, frame

_MOST_REVISIONS = 10
_IMAGE = re.compile(r"^\s*(?:- )?image:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
SECRET: dict[str, Kind] = {"secret": "text", "created": "time", "changed": "time", "changed_by": "text"}
RELEASE: dict[str, Kind] = {
    "release": "text", "revision": "whole", "status": "text", "deployed": "time", "chart": "text",
    "app_version": "text", "description": "text", "images": "text", "changes": "text",
}  # fmt: skip


@probe("kubernetes.secrets")
def secrets(target: Target) -> Frame:
    """The secrets: index `secret`; when made, when changed last and by what. The values never leave the cluster."""
    with reading(target) as cluster:
        rows = [touched(one) for one in cluster.all("secrets", metadata_alone=True)]
    return frame(sorted(rows, key=lambda row: row["secret"]), SECRET, index="secret")


def touched(one: objects.Object) -> dict[str, Any]:
    """When an object was made, and when and by what it was changed last."""
    meta = one["metadata"]
    marks = [mark for mark in meta.get("managedFields") or [] if mark.get("time")]
    last: objects.Object = max(marks, key=lambda mark: str(mark["time"]), default={})
    return {
        "secret": meta["name"],
        "created": objects.moment(meta.get("creationTimestamp")),
        "changed": objects.moment(last.get("time") or meta.get("creationTimestamp")),
        "changed_by": last.get("manager"),
    }


@probe("kubernetes.releases")
def releases(target: Target, release: str = "") -> Frame:
    """The history of Helm releases, newest first: chart, status, images, and which values changed (by name alone).

    At most the last ten revisions of each release are opened.
    """
    with reading(target) as cluster:
        rows = release_rows(cluster, release)
    if release and not rows:
        raise target.error(f"there is no Helm release {release}")
    return frame(rows, RELEASE)


def release_rows(cluster: Cluster, release: str = "") -> list[dict[str, Any]]:
    """The revisions of releases, newest first in each."""
    known: dict[str, list[dict[str, Any]]] = {}
    wanted = "owner=helm" + (f",name={release}" if release else "")
    for one in cluster.all("secrets", selector=wanted, metadata_alone=True):
        labels = one["metadata"].get("labels") or {}
        if labels.get("version", "").isdigit():
            known.setdefault(labels.get("name") or "", []).append(one)
    rows = []
    for name, kept in sorted(known.items()):
        kept.sort(key=lambda one: int(one["metadata"]["labels"]["version"]))
        opened = [helm.unpacked(cluster, one["metadata"]["name"]) for one in kept[-_MOST_REVISIONS:]]
        told = [_release_row(name, now, before) for before, now in zip([None, *opened[:-1]], opened, strict=True)]
        rows += told[::-1]
    return rows


def _release_row(name: str, now: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    info, chart = now.get("info") or {}, (now.get("chart") or {}).get("metadata") or {}
    return {
        "release": name,
        "revision": int(now.get("version") or 0),
        "status": info.get("status"),
        "deployed": objects.moment(info.get("last_deployed")),
        "chart": f"{chart.get('name')}-{chart.get('version')}",
        "app_version": chart.get("appVersion"),
        "description": (info.get("description") or "")[:300],
        "images": ", ".join(_images(now)),
        "changes": "; ".join(_changes(before, now)) if before else None,
    }


def _images(release: dict[str, Any]) -> list[str]:
    return sorted(set(_IMAGE.findall(release.get("manifest") or "")))


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a revision changed: chart, images, and the names of values; no value is told."""
    lines = []
    old, new = ((one.get("chart") or {}).get("metadata") or {} for one in (before, now))
    if old.get("version") != new.get("version"):
        lines.append(f"chart {old.get('version')} -> {new.get('version')}")
    if _images(before) != _images(now):
        gone, come = set(_images(before)) - set(_images(now)), set(_images(now)) - set(_images(before))
        lines.append(f"images {', '.join(sorted(gone)) or 'none'} -> {', '.join(sorted(come)) or 'none'}")
    was, values = _flat(before.get("config") or {}), _flat(now.get("config") or {})
    names = sorted(key for key in was.keys() | values.keys() if was.get(key) != values.get(key))
    if names:
        lines.append(f"values {', '.join(names[:30])}")
    return lines or ["nothing"]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
