"""A23 dashboard-no-data: what each cause leaves behind on the way from the writer of a series to its panel.

The way is followed from its beginning: is anything written, does Redis hold it, does the panel ask what Redis can
answer, and does its datasource lead there? A cause shows at one station alone, and what lies before it is in order.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opslib.diagnosis.causes import BOUND, Cause, Reason, evidence_of, reason
from opslib.diagnosis.dashboard_no_data_fixes import MODULE, fixes, ran, removers, told
from opslib.diagnosis.model_switching_seen import clock

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

__all__ = [
    "CAUSES", "PANELS", "Held", "clock", "cut_off_from_prometheus", "datasource_wrong", "fixes", "gone", "held",
    "late", "leads_elsewhere", "module_missing", "overwritten", "ran", "redis_empty", "refused", "removers",
    "series_gone", "slow_at_the_right_place", "symptom", "table", "thin", "told", "unexplained", "writer_down",
]  # fmt: skip

_LAST = re.compile(r"[^:.]+$")  # what differs within a pattern of keys
_REDIS_PORT = 6379
_PROMQL = "promql"  # what a panel of Prometheus asks
_LONGEST, _SHORT = 100, 60  # characters of an error that are told as a reason, and in the symptom
_REFUSED = "DB index|WRONGPASS|NOAUTH|no permissions|there is no datasource|Name or service"  # at a right address too
_AWAY = "onnect|imed out|imeout"  # what a datasource is told at a wrong address, and a slow Redis at the right one
_NO_PROMETHEUS = r"error '(?:3\d\d|40[1345])|Expecting value"  # what another server answers to a query of Prometheus


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


def symptom(panels: pd.DataFrame, dashboard: str) -> tuple[bool | None, str]:
    """Whether panels show no data, None where the dashboard has none, and what they are told, in words."""
    empty = panels[panels["points"] == 0]
    told = f"{len(empty)} of {len(panels)} panels of {dashboard} show no data"
    if not len(panels):
        return None, f"no panel of {dashboard} was found"
    errors = [_brief(str(error)) for error in empty["error"] if error]
    return len(empty) > 0, f"{told}, told: {errors[0]}" if errors else told


def _brief(error: str) -> str:
    """An error in one line, whole words of it; without the arguments that Redis repeats."""
    text = " ".join(error.split()).partition(", with args beginning with")[0].rstrip(" .,;:")
    return text if len(text) <= _SHORT else text[: _SHORT + 1].rsplit(" ", 1)[0].rstrip(" .,;:") + " ..."


def leads_elsewhere(panels: pd.DataFrame, instances: Mapping[str, str], in_use: str = "") -> pd.DataFrame:
    """The Redis datasources without data that do not lead to the database of the platform's Redis.

    `stand_by` is whether it leads to another instance of the platform than the one `in_use`.
    """
    import pandas as pd

    asks_redis = ~panels["queries"].isin([_PROMQL, ""])
    used = panels[asks_redis & (panels["points"] == 0) & (panels["url"] != "")]
    used = used[["datasource", "url"]].drop_duplicates()
    others = {_place(f"redis://{address}") for name, address in instances.items() if in_use and name != in_use}
    known = {_place(f"redis://{address}") for address in instances.values()}
    parts = [urlsplit(url) for url in used["url"]]
    right = [one.scheme in ("redis", "rediss") and one.path in ("", "/", "/0") for one in parts]
    places = [_place(url) for url in used["url"]]
    stand_by = [fits and place in others for fits, place in zip(right, places, strict=True)]
    wrong = [not fits or place not in known for fits, place in zip(right, places, strict=True)]
    found = used.assign(stand_by=pd.Series(stand_by, used.index, dtype=bool))
    return found[pd.Series(wrong, used.index, dtype=bool) | found["stand_by"]]


def _place(url: str) -> str:
    """Host and port of an address, without who asks; the two names of the machine itself are one."""
    with suppress(ValueError):
        parts = urlsplit(url)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        return f"{host}:{parts.port or _REDIS_PORT}"
    return url


def cut_off_from_prometheus(panels: pd.DataFrame) -> bool:
    """Whether a panel without data could not reach its Prometheus."""
    return bool((_lost(panels) & (panels["queries"] == _PROMQL) & (panels["points"] == 0)).any())


def _lost(panels: pd.DataFrame) -> pd.Series:
    """The panels that are told that nobody answers, or lets them in, over a datasource that serves no other panel."""
    told = f"{_REFUSED}|{_AWAY}"
    lost = panels["error"].str.contains(told)
    lost |= (panels["queries"] == _PROMQL) & panels["error"].str.contains(_NO_PROMETHEUS)
    return lost & ~panels["datasource"].isin(panels.loc[panels["points"] > 0, "datasource"])


def slow_at_the_right_place(panels: pd.DataFrame, elsewhere: pd.DataFrame) -> pd.Series:
    """The panels that ask Redis at its right address and are not answered in time: it is slow, nothing is wrong there.

    Parameters
    ----------
    panels : DataFrame
    elsewhere : DataFrame
        As `leads_elsewhere` gives it.
    """
    there = panels["url"].str.startswith("redis:") & ~panels["datasource"].isin(elsewhere["datasource"])
    slow = panels["error"].str.contains(_AWAY) & ~panels["error"].str.contains(_REFUSED)
    return there & slow & (panels["points"] == 0)


def late(panels: pd.DataFrame | None, elsewhere: pd.DataFrame | None) -> str:
    """What is said of panels whose right Redis does not answer in time; else empty."""
    if panels is None or elsewhere is None or not (slow := slow_at_the_right_place(panels, elsewhere)).any():
        return ""
    of, told = int((panels["points"] == 0).sum()), _brief(str(panels.loc[slow, "error"].iloc[0]))
    return (
        f"Redis is asked at its right address and is late for {int(slow.sum())} of {of} panels without data "
        f"({told.rstrip(' .,;:')}): go to Redis latency (A12)"
    )


def overwritten(panels: pd.DataFrame | None) -> bool:
    """Whether panels are told that a key holds something other than a series."""
    return panels is not None and bool(panels["error"].str.contains("WRONGTYPE").any())


def unexplained(panels: pd.DataFrame) -> bool:
    """Whether panels that ask Redis have no data, and are told no error."""
    return bool(((panels["points"] == 0) & (panels["queries"] != _PROMQL) & (panels["error"] == "")).any())


def gone(definition: Mapping[str, Any] | None, panels: pd.DataFrame, census: pd.DataFrame | None) -> list[str]:
    """The keys that the panels without data ask, by pattern, of which Redis holds none.

    Parameters
    ----------
    definition : mapping or None
        Of the dashboard: `dashboard.panels`, with `title` and the `keyName` of their `targets`.
    panels : DataFrame
    census : DataFrame or None
        The keys that there are, by `pattern`.
    """
    if definition is None or census is None:
        return []
    empty = set(panels.loc[panels["points"] == 0, "title"])
    keys = {
        str(target["keyName"])
        for panel in definition["dashboard"]["panels"]
        if panel.get("title") in empty
        for target in panel.get("targets") or ()
        if target.get("keyName") and not str(target.get("command")).startswith(MODULE)
    }
    return sorted({_LAST.sub("*", key) for key in keys} - set(census["pattern"]))


def series_gone(ops: Ops, dashboard: str, panels: pd.DataFrame | None, census: pd.DataFrame | None) -> list[str]:
    """As `gone` tells it, where panels have no data for no reason that they are told; the dashboard is asked then."""
    if panels is None or not unexplained(panels):
        return []
    path = f"/api/dashboards/uid/{dashboard}"
    return gone(ops.look("the dashboard", ops.http.json, path, "dashboards"), panels, census)


def refused(writer: Mapping[str, Any] | None, store: Mapping[str, Any] | None) -> str:
    """What is said where the platform's Redis does not take what its writer writes, which runs; else empty."""
    if not (writer or {}).get("running") or (store or {}).get("connected") is not False:
        return ""
    return "the writer runs, and the platform says that Redis does not take what it writes"


