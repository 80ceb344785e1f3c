"""What a notebook calls of a cluster: `ops.kubernetes`, `ops.gpu`, `ops.logs`, `ops.changes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opslib.probes.calls import Asks
from opslib.probes.seen import Seen

if TYPE_CHECKING:
    import pandas as pd


class Kubernetes:
    """What runs in the platform's namespace, and how it is. CPU in cores, memory in bytes, times in UTC."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def pods(self, workload: str = "", selector: str = "") -> pd.DataFrame:
        """The pods, worst first: index `pod`; `status`, `ready`, `restarts`, `last_reason`, `node`, requests, limits.

        Of all pods, of `deployment/NAME` or `statefulset/NAME`, or of a label selector.
        """
        return self._ops.probe("kubernetes.pods", workload=workload, selector=selector)

    def containers(self, selector: str = "") -> pd.DataFrame:
        """The containers: `state`, `reason`, `message`, `restarts`, and how each ended the last time."""
        return self._ops.probe("kubernetes.containers", selector=selector)

    def nodes(self) -> pd.DataFrame:
        """The nodes: index `node`; `ready`, `problems`, `cordoned`, `taints`, what they have and what is requested."""
        return self._ops.probe("kubernetes.nodes")

    def events(self, minutes: float = 60.0, name: str = "", warnings: bool = False) -> pd.DataFrame:
        """The events of the last `minutes` [min], newest first; of objects whose name begins so; or warnings alone."""
        return self._ops.probe("kubernetes.events", minutes=minutes, name=name, warnings=warnings)

    def workloads(self) -> pd.DataFrame:
        """Deployments, stateful sets, daemon sets: index `workload`; replicas, `complete`, `problem`, `images`."""
        return self._ops.probe("kubernetes.workloads")

    def history(self, workload: str) -> pd.DataFrame:
        """The revisions of `deployment/NAME` or `statefulset/NAME`, newest first, with what each changed."""
        return self._ops.probe("kubernetes.history", workload=workload)

    def autoscalers(self) -> pd.DataFrame:
        """The horizontal autoscalers: index `autoscaler`; bounds, current, desired, `metrics`, `limited`, `problem`."""
        return self._ops.probe("kubernetes.autoscalers")

    def budgets(self) -> pd.DataFrame:
        """The disruption budgets: index `budget`; how many pods may be taken away now."""
        return self._ops.probe("kubernetes.budgets")

    def services(self) -> pd.DataFrame:
        """The services: index `service`; how many ready and not ready addresses stand behind each."""
        return self._ops.probe("kubernetes.services")

    def ingresses(self) -> pd.DataFrame:
        """The ways in, one row a path: the service behind it, `problem`, and the addresses that may come."""
        return self._ops.probe("kubernetes.ingresses")

    def logs(
        self,
        workload: str = "",
        selector: str = "",
        pod: str = "",
        container: str = "",
        previous: bool = False,
        since_s: float | None = None,
        tail: int = 200,
        grep: str = "",
    ) -> pd.DataFrame:
        """The last lines of each container, in order of time: `time`, `pod`, `container`, `line`, `complete`.

        With `grep` (a regular expression) the last lines that match; with `previous` of the containers before the
        last restart; of the last `since_s` [s].
        """
        return self._ops.probe(
            "kubernetes.logs",
            workload=workload,
            selector=selector,
            pod=pod,
            container=container,
            previous=previous,
            since_s=since_s,
            tail=tail,
            grep=grep,
        )

    def top(self, selector: str = "") -> pd.DataFrame:
        """What the pods use now: index `pod`; `cpu`, `memory`, and their shares of requests and limits."""
        return self._ops.probe("kubernetes.top", selector=selector)

    def top_nodes(self) -> pd.DataFrame:
        """What the nodes use now: index `node`; `cpu`, `memory`, and their shares of what there is."""
        return self._ops.probe("kubernetes.top_nodes")

    def secrets(self) -> pd.DataFrame:
        """The secrets: index `secret`; when made and when changed last. Never a value."""
        return self._ops.probe("kubernetes.secrets")

    def releases(self, release: str = "") -> pd.DataFrame:
        """The history of Helm releases, newest first: chart, status, images, names of the values that changed."""
        return self._ops.probe("kubernetes.releases", release=release)

    def run(
        self,
        command: str,
        workload: str = "",
        pod: str = "",
        container: str = "",
        **values: str | int | float,
    ) -> Seen:
        """Run a command that the runbook's metadata declares, in a pod: `output`, `errors`, `exit_code`.

        `values` are what its `{placeholders}` stand for, one plain word each; no shell is between.
        """
        seen: Seen = self._ops.probe(
            "kubernetes.run", command=command, workload=workload, pod=pod, container=container, values=values
        )
        return seen


class Gpu:
    """The cards of GPU pods."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def cards(self, workload: str = "", selector: str = "", container: str = "") -> pd.DataFrame:
        """The cards that each pod sees, by its `nvidia-smi`; `says` tells why a pod sees none."""
        return self._ops.probe("gpu.cards", workload=workload, selector=selector, container=container)

    def metrics(self) -> pd.DataFrame:
        """What the DCGM exporter measures, by metric and card, where Prometheus has it."""
        return self._ops.probe("gpu.metrics")


class Logs:
    """Patterns in what containers wrote."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def count(
        self,
        patterns: Mapping[str, str],
        workload: str = "",
        selector: str = "",
        container: str = "",
        previous: bool = False,
        since_s: float = 3600.0,
    ) -> pd.DataFrame:
        """How often each pattern was written: index `pattern`; `count`, `first_seen`, `last_seen`, `pods`, `example`.

        `patterns` is from names to regular expressions; `since_s` how far back [s].
        """
        return self._ops.probe(
            "logs.count",
            patterns=dict(patterns),
            workload=workload,
            selector=selector,
            container=container,
            previous=previous,
            since_s=since_s,
        )

    def over_time(
        self,
        patterns: Mapping[str, str],
        workload: str = "",
        selector: str = "",
        container: str = "",
        since_s: float = 3600.0,
        step_s: float = 60.0,
    ) -> pd.DataFrame:
        """How often each pattern was written in each step of `step_s` [s]: index `time`, one column a pattern."""
        return self._ops.probe(
            "logs.over_time",
            patterns=dict(patterns),
            workload=workload,
            selector=selector,
            container=container,
            since_s=since_s,
            step_s=step_s,
        )


class Changes:
    """What changed of late."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def recent(self, minutes: float = 120.0) -> pd.DataFrame:
        """What changed in the last `minutes` [min], most recent first: `time`, `kind`, `name`, `what`, `by`."""
        found = self._ops.probe("changes.recent", minutes=minutes)
        passed = [row["kind"] for row in found.to_dict("records") if str(row.get("unseen")).startswith("not looked at")]
        if passed:
            print(f"Not looked at: {', '.join(passed)}, since its role reads no secrets.")
        return found
