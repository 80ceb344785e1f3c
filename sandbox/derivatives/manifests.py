"""The objects of the platform, as documents for the cluster."""

from __future__ import annotations

from collections.abc import Collection

from sandbox.cluster import pods
from sandbox.derivatives.objects import LABEL, Document, deployment, environment, object_, program, resources, secret
from sandbox.derivatives.setup import DATABASE, RELEASE, Setup
from sandbox.derivatives.stores import DATA, VOLUME_MIB, everything, postgres, stateful
from sandbox.gpu import description as gpu

__all__ = [
    "CARD_SHARE_MIB",
    "REPLICAS",
    "VOLUME_MIB",
    "api",
    "dump",
    "everything",
    "housekeeping",
    "migration",
    "postgres",
    "report",
    "stateful",
    "workloads",
]

REPLICAS = 2
CARD_SHARE_MIB = 512
_HISTORY = {"2.2.0": "Release 2.2.0", "2.3.1": "Release 2.3.1: rates of the quarter", RELEASE: f"Release {RELEASE}"}


def workloads(setup: Setup, served: Collection[str]) -> list[Document]:
    """Everything else that runs, and what guards it, in versions of the API that are among those served."""
    return [api(setup), _hedger(), _market_data(setup), _load(setup), _exporters(), *_guards(served)]


def api(setup: Setup, release: str = RELEASE, replicas: int = REPLICAS) -> Document:
    """The Deployment of the service."""
    card_volumes, card_mounts = pods.card()
    variables = environment(
        RELEASES=str(setup.releases),
        RELEASE=release,
        MODELS=str(setup.models),
        NUMBA_CACHE_DIR=str(setup.numba),
        CARD=gpu.FOLDER,
        GPU_MEMORY_MIB=str(CARD_SHARE_MIB),
        GREEKS_BATCH="0",
    )
    health = {"httpGet": {"path": "/health", "port": "http"}}
    container = {
        "name": "api",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": pods.python("-m", "sandbox.derivatives.service"),
        "env": variables,
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": resources("20m", "100m", "190Mi", "448Mi"),
        "startupProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 240},
        "readinessProbe": {**health, "periodSeconds": 3, "timeoutSeconds": 5, "failureThreshold": 4},
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 15, "failureThreshold": 6},
        "volumeMounts": [*pods.mounts(), *card_mounts, *_shared_mounts(setup)],
    }
    preferred = {"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]}
    spec = {
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [*pods.volumes(), *card_volumes, *_shared_volumes(setup)],
        "tolerations": [pods.TOLERATION],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "preference": {"matchExpressions": [preferred]}}
                ]
            }
        },
    }
    document = deployment("derivatives-api", spec, replicas)
    document["metadata"]["annotations"] = {"kubernetes.io/change-cause": _HISTORY.get(release, f"Release {release}")}
    document["spec"] |= {
        "revisionHistoryLimit": 10,
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    }
    document["spec"]["template"]["metadata"]["labels"]["release"] = release
    return document


def _hedger() -> Document:
    variables = environment(API_HOST="derivatives-api", API_PORT="80")
    return program("auto-hedger", "hedger", "sandbox.derivatives.hedger", variables, "100m", "128Mi")


def _market_data(setup: Setup) -> Document:
    variables = environment(EXCHANGE=str(setup.exchange))
    return program("market-data", "feed", "sandbox.derivatives.feed", variables, "100m", "96Mi", setup)


def _load(setup: Setup) -> Document:
    variables = environment(API_HOST="derivatives-api", API_PORT="80", DEMAND=str(setup.demand))
    return program("load-generator", "clients", "sandbox.derivatives.load", variables, "400m", "192Mi", setup)


def report(workers: int) -> Document:
    """Another team's report, each worker with a connection of its own."""
    return _job("report-writer", "connections", str(workers))