def writer_down(
    held: Held, writer: Mapping[str, Any], now: dt.datetime, stale_s: float, refused: str = ""
) -> list[Reason]:
    """Nothing is written any more: the series are there, and stand still; not so where Redis refuses what is written.

    `refused` is as the function of that name tells it.
    """
    if refused:
        return [Reason(refused, -BOUND)]
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


def redis_empty(held: Held, usual_points: int, gone: Sequence[str] = (), overwritten: bool = False) -> list[Reason]:
    """Redis holds none of the series, or next to nothing of them; or none of those that panels without data ask.

    `overwritten` is whether panels are told that a key is no series: something else is in its place.
    """
    if overwritten:
        return [Reason("where panels look for a series Redis holds something else: they are told WRONGTYPE", 3.0)]
    if gone:
        return [Reason(f"Redis holds none of {', '.join(gone)}, which the panels without data ask", 3.0)]
    text = f"Redis holds {held.keys} series of at most {held.points} points (usual: {usual_points:,})"
    return [reason(text, held.points / usual_points, threshold=0.05, decisive=0.01)]


def thin(panels: pd.DataFrame | None, held: Held, usual_points: int, removing: Sequence[Mapping[str, str]]) -> str:
    """What is said where every panel shows something, though Redis holds next to nothing; empty where one is empty.

    What is removed again and again is written again in between: a panel that is asked then has its few points.

    Parameters
    ----------
    panels : DataFrame or None
    held : Held
        Of which `redis_empty` says that it is next to nothing.
    usual_points : int
    removing : sequence of mapping
        Who was seen to remove keys, as `removers` gives it.
    """
    if panels is None or (panels["points"] == 0).any():
        return ""
    return (
        f"Yet Redis holds {held.keys} series of at most {held.points} points (usual: {usual_points:,}), so panels show "
        f"next to nothing and may be empty the next moment; seen to remove keys: {told(removing)}"
    )


