"""Why pods compute without a card: a release that dropped it, a node whose card is lost, or a node that takes no pods.

A pod that is deleted gets a card back only in the last case, once a node with one takes pods. In the first it comes
back as it was; in the second it may come back to the same node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from opslib.diagnosis import service_pods
from opslib.diagnosis.causes import evidence_of

if TYPE_CHECKING:
    import pandas as pd

# Of what a revision changed: what decides whether its pods have a card.
_PLACE = re.compile(
    r"(?i)(tolerations|affinity|nodeSelector|nodeName|runtimeClassName|volumes|volumeMounts) changed"
    r"|(requests|limits)\.\S*gpu\S* |env (NVIDIA|CUDA)_VISIBLE\w* "
)
_NOBODY_LOOKED = "no command can be run in "  # as `ops.gpu.cards` says it
_QUICK = 2.0  # times as long as usual; what takes less was computed on a card


class Outlook(NamedTuple):
    """Where pods find a card.

    Attributes
    ----------
    free : tuple of str
        Nodes that take pods, whose card is not known to be lost.
    lost : dict
        Nodes that take pods and have no card that works: what tells so.
    release : str
        What the revision that runs changed, since which its pods have no card; empty where it is not to blame.
    seen : bool
        Whether the nodes were looked at.
    evidence : tuple of str
    """

    free: tuple[str, ...] = ()
    lost: dict[str, str] = {}  # noqa: RUF012 - never changed
    release: str = ""
    seen: bool = False
    evidence: tuple[str, ...] = ()

    @property
    def hindrance(self) -> str:
        """Why deleted pods would not find a card; empty where they would, and where a roll-back mends it."""
        if self.release:
            return ""
        if self.lost:
            nodes = " and ".join(f"{node} has lost its card ({told})" for node, told in self.lost.items())
            return f"{nodes} and takes pods: deleted pods may come back there; have it cordoned and mended by L2"
        if self.seen and not self.free:
            return "No node with a card takes pods: find out who cordoned it and why, before pods are restarted"
        return ""


def outlook(
    serving: pd.DataFrame | None,
    nodes: pd.DataFrame | None,
    cards: pd.DataFrame | None,
    pods: pd.DataFrame | None,
    revisions: pd.DataFrame | None,
    quick: pd.DataFrame | None,
    *,
    usual_us: float,
) -> Outlook:
    """Where pods find a card, as far as it was looked at.

    Parameters
    ----------
    serving, nodes, cards, pods, revisions : DataFrame or None
        Of `service_pods.by_pod`, and as the probes tell them.
    quick : DataFrame or None
        Of each pod over time, those that are gone too: the quickest tenth of the computations [us].
    usual_us : float
        What that is on a card [us].
    """
    facts = (serving, nodes, cards, pods, revisions, quick)
    evidence = tuple(dict.fromkeys(mark for fact in facts for mark in evidence_of(fact)))
    taking = [] if nodes is None else [str(name) for name, row in nodes.iterrows() if _takes(row)]
    lost = {name: told for name in taking if (told := _lost(name, serving, cards))}
    release = dropped(serving, pods, revisions, quick, usual_us=usual_us) if taking else ""
    return Outlook(tuple(name for name in taking if name not in lost), lost, release, nodes is not None, evidence)


def _takes(node: Any) -> bool:
    return bool(node["gpu_node"] and node["ready"] and not node["cordoned"])


def _lost(node: str, serving: pd.DataFrame | None, cards: pd.DataFrame | None) -> str:
    """What tells that no card of a node works; empty where one does, or nobody looked."""
    here = serving[serving["node"] == node] if serving is not None else None
    told = cards[cards["node"] == node] if cards is not None else None
    told = told[~told["says"].fillna("").str.startswith(_NOBODY_LOOKED)] if told is not None else None
    if here is not None and (here["card"] > 0.0).any():
        return ""
    if told is not None and len(told):
        if told["card"].notna().any():
            return ""
        return f"nvidia-smi there: {str(told['says'].iloc[0] or 'no card')[:80]}"
    return "its pods compute without one" if here is not None and (here["card"] == 0.0).any() else ""


def dropped(
    serving: pd.DataFrame | None,
    pods: pd.DataFrame | None,
    revisions: pd.DataFrame | None,
    quick: pd.DataFrame | None,
    *,
    usual_us: float,
) -> str:
    """What the revision that runs changed of where and how its pods run, where they never had a card since.

    No pod of it has or had a card, and pods of the one before had. Where its pods had one, they lost it otherwise.
    """
    if serving is None or pods is None or revisions is None or quick is None or not len(revisions):
        return ""
    current = revisions[revisions["current"]]
    changed = [one for one in str(current["changes"].iloc[0]).split("; ") if _PLACE.search(one)] if len(current) else []
    living = pods[pods["status"] != "Terminating"]
    if not changed or not len(living):
        return ""
    newest = str(living.sort_values("created")["revision"].iloc[-1])
    of_it = living.index[living["revision"] == newest]
    if not (serving.loc[serving.index.intersection(of_it), "card"] == 0.0).any():
        return ""
    mine = [name for name in quick if name in of_it or _revision(name) == newest]
    if _had_card(quick, mine, usual_us) or (serving.loc[serving.index.intersection(of_it), "card"] > 0.0).any():
        return ""
    if not _had_card(quick, [name for name in quick if name not in mine], usual_us):
        return ""
    return f"revision {int(current['revision'].iloc[0])} changed {'; '.join(changed)[:120]}"


def _revision(pod: Any) -> str:
    """The hash of a pod's revision, out of the name that its replica set gave it."""
    return str(pod).rpartition("-")[0].rpartition("-")[2]


def _had_card(quick: pd.DataFrame, pods: Iterable[Any], usual_us: float) -> bool:
    """Whether the work of one of these pods was as quick as on a card."""
    return any(service_pods.middle(quick[pod]) < _QUICK * usual_us for pod in pods)
