"""What a release of the chart needs around it on the sandbox's Kubernetes: image, volumes, secrets, a PostgreSQL."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql

from opslib.runs import caches
from opslib.settings import PROJECT
from sandbox.cluster import Cluster, pods
from sandbox.derivatives.scripts import script

CHART = PROJECT / "deploy" / "helm" / "runbooks"
HELM = (
    str(Path(sys.executable).with_name("helm"))
    if Path(sys.executable).with_name("helm").exists()
    else shutil.which("helm")
)
NAME = "desk"  # of the release, and of the platform that it looks after
IMAGE = "runbooks/released"
USER = 10001  # the chart's
PLATFORM = f"title: Desk\nenvironment: staging\nendpoints: {{api: 'http://{NAME}:8000'}}\n"
ROUTES = "routes: []\ndefault: {runbook: triage, target: [alertname]}\n"

PROCESSES = ("server", "worker", "recorder", "applier", "signer")

_START_S, _REACHED_S = 120.0, 30.0
_CODE = "/var/cache/numba"
_BIN = Path("/usr/lib/postgresql/15/bin")
_DATA = "/var/lib/postgresql/data"
_DEGRADED = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "degraded"}')
http.server.ThreadingHTTPServer(("", 8000), Answer).serve_forever()
"""


@dataclass
class Release:
    """One release, in a namespace of its own.

    Attributes
    ----------
    cluster : Cluster
    folder : Path
        Of the machine: the volumes, and the values.
    namespace : str
    passwords : dict
        Of PostgreSQL's users.
    token : str
        The webhook's.
    """

    cluster: Cluster
    folder: Path
    namespace: str = field(default_factory=lambda: f"released-{secrets.token_hex(4)}")
    passwords: dict[str, str] = field(
        default_factory=lambda: {name: secrets.token_hex(16) for name in ("postgres", "owner", "runbook_worker")}
    )
    token: str = field(default_factory=lambda: secrets.token_hex(32))

    def kubectl(self, *words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """`kubectl` in the namespace."""
        return self.cluster.run("kubectl", "--namespace", self.namespace, *words, timeout_s=timeout_s)

    def told(self, *words: str) -> str:
        """What `kubectl` prints, where it succeeds."""
        done = self.kubectl(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inside(self, process: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the container of a process."""
        part = "worker" if process == "recorder" else process
        kind = "statefulset" if part == "signer" else "deployment"
        return self.kubectl("exec", f"{kind}/{NAME}-runbooks-{part}", "-c", process, "--", *words)

    def helm(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The real helm, as a person would call it."""
        given = ["--kubeconfig", str(self.cluster.kubeconfig), "--kube-context", self.cluster.context]
        return subprocess.run(
            [str(HELM), *words, "--namespace", self.namespace, *given],
            env={"HOME": str(self.folder), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
            timeout=240.0,
        )

    def install(self) -> None:
        """Install the chart, and wait until every process has started and the server is ready.

        Helm does not wait: a kubelet of 1.20 may say only a minute after a startup probe that such a pod is ready.
        """
        values = self.folder / "values.yaml"
        values.write_text(yaml.safe_dump(self._values()), "utf-8")
        done = self.helm("install", NAME, str(CHART), "--values", str(values))
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + _START_S
        while not self._started():
            assert time.monotonic() < deadline, self.told("describe", "pods")[-20_000:]
            time.sleep(1.0)

    def pods(self) -> dict[str, dict[str, Any]]:
        """The pods of the release by part."""
        found = json.loads(self.told("get", "pods", "-l", f"app.kubernetes.io/instance={NAME}", "-o", "json"))["items"]
        return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in found}

    def containers(self) -> dict[str, dict[str, Any]]:
        """What Kubernetes says of the containers that go on, by name."""
        pods = self.pods().values()
        return {one["name"]: one for pod in pods for one in pod["status"].get("containerStatuses", [])}

    def _started(self) -> bool:
        found = self.containers()
        return (
            set(found) == set(PROCESSES) and found["server"]["ready"] and all(one["started"] for one in found.values())
        )

    def prepare(self) -> None:
        """Make what the chart takes as given (docs/operations.md)."""
        variables = {one["name"]: one["value"] for one in pods.environment()}
        users = f"root:x:0:0:root:/root:/bin/sh\nrunbooks:x:{USER}:{USER}::/tmp:/usr/sbin/nologin\n"
        files = {"etc/passwd": users.encode(), "etc/group": f"root:x:0:\nrunbooks:x:{USER}:\n".encode()}
        self.cluster.image([f"{IMAGE}:1"], files=files, environment={**variables, "NUMBA_CACHE_DIR": _CODE})
        self._folders()
        self.cluster.apply([*self._secrets(), *self._volumes(), *_postgres(), *_desk()], self.namespace)
        for name in ("postgres", NAME):
            self.told("rollout", "status", f"deployment/{name}", "--timeout=90s")
        self._fill_database()

    def remove(self) -> None:
        """Take away what `prepare` made."""
        volumes = [f"{self.namespace}-{name}" for name in _CLAIMS]
        self.told("delete", "--ignore-not-found", "--timeout=90s", "namespace", self.namespace)
        self.told("delete", "--ignore-not-found", "--timeout=30s", "persistentvolume", *volumes)

    def _folders(self) -> None:
        """The volumes, and a copy of the engine's machine code, so that no pod compiles it again."""
        for name in _CLAIMS:
            (self.folder / name).mkdir(mode=0o750)
        code = self.folder / "numba"
        code.mkdir()
        if (kept := caches.compiled(code)).is_dir() and kept != code:
            shutil.copytree(kept, code, dirs_exist_ok=True)
        for name in (*_CLAIMS, "numba"):
            for path in (self.folder / name, *(self.folder / name).rglob("*")):
                os.chown(path, USER, USER)

    def _secrets(self) -> list[dict[str, Any]]:
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        urls = {
            key: f"postgresql://{user}:{self.passwords[user]}@postgres:5432/runbooks"
            for key, user in (("owner", "owner"), ("worker", "runbook_worker"))
        }
        contents = {
            "runbooks-database": urls,
            "runbooks-intake": {"token": self.token},
            "runbooks-redaction": {"redaction": secrets.token_hex(32)},
            "runbooks-signing": {"signing.pem": pem.decode()},
            "platform": {"postgres": self.passwords["postgres"]},
        }
        return [_object("v1", "Secret", name, stringData=content) for name, content in contents.items()]

    def _volumes(self) -> list[dict[str, Any]]:
        """Volumes for the chart's two claims, since this cluster makes none by itself."""
        return [
            _object("v1", "PersistentVolume", f"{self.namespace}-{name}", spec={
                "capacity": {"storage": "1Gi"},
                "accessModes": [mode],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(self.folder / name), "type": "Directory"},
                "claimRef": {"namespace": self.namespace, "name": claim},
            })
            for name, (mode, claim) in _CLAIMS.items()
        ]  # fmt: skip

    def _fill_database(self) -> None:
        """The two users of docs/operations.md, and the database that one of them owns."""
        port = self.cluster.expose(self.namespace, "postgres", 5432)
        admin = f"postgresql://postgres:{self.passwords['postgres']}@127.0.0.1:{port}/postgres"
        with _connected(admin) as connection:
            for user in ("owner", "runbook_worker"):
                role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
                connection.execute(role.format(sql.Identifier(user), sql.Literal(self.passwords[user])))
            connection.execute("CREATE DATABASE runbooks OWNER owner")

    def _values(self) -> dict[str, Any]:
        """Values as small as the machine."""
        few = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
        outside = [PROJECT / "notebooks"]
        params = {name: (PROJECT / "params" / name).read_text("utf-8") for name in ("policy.yaml", "contacts.yaml")}
        policy = {**yaml.safe_load(params["policy.yaml"]), "standing_approvals": []}
        code = {"name": "code", "hostPath": {"path": str(self.folder / "numba")}}
        return {
            "image": {"repository": IMAGE, "tag": "1"},
            "params": {
                "files": {**params, "policy.yaml": yaml.safe_dump(policy), "routes.yaml": ROUTES},
                "platforms": {NAME: PLATFORM},
            },
            "home": {"size": "1Gi"},
            "server": {
                "replicas": 1, "resources": few,
                "ingress": {"enabled": True, "className": "none", "host": "runbooks.example", "tlsSecret": "tls"},
            },
            "worker": {
                "replicas": 1, "concurrency": 1, "warmKernels": 1, "autoscaling": {"min": 1},
                "resources": {**few, "limits": {"memory": "2Gi"}},
            },
            "recorder": {"resources": few},
            "applier": {"resources": few},
            "signer": {"resources": few, "state": {"size": "1Gi"}},
            "extraVolumes": [*pods.volumes(outside), code],
            "extraVolumeMounts": [*pods.mounts(outside), {"name": "code", "mountPath": _CODE}],
        }  # fmt: skip


_CLAIMS = {
    "home": ("ReadWriteMany", f"{NAME}-runbooks-home"),
    "signer": ("ReadWriteOnce", f"state-{NAME}-runbooks-signer-0"),
}


def _object(version: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}


def _serving(name: str, port: int, pod: dict[str, Any]) -> list[dict[str, Any]]:
    """A Deployment of one pod, and a Service in front of it."""
    labels = {"app": name}
    pod = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, **pod}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return [
        _object("apps/v1", "Deployment", name, spec=spec),
        _object("v1", "Service", name, spec={"selector": labels, "ports": [{"port": port, "targetPort": port}]}),
    ]


def _container(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    user = {"runAsUser": 65534, "runAsGroup": 65534}
    return {"name": name, "image": pods.HOST, "imagePullPolicy": "Never", "command": command, "env": pods.environment(),
            "volumeMounts": pods.mounts(), "securityContext": user, **more}  # fmt: skip


def _connected(url: str) -> psycopg.Connection[Any]:
    """A connection to a server that is ready: the nodes may hear of that a moment later, and lead nowhere till then."""
    deadline = time.monotonic() + _REACHED_S
    while True:
        try:
            return psycopg.connect(url, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _postgres() -> list[dict[str, Any]]:
    """A PostgreSQL that keeps nothing."""
    mounts = [*pods.mounts(), {"name": "data", "mountPath": _DATA}]
    password = {"secretKeyRef": {"name": "platform", "key": "postgres"}}
    env = [*pods.environment(), {"name": "POSTGRES_PASSWORD", "valueFrom": password}]
    ready = {"exec": {"command": [str(_BIN / "pg_isready"), "-q", "-h", "127.0.0.1"]}, "periodSeconds": 1}
    postgres = [str(_BIN / "postgres"), "-D", f"{_DATA}/pgdata"]
    pod = {
        "initContainers": [_container("initdb", ["/bin/sh", "-c", script("initdb")], env=env, volumeMounts=mounts)],
        "containers": [_container("postgres", postgres, volumeMounts=mounts, readinessProbe=ready)],
        "volumes": [*pods.volumes(), {"name": "data", "emptyDir": {}}],
    }
    return _serving("postgres", 5432, pod)


def _desk() -> list[dict[str, Any]]:
    """The platform: one API that says of itself that it is degraded."""
    ready = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1}
    desk = _container("api", pods.python("-c", _DEGRADED), readinessProbe=ready)
    return _serving(NAME, 8000, {"containers": [desk], "volumes": pods.volumes()})
