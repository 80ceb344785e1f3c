"""Whether a database on a cluster answers, and what its pods say: what several playbooks ask first."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import evidence_of
from opslib.errors import ProbeError
from opslib.probes.seen import Seen

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

_FULL = re.compile(r"too many clients|remaining connection slots|connection that our role")


def asked(probe: Callable[[], Seen]) -> Seen:
    """What the server answers; that it does not answer is an answer too.

    Parameters
    ----------
    probe : callable
        `ops.postgres.server`.

    Returns
    -------
    Seen
        With `answers`, and `full`: whether it is there, but takes no more connections; where it does not answer `why`.
    """
    try:
        found = probe()
        found.setdefault("full", False)
        return found
    except ProbeError as error:
        why = str(error)
        found = Seen(answers=False, why=why.rpartition("failed: ")[2], full=bool(_FULL.search(why)))
        found.evidence = str(error.facts.get("evidence") or "")
        return found


def doubted(ops: Ops, server: Seen | None, *, there: bool) -> None:
    """Where a look at the server failed while others find it there, the look counts as unseen, not as its answer.

    Parameters
    ----------
    ops : Ops
    server : Seen or None
        As `asked` tells.
    there : bool
        Whether its pods, its exporter or the alert's rule say that it is there.
    """
    if server is None or server["answers"] or server["full"] or not there:
        return
    ops.unseen.append(f"the database itself ({server['why']})")
    print(f"Not seen: the database itself ({server['why']}). Others find it there.")


def workload(
    workloads: pd.DataFrame | None, pods: pd.DataFrame | None, name: str, up: float = math.nan
) -> dict[str, Any]:
    """How many pods of a workload there should be, how many are ready, and what its exporter says.

    Parameters
    ----------
    workloads, pods : DataFrame or None
        Of the whole namespace, as `ops.kubernetes.workloads` and `ops.kubernetes.pods` tell them.
    name : str
        `statefulset/NAME`.
    up : float
        1 where the exporter reaches the server, 0 where it does not, nan where that is not known.

    Returns
    -------
    dict
        `name`, `desired`, `ready` (nan where not seen), `up`, `evidence`.
    """
    ready = math.nan if pods is None else float(pods.loc[pods["workload"] == name, "ready"].sum())
    desired = math.nan
    if workloads is not None and name in workloads.index:
        desired = float(workloads.at[name, "desired"])
        ready = float(workloads.at[name, "ready"]) if math.isnan(ready) else ready
    marks = [mark for fact in (workloads, pods) for mark in evidence_of(fact)]
    return Facts(name=name, desired=desired, ready=ready, up=up).seen_in(marks)


class Facts(dict[str, Any]):
    """Facts put together from several answers; `evidence` are the ids of all of them."""

    evidence: tuple[str, ...] = ()

    def seen_in(self, marks: list[str] | tuple[str, ...]) -> Facts:
        """The same, with the evidence that it was read from."""
        self.evidence = tuple(dict.fromkeys(mark for mark in marks if mark))
        return self


def value(table: pd.DataFrame | None) -> float:
    """The one value of an instant query; nan where there is none."""
    return math.nan if table is None or not len(table) else float(table["value"].iloc[0])


def marks(*facts: Any) -> list[str]:
    """The evidence of several answers."""
    return [mark for fact in facts for mark in evidence_of(fact)]


def text_of(facts: Mapping[str, Any], name: str, default: str = "") -> str:
    """A fact as text; the default where it is not there."""
    found = facts.get(name)
    return default if found is None or found != found else str(found)
