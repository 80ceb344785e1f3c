"""When each revision of a service was rolled out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opslib.diagnosis import service_pods

if TYPE_CHECKING:
    import pandas as pd


def marks(history: pd.DataFrame | None, pods: pd.DataFrame | None) -> dict[str, Any]:
    """When each revision was rolled out, as pictures mark it; one that came back is dated by its pods."""
    if history is None:
        return {}
    found = {f"revision {row.revision}": row.created for row in history.itertuples()}
    living = pods[pods["status"] != "Terminating"] if pods is not None else None
    if living is not None and len(living) and service_pods.taken_back(history):
        newest = living.sort_values("created")["revision"].iloc[-1]
        begun = living.loc[living["revision"] == newest, "created"].min()
        found[f"revision {history.loc[history['current'], 'revision'].iloc[0]}"] = begun
    return found
