"""Helm's releases: as Helm keeps them in secrets, what differs between two manifests, and the real `helm`."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from opslib import yamls
from opslib.clusters.client import Cluster
from opslib.errors import ActionFailed, ProbeError

_LARGEST = 32 * 1024 * 1024
# Below these a value may be a secret: it is said that it differs, and no more.
_HIDDEN = frozenset({"annotations", "args", "command", "data", "env", "stringData"})
_TOLD = 80


@dataclass(frozen=True)
class Release:
    """One revision of a release.

    Attributes
    ----------
    name : str
    revision : int
    status : str
        `deployed`, `superseded`, `failed`, `pending-upgrade`, ...
    chart : str
        Name and version.
    description : str
    first_deployed : str
        Tells it from an earlier release of the same name.
    manifest : str
        What was sent to the cluster, in YAML; it may hold secrets.
    """

    name: str
    revision: int
    status: str
    chart: str
    description: str
    first_deployed: str
    manifest: str

    @classmethod
    def of(cls, told: dict[str, Any]) -> Release:
        """As Helm keeps or prints it."""
        info, chart = told.get("info") or {}, (told.get("chart") or {}).get("metadata") or {}
        return cls(
            str(told.get("name")),
            int(told.get("version") or 0),
            str(info.get("status")),
            f"{chart.get('name')}-{chart.get('version')}",
            str(info.get("description") or ""),
            str(info.get("first_deployed") or ""),
            str(told.get("manifest") or ""),
        )


def unpacked(cluster: Cluster, secret: str) -> dict[str, Any]:
    """A release as Helm keeps it: JSON in gzip in base64, in the secret's base64.

    Raises
    ------
    ProbeError
        When there is no such secret, or it is no release.
    """
    data = (cluster.one("secrets", secret).get("data") or {}).get("release") or ""
    try:
        packed = base64.b64decode(base64.b64decode(data))
        plain = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed, _LARGEST)
        found: dict[str, Any] = json.loads(plain)
    except (binascii.Error, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ProbeError(f"the Helm release in secret {secret} cannot be read: {type(error).__name__}") from error
    return found


def revisions(cluster: Cluster, name: str) -> dict[int, str]:
    """The revisions of a release that Helm still keeps, oldest first, each with the name of its secret.

    Raises
    ------
    ProbeError
        When there is no such release.
    """
    found = {}
    for one in cluster.all("secrets", selector=f"owner=helm,name={name}", metadata_alone=True):
        version = (one["metadata"].get("labels") or {}).get("version", "")
        if version.isdigit():
            found[int(version)] = str(one["metadata"]["name"])
    if not found:
        raise ProbeError(f"there is no Helm release {name} in {cluster.namespace}", absent=True)
    return dict(sorted(found.items()))


def differences(before: str, after: str) -> list[dict[str, str]]:
    """What differs between two manifests: a row an object, secrets and what may hold some without their values.

    Raises
    ------
    ProbeError
        When one is no YAML.
    """
    old, new = _objects(before), _objects(after)
    rows = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            rows.append({"object": name, "change": "made" if name in new else "taken away", "what": ""})
        elif old[name] != new[name]:
            rows.append({"object": name, "change": "changed", "what": "; ".join(_changes(old[name], new[name]))})
    return rows


def members(manifest: str, namespace: str, kinds: Container[str]) -> tuple[str, ...]:
    """The objects of some kinds (in small letters) in a manifest, in order, as `kind/NAMESPACE/name`.

    Raises
    ------
    ProbeError
        When it is no YAML.
    """
    found = set()
    for one in _parsed(manifest):
        kind, about = str(one.get("kind")).lower(), one.get("metadata") or {}
        if kind in kinds:
            found.add(f"{kind}/{about.get('namespace') or namespace}/{about.get('name')}")
    return tuple(sorted(found))


def _objects(manifest: str) -> dict[str, dict[str, Any]]:
    return {f"{one.get('kind')}/{(one.get('metadata') or {}).get('name')}": one for one in _parsed(manifest)}


def _parsed(manifest: str) -> list[dict[str, Any]]:
    try:
        return [one for one in yamls.load_all(manifest) if isinstance(one, dict)]
    except yaml.YAMLError as error:
        raise ProbeError("the manifest of the Helm release is no YAML") from error


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before, after = dict(_flat(old)), dict(_flat(new))
    hidden = old.get("kind") == "Secret"
    told = dict.fromkeys(
        _path(keys) if hidden or _HIDDEN & {*keys} else f"{_path(keys)}: {_cut(before, keys)} → {_cut(after, keys)}"
        for keys in sorted(before.keys() | after.keys())
        if before.get(keys) != after.get(keys)
    )
    yield from told


def _flat(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf with its path; members of lists by their name, where they have one."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, (*keys, str(key)))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            name = part.get("name") if isinstance(part, dict) else None
            yield from _flat(part, (*keys, str(name or number)))
    else:
        yield keys, value


def _path(keys: tuple[str, ...]) -> str:
    """The path, as far as what is hidden begins with the next step but one."""
    at = next((number for number, key in enumerate(keys) if key in _HIDDEN), None)
    return ".".join(keys if at is None else keys[: at + 2])


def _cut(leaves: dict[tuple[str, ...], Any], keys: tuple[str, ...]) -> str:
    text = str(leaves.get(keys, "–"))
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"


# helm itself


def program() -> str | None:
    """Where `helm` is: beside this Python, or on PATH."""
    beside = Path(sys.executable).with_name("helm")
    return str(beside) if beside.exists() else shutil.which("helm")


def run(cluster: Cluster, *words: str, timeout_s: float, changes: bool) -> str:
    """What `helm` prints, run as the identity of a connection, in its namespace, with no state of its own.

    Raises
    ------
    ActionFailed
        When there is no `helm`, or it fails; `sent` tells whether it may have changed something, `forbidden` whether
        this identity may not do so.
    """
    found = program()
    if found is None:
        raise ActionFailed("there is no helm here: install it where recorder and applier run", sent=False)
    address = cluster.address
    where = ["--kubeconfig", str(address.file), "--namespace", address.namespace]
    where += ["--kube-context", address.context] if address.context else []
    with tempfile.TemporaryDirectory(prefix="helm-") as home:
        try:
            done = subprocess.run(
                [found, *words, *where],
                env={"HOME": home, "PATH": os.defpath, "LC_ALL": "C"},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise ActionFailed(f"helm {words[0]} took more than {timeout_s:.0f} s", sent=changes) from error
    if done.returncode:
        told = " ".join(done.stderr.split())[-400:] or f"exit code {done.returncode}"
        raise ActionFailed(f"helm {words[0]}: {told}", sent=changes, forbidden="forbidden" in told)
    return done.stdout
