"""The cluster, asked by kubectl in a platform's namespace, once it is known to be the sandbox's own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.cluster.cluster import Cluster
from sandbox.errors import ControlRefused, NotOurs, NotUp

__all__ = ["CLOSED", "Kube", "ready"]

CLOSED = "runbooks.sandbox/closed-by"  # annotation of a node that takes no pods because of the sandbox of that id

_TRIES = 6
_AGAIN_S = 0.5


@dataclass(frozen=True)
class Kube:
    """kubectl for the namespace of a platform.

    Attributes
    ----------
    cluster : Cluster
    folder : Path
        Where documents are put for kubectl to read.
    namespace : str
    """

    cluster: Cluster
    folder: Path
    namespace: str

    def __call__(self, *words: str, allowed_to_fail: bool = False) -> str:
        """What `kubectl WORDS` prints.

        Raises
        ------
        ControlRefused
            With what it said.
        """
        done: subprocess.CompletedProcess[str] = self.cluster.run("kubectl", "--namespace", self.namespace, *words)
        if done.returncode != 0 and not allowed_to_fail:
            raise ControlRefused(f"kubectl {' '.join(words)[:200]}: {done.stderr.strip()[:1000]}")
        return done.stdout

    def document(self, *words: str) -> dict[str, Any]:
        """What `kubectl WORDS -o json` tells."""
        found: dict[str, Any] = json.loads(self(*words, "-o", "json"))
        return found

    def send(self, verb: str, documents: Sequence[dict[str, Any]], *words: str) -> None:
        """Apply, create or replace documents; again where a controller wrote one of them at the same moment."""
        path = self.folder / f"{verb}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}), "utf-8")
        try:
            for left in range(_TRIES - 1, -1, -1):
                try:
                    self(verb, "-f", str(path), *words)
                    return
                except ControlRefused as refused:
                    if "(Conflict)" not in str(refused) or not left:
                        raise
                    time.sleep(_AGAIN_S)
        finally:
            path.unlink()

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> None:
        """Merge a change into an object, as Kubernetes merges lists by name."""
        self("patch", kind, name, "--type", "strategic", "--patch", json.dumps(change))

    def versions(self) -> frozenset[str]:
        """The versions of the API that the server offers, such as `apps/v1`."""
        return frozenset(self("api-versions").split())

    def cordon(self, node: str, sandbox_id: str) -> None:
        """Let a node take no pods, and note on it that the sandbox of that id did so."""
        self("annotate", "node", node, f"{CLOSED}={sandbox_id}", "--overwrite")
        self("cordon", node)

    def uncordon(self, *nodes: str) -> None:
        """Let nodes take pods again."""
        self("uncordon", *nodes)
        self("annotate", "node", *nodes, f"{CLOSED}-")

    def pods(self, app: str) -> list[dict[str, Any]]:
        """The pods of a part that are not ending."""
        items = self.document("get", "pods", "-l", f"app={app}")["items"]
        return [one for one in items if "deletionTimestamp" not in one["metadata"]]

    def verify(self, sandbox_id: str) -> None:
        """Make sure that the namespace carries the mark of this sandbox.

        Raises
        ------
        NotUp, NotOurs
        """
        try:
            labels = self.document("get", "namespace", self.namespace)["metadata"].get("labels", {})
        except ControlRefused as problem:
            raise NotUp(f"the cluster of the sandbox does not answer ({problem})") from problem
        if labels.get("sandbox-id") != sandbox_id:
            raise NotOurs()

    def delete_namespace(self, sandbox_id: str) -> bool:
        """Delete the namespace, and all in it, where it is this sandbox's; return whether there was one."""
        try:
            self.verify(sandbox_id)
        except (NotUp, NotOurs):
            return False
        self("delete", "namespace", self.namespace, "--wait=true", "--timeout=90s")
        return True


def ready(pod: dict[str, Any]) -> bool:
    """Whether a pod serves."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
