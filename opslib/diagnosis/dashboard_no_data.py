"""A23 dashboard-no-data: what each cause leaves behind on the way from the writer of a series to its panel.

The way is followed from its beginning: is anything written, does Redis hold it, does the panel ask what Redis can
answer, and does its datasource lead there? A cause shows at one station alone, and what lies before it is in order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opslib.diagnosis.causes import Cause, Reason, evidence_of, reason

if TYPE_CHECKING:
    import pandas as pd

_MODULE = "ts."  # what the commands of the TimeSeries module begin with
_REMOVING = ("unlink", "del", "flushdb", "flushall")  # whoever looks for keys need not remove them
_LOST = ("onnect", "imed out", "imeout", "DB index", "WRONGPASS", "NOAUTH", "there is no datasource", "Name or service")


@dataclass(frozen=True)
class Held:
    """What Redis holds of the series, read past the dashboards.

    Attributes
    ----------
    keys, points : int
        Series that there are, and the most points that one of them has.
    age_s : float
        Of the newest point [s]; nan where there is none.
    evidence : tuple of str
    """

    keys: int
    points: int
    age_s: float
    evidence: tuple[str, ...] = ()


def held(census: pd.DataFrame | None, series: pd.DataFrame | None, now: dt.datetime) -> Held | None:
    """What Redis holds, out of the census of the series' keys and of one series; None where it could not be counted."""
    if census is None:
        return None
    marks = tuple(mark for fact in (census, series) for mark in evidence_of(fact))
    keys, points = int(census["keys"].sum()), int(census["largest_elements"].fillna(0).max()) if len(census) else 0
    age_s = float("nan")
    if series is not None and len(series):
        age_s = max(0.0, now.timestamp() - series.index[-1].timestamp())
    return Held(keys, points, age_s, marks)


PANELS = {"title": "panel", "points": "", "datasource": "", "url": "leads to", "error": ""}  # of `table`, as shown


def table(panels: Mapping[str, Any], sources: Sequence[Mapping[str, Any]] | None) -> pd.DataFrame:
    """The panels: `title`, `points`, `datasource`, `url` it leads to, `queries`, `error`."""
    import pandas as pd

    urls = {str(one.get("uid")): str(one.get("url", "")) for one in sources or ()}
    rows = [
        {
            **{name: one.get(name) for name in ("dashboard", "title", "points", "datasource")},
            "url": urls.get(str(one.get("datasource")), ""),
            "queries": " ".join(one.get("queries") or ()),
            "error": str(one.get("error") or ""),
        }
        for one in panels["panels"]
    ]
    found = pd.DataFrame(rows, columns=["dashboard", "title", "points", "datasource", "url", "queries", "error"])
    found.attrs["evidence"] = [mark for fact in (panels, sources) for mark in evidence_of(fact)]
    return found


def leads_elsewhere(panels: pd.DataFrame, instances: Mapping[str, str]) -> pd.DataFrame:
    """The Redis datasources that lead to no instance of the platform, or to a database that it does not use."""
    import pandas as pd

    used = panels[["datasource", "url"]].drop_duplicates()
    wrong = [
        url.startswith("redis://")
        and not (urlsplit(url).netloc in set(instances.values()) and urlsplit(url).path in ("", "/", "/0"))
        for url in used["url"]
    ]
    return used[pd.Series(wrong, index=used.index, dtype=bool)]


def writer_down(held: Held, writer: Mapping[str, Any], now: dt.datetime, stale_s: float) -> list[Reason]:
    """Nothing is written any more: the series are there, and stand still."""
    last_s = now.timestamp() - float(writer.get("last_write_ms") or 0) / 1000.0
    reasons = [
        reason(f"the writer last wrote {min(last_s, 1e6):.0f} s ago", last_s, threshold=stale_s, decisive=2 * stale_s)
    ]
    if held.points:
        text = f"the newest point in Redis is {held.age_s:.0f} s old"
        reasons.append(reason(text, held.age_s, threshold=stale_s, decisive=2 * stale_s, missing="the newest point"))
    if not writer.get("running", True):
        reasons.append(Reason("the platform says that the writer does not run", 2.0))
    return reasons


def redis_empty(held: Held, usual_points: int) -> list[Reason]:
    """Redis holds none of the series, or next to nothing of them."""
    text = f"Redis holds {held.keys} series of at most {held.points} points (usual: {usual_points:,})"
    return [reason(text, held.points / usual_points, threshold=0.05, decisive=0.01)]


def module_missing(panels: pd.DataFrame, modules: Mapping[str, Any]) -> list[Reason]:
    """The panels ask a module that Redis does not have."""
    empty = panels[panels["points"] == 0]
    asks = empty["queries"].str.contains(_MODULE, regex=False)
    share = float(asks.mean()) if len(empty) else 0.0
    reasons = [
        reason(
            f"{int(asks.sum())} of {len(empty)} panels without data ask the TimeSeries module",
            share,
            threshold=0.2,
            decisive=0.7,
        )
    ]
    if not asks.any():
        return reasons
    there = bool(modules.get("time_series"))
    reasons.append(Reason(f"this Redis {'has' if there else 'does not have'} that module", -3.0 if there else 0.8))
    unknown = empty.loc[asks, "error"].str.contains("unknown command", case=False)
    if len(unknown) and unknown.all():
        reasons.append(Reason(f"they are told: {empty.loc[asks, 'error'].iloc[0][:80]}", 1.0))
    return reasons


