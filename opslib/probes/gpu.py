"""The cards of GPU pods: what `nvidia-smi` says inside them, and what the DCGM exporter measures."""

from __future__ import annotations

import csv
import time
from typing import Any

from opslib.clusters import objects
from opslib.errors import ProbeError
from opslib.probes.kubernetes import reading, workload_selector
from opslib.probes.kubernetes_exec import execute
from opslib.probes.prometheus import query
from opslib.probes.registry import Frame, Target, probe
from opslib.probes.tables import Kind, frame

PROGRAM = "nvidia-smi"
FIELDS = (
    "index", "uuid", "name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw",
)  # fmt: skip
WORDS = [PROGRAM, f"--query-gpu={','.join(FIELDS)}", "--format=csv,nounits"]
_NAMES = {
    "index": "card", "utilization.gpu": "busy_pct", "memory.used": "memory_used_mib", "memory.total": "memory_mib",
    "temperature.gpu": "temperature_c", "power.draw": "power_w",
}  # fmt: skip
CARD: dict[str, Kind] = {
    "pod": "text", "node": "text", "card": "whole", "name": "text", "uuid": "text", "busy_pct": "number",
    "memory_used_mib": "number", "memory_mib": "number", "temperature_c": "number", "power_w": "number",
    "says": "text",
}  # fmt: skip
METRICS = {
    "DCGM_FI_DEV_GPU_UTIL": "busy_pct",
    "DCGM_FI_DEV_FB_USED": "memory_used_mib",
    "DCGM_FI_DEV_GPU_TEMP": "temperature_c",
    "DCGM_FI_DEV_POWER_USAGE": "power_w",
    "DCGM_FI_DEV_XID_ERRORS": "xid_errors",
}
_MOST_PODS = 20
BUDGET_S = 20.0


@probe("gpu.cards")
def cards(target: Target, workload: str = "", selector: str = "", container: str = "") -> Frame:
    """The cards that each running pod has, by its own `nvidia-smi`; `says` tells why a pod sees none.

    The runbook has to declare `nvidia-smi` among its `commands`. At most 20 pods are asked, all within 20 s.

    Parameters
    ----------
    target : Target
    workload, selector : str
        Which pods: `deployment/NAME`, or a label selector.
    container : str
        The pod's first where it is left out.
    """
    if all(words[0].rpartition("/")[2] != PROGRAM for words in target.commands.values()):
        raise target.error(f"this runbook does not declare that it runs {PROGRAM} in pods")
    rows: list[dict[str, Any]] = []
    asked, until = 0, time.monotonic() + BUDGET_S
    with reading(target) as cluster:
        chosen = selector or (workload_selector(cluster, workload) if workload else "")
        running = cluster.all("pods", selector=chosen, fields="status.phase=Running")
        running = [pod for pod in running if not workload or objects.workload(pod) == workload]
        staying = [pod for pod in running if not pod["metadata"].get("deletionTimestamp")]
        running = staying or running  # what is being deleted may have ended, and then tells nothing of its card
        if not running:
            raise ProbeError(f"no pod of {workload or selector or 'this namespace'} runs")
        for pod in sorted(running, key=lambda one: str(one["metadata"]["name"]))[:_MOST_PODS]:
            name = container or pod["spec"]["containers"][0]["name"]
            where = {"pod": pod["metadata"]["name"], "node": pod["spec"].get("nodeName")}
            left_s = until - time.monotonic()
            if left_s <= 0:
                break
            asked += 1
            try:
                told = execute(cluster, where["pod"], name, WORDS, left_s)
            except ProbeError as error:
                rows.append({**where, "says": str(error)})
                continue
            found = parsed(told["output"]) if told["exit_code"] == 0 else []
            said = " ".join((told["output"] + " " + told["errors"]).split())[:300]
            rows += [{**where, **card} for card in found] or [{**where, "says": said or "no card"}]
    note = f"{asked} of {len(running)} pods were asked for their cards" if asked < len(running) else None
    return frame(rows, CARD, note=note)


def parsed(text: str) -> list[dict[str, Any]]:
    """The rows of `nvidia-smi --query-gpu=... --format=csv`; `[N/A]` and the like are None."""
    lines = [line for line in csv.reader(text.splitlines(), skipinitialspace=True) if len(line) > 1]
    if not lines:
        return []
    heads = [head.partition(" [")[0].strip() for head in lines[0]]
    cards = []
    for line in lines[1:]:
        card: dict[str, Any] = {}
        for head, value in zip(heads, line, strict=False):
            name = _NAMES.get(head, head)
            card[name] = value if name in ("name", "uuid") else _number(value)
        if card.get("card") is not None:
            cards.append({**card, "card": int(card["card"])})
    return cards


def _number(text: str) -> float | None:
    """`37 %` or `1234 MiB` as a number; None for `[N/A]`."""
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return None


@probe("gpu.metrics")
def metrics(target: Target) -> Frame:
    """What the DCGM exporter measures, from Prometheus: one row a metric and card.

    Raises
    ------
    ProbeError
        Where Prometheus has no DCGM metrics.
    """
    found = query(target, f'{{__name__=~"{"|".join(METRICS)}"}}')
    if found.table.num_rows == 0:
        raise target.error("it has no metrics of a DCGM exporter (DCGM_FI_DEV_...)")
    return found