def migration(column: str, look_s: int) -> Document:
    """Another team's change of a table, which gets a column; it looks after it every so many seconds."""
    return _job("schema-migration", "migration", column, str(look_s))


def housekeeping(pattern: str, pause_s: float) -> Document:
    """Another team's clean-up of the cache, which removes what is named so, and again after so many seconds."""
    return _job("housekeeping", "remove", pattern, str(pause_s))


def dump(setup: Setup, node: str, size_mib: int, day: int) -> Document:
    """A dump of the database onto its own volume, of that size [MiB], on the node where the volume is."""
    document = _job("backup", "dump", f"{DATA}/backup-{day:02d}.dump", str(size_mib))
    spec = document["spec"]["template"]["spec"]
    spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    spec["volumes"].append({"name": "data", "hostPath": {"path": f"/run/volumes/{setup.volume}"}})
    container = spec["containers"][0]
    container["volumeMounts"].append({"name": "data", "mountPath": DATA, "mountPropagation": "HostToContainer"})
    container["resources"] = resources("10m", "200m", "48Mi", "512Mi")
    return document


def _job(name: str, *arguments: str) -> Document:
    document = program(name, "job", "sandbox.derivatives.report", environment(), "100m", "128Mi")
    document["spec"]["template"]["spec"]["containers"][0]["command"] += arguments
    return document


def _exporters() -> Document:
    database = f"postgresql://postgres:$(POSTGRES_PASSWORD)@postgres:5432/{DATABASE}?sslmode=disable&connect_timeout=2"
    database_exporter = {
        "name": "postgres",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": ["/usr/bin/prometheus-postgres-exporter", "--web.listen-address=:9187", "--log.level=error"],
        "env": [secret("POSTGRES_PASSWORD", "postgres"), {"name": "DATA_SOURCE_NAME", "value": database}],
        "ports": [{"name": "postgres", "containerPort": 9187}],
        "resources": resources("5m", "100m", "16Mi", "64Mi"),
        "volumeMounts": pods.mounts(),
    }
    redis = {
        "name": "redis",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": ["/usr/bin/prometheus-redis-exporter", "-web.listen-address=:9121"],
        "env": [
            secret("REDIS_PASSWORD", "redis"),
            {"name": "REDIS_ADDR", "value": "redis://redis:6379"},
        ],
        "ports": [{"name": "redis", "containerPort": 9121}],
        "resources": resources("5m", "100m", "16Mi", "64Mi"),
        "volumeMounts": pods.mounts(),
    }
    return deployment("exporters", {"containers": [database_exporter, redis], "volumes": pods.volumes()}, 1)


def _guards(served: Collection[str]) -> list[Document]:
    """The autoscaler, that adds a pod every few minutes at most, and the disruption budget."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "derivatives-api"}
    cpu = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "75m"}}
    scaler = {
        "scaleTargetRef": target,
        "minReplicas": REPLICAS,
        "maxReplicas": 20,
        "metrics": [{"type": "Resource", "resource": cpu}],
        "behavior": {
            "scaleUp": {
                "stabilizationWindowSeconds": 300,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
            },
            "scaleDown": {"stabilizationWindowSeconds": 600},
        },
    }
    budget = {"minAvailable": 1, "selector": {"matchLabels": {LABEL: "derivatives-api"}}}
    scaling, policy = (
        stable if stable in served else before
        for stable, before in (("autoscaling/v2", "autoscaling/v2beta2"), ("policy/v1", "policy/v1beta1"))
    )
    return [
        object_(scaling, "HorizontalPodAutoscaler", "derivatives-api", spec=scaler),
        object_(policy, "PodDisruptionBudget", "derivatives-api", spec=budget),
    ]


def _shared_volumes(setup: Setup) -> list[Document]:
    return [{"name": "shared", "hostPath": {"path": str(setup.releases.parent)}}]


def _shared_mounts(setup: Setup) -> list[Document]:
    return [{"name": "shared", "mountPath": str(setup.releases.parent)}]