def datasource_wrong(panels: pd.DataFrame, elsewhere: pd.DataFrame, held: Held) -> list[Reason]:
    """The datasource leads somewhere else, or is not let in; Redis itself answers us."""
    empty = panels[panels["points"] == 0]
    lost = empty["error"].str.contains("|".join(_LOST))
    touched = empty["datasource"].isin(elsewhere["datasource"]) | lost
    names = ", ".join(f"{row.datasource} leads to {row.url}" for row in elsewhere.itertuples())
    share = float(touched.mean()) if len(empty) else 0.0
    text = f"{names or 'the addresses are right'}: {int(touched.sum())} of {len(empty)} panels without data are cut off"
    reasons = [reason(text, share, threshold=0.2, decisive=0.6)]
    if lost.any():
        text = (
            f"they are told: {empty.loc[lost, 'error'].iloc[0][:100]}, while Redis answers us with {held.keys} series"
        )
        reasons.append(Reason(text, 1.0))
    return reasons


CAUSES = (
    Cause(
        "writer-down",
        "Is nothing written any more?",
        writer_down,
        "start the writer of the series, then read its log",
    ),
    Cause(
        "redis-empty",
        "Does Redis hold none of the series?",
        redis_empty,
        "stop what removes them; they are written again from then on",
    ),
    Cause(
        "module-missing",
        "Do the panels ask for a module that is missing?",
        module_missing,
        "restore the version of the dashboard that asks the hashes, until the module is installed",
    ),
    Cause(
        "datasource-wrong",
        "Does the datasource lead somewhere else?",
        datasource_wrong,
        "give the datasource the address of the platform's Redis",
    ),
)


def fixes(
    causes: Sequence[str],
    *,
    versions: Sequence[Mapping[str, Any]] | None,
    dashboard: str,
    elsewhere: pd.DataFrame | None,
    address: str,
    clients: pd.DataFrame | None,
    commands: pd.DataFrame | None,
    memory: Mapping[str, Any] | None,
    platform_clients: Sequence[str],
) -> list[tuple[str, dict[str, Any]]]:
    """The fix of each cause that holds; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    versions : sequence of mapping or None
        Of the dashboard, the newest first: `version`, `queries`.
    dashboard : str
        Its uid.
    elsewhere : DataFrame or None
        Datasources that lead somewhere else.
    address : str
        Where the platform's Redis is, `host:port`.
    clients, memory : as seen, or None
    commands : DataFrame or None
        What `ops.redis.commands` saw each program send.
    platform_clients : sequence of str
        Names of the platform's own connections, which are never closed.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for cause in causes:
        if cause == "writer-down":
            found.append(("crypto.set-series-writer", {"running": True}))
        elif cause == "redis-empty":
            found += _of_empty(clients, commands, memory, platform_clients)
        elif cause == "module-missing":
            earlier = [one for one in (versions or ())[1:] if not any(_MODULE in query for query in one["queries"])]
            if earlier:
                found.append(("dashboards.restore-version", {"uid": dashboard, "version": int(earlier[0]["version"])}))
        elif cause == "datasource-wrong" and elsewhere is not None and address:
            found += [
                ("dashboards.set-datasource", {"uid": uid, "url": f"redis://{address}/0"})
                for uid in elsewhere["datasource"]
            ]
    return found


def _of_empty(
    clients: pd.DataFrame | None,
    commands: pd.DataFrame | None,
    memory: Mapping[str, Any] | None,
    own: Sequence[str],
) -> list[tuple[str, dict[str, Any]]]:
    """Close the connections of who removes the keys; where Redis itself evicts them, give it more memory."""
    if memory is not None and memory.get("maxmemory") and memory["used_memory"] > 0.9 * memory["maxmemory"]:
        value = str(max(2 * int(memory["maxmemory"]), 64_000_000))
        return [("redis.set-configuration", {"name": "maxmemory", "value": value, "until": "dashboard-data"})]
    found = removers(clients, commands, own)
    if len(found) != 1:
        return []
    return [("redis.kill-clients", {"name": name, "until": "dashboard-data"}) for name in found]


def removers(clients: pd.DataFrame | None, commands: pd.DataFrame | None, own: Sequence[str]) -> list[str]:
    """The programs, not the platform's own, that were seen to remove keys; of several none is known to be the one.

    Parameters
    ----------
    clients : DataFrame or None
        With the last command of each; an idle connection's tells nothing of now.
    commands : DataFrame or None
        What `ops.redis.commands` saw each program send.
    own : sequence of str
    """
    names: set[str] = set()
    for table in (None if clients is None else clients[clients["active"] > 0], commands):
        if table is not None:
            removing = table[table["command"].isin(_REMOVING) & (table["kind"] == "normal")]
            names |= {str(name) for name in removing["name"] if name and name not in own}
    return sorted(names)