def module_missing(panels: pd.DataFrame, modules: Mapping[str, Any]) -> list[Reason]:
    """The panels ask a module that Redis does not have."""
    empty = panels[panels["points"] == 0]
    asks = empty["queries"].str.contains(MODULE, regex=False)
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
        reasons.append(Reason(f"they are told: {_brief(str(empty.loc[asks, 'error'].iloc[0]))}", 1.0))
    return reasons


def datasource_wrong(
    panels: pd.DataFrame, elsewhere: pd.DataFrame, held: Held, prometheus: bool = False, stale_s: float = 10.0
) -> list[Reason]:
    """The datasource leads somewhere else, or is not let in, while what it should lead to answers us.

    `prometheus` is whether Prometheus does. Another instance of the platform is somewhere else only where the one in
    use has the data.
    """
    lost = (_lost(panels) & ~slow_at_the_right_place(panels, elsewhere))[panels["points"] == 0]
    empty = panels[panels["points"] == 0]
    of_prometheus = empty["queries"] == _PROMQL
    lost &= ~of_prometheus | prometheus
    if not (held.points and held.age_s <= stale_s):
        elsewhere = elsewhere[~elsewhere["stand_by"]]
    touched = empty["datasource"].isin(elsewhere["datasource"]) | lost
    found = [
        f"{row.datasource} leads to {row.url}{', which is not the instance in use' if row.stand_by else ''}"
        for row in elsewhere.itertuples()
    ]
    astray = empty[lost & of_prometheus].drop_duplicates("datasource")
    found += [f"{row.datasource} leads to {row.url}, where no Prometheus answers" for row in astray.itertuples()]
    names = ", ".join(found)
    share = float(touched.mean()) if len(empty) else 0.0
    text = f"{names or 'no address is wrong'}: {int(touched.sum())} of {len(empty)} panels without data are cut off"
    reasons = [reason(text, share, threshold=0.2, decisive=0.6)]
    if lost.any():
        us = "Prometheus answers us" if of_prometheus[lost].all() else f"Redis answers us with {held.keys} series"
        reasons.append(Reason(f"they are told: {empty.loc[lost, 'error'].iloc[0][:_LONGEST]}, while {us}", 1.0))
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
        "give the datasource the address that the platform uses",
    ),
)
