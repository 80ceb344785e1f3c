"""What requests of a service fail of, and the facts that tell why: card, connections, locks, old results, release."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.database import Facts, marks

if TYPE_CHECKING:
    import pandas as pd

    from opslib.diagnosis.causes import Finding

KINDS = {
    "card memory": re.compile(r"CUDA out of memory|out of memory.*GPU", re.I),
    "no connection": re.compile(r"database connection failed|could not connect|couldn't get a connection", re.I),
    "database timeout": re.compile(r"database timeout|statement timeout", re.I),
    "stale cache": re.compile(r"stale cache", re.I),
    "cache away": re.compile(r"cache unavailable|redis", re.I),
}
OWN = "a mistake of the program"
EXPLAINS = {
    "card memory": ("cuda-out-of-memory",),
    "no connection": ("database-down", "pool-exhausted"),
    "database timeout": ("slow-database",),
    "stale cache": ("stale-cache",),
}
_SEEN_ITSELF = tuple(cause for causes in EXPLAINS.values() for cause in causes)
_MANY = 10.0  # errors a minute
# What a reader is shown of `failing` and of the holders in `waits`: columns and their headings.
HEADINGS = {"pct": "of all requests [%]", "says": "as in"}
HOLDERS = {"application": "", "state": "", "relation": "holds", "behind": "wait for it",
           "transaction_s": "transaction [s]", "query": "its last statement"}  # fmt: skip
ALL = "all"
_BEFORE = re.compile(r"^.*?\bERROR\b\s*")
_ASKED = re.compile(r"Tried to allocate ([\d.]+) ?([MG])iB")
_CAPACITY = re.compile(r"\(GPU \d+; ([\d.]+) ?([MG])iB")
_HELD = re.compile(r"([\d.]+) ?([MG])iB already allocated")
_STALE_KEY = re.compile(r"stale cache entry (\S+?):? computed", re.I)
_STRONG = ("AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock")


def kind_of(text: str) -> str:
    """What a request failed of, from the label of its error or its line in the log."""
    return next((name for name, pattern in KINDS.items() if pattern.search(text)), OWN)


def shares(errors: str, requests: str, window: str) -> str:
    """The query for the share of requests that fail [%], by `error`, and of `all` together.

    Parameters
    ----------
    errors, requests : str
        Names of the counters.
    window : str
        Of the rates, such as `5m`.
    """
    whole = f"scalar(sum(rate({requests}[{window}])))"
    total = f'label_replace(100 * sum(rate({errors}[{window}])) / {whole}, "error", "{ALL}", "", "")'
    return f"100 * sum by (error) (rate({errors}[{window}])) / {whole} or {total}"


def symptom(
    rule: Mapping[str, Any] | None,
    now: pd.DataFrame | None,
    lines: pd.DataFrame | None,
    limit_pct: float,
    p1_pct: float,
    log_s: float,
) -> tuple[bool | None, str]:
    """Whether too many requests fail now, and how many: by the alert's rule, else by the shares by label.

    Errors in the log tell no share, so they alone confirm nothing; that none are there says that it is over.

    Parameters
    ----------
    rule : mapping or None
        As `ops.prometheus.rule` answers.
    now : DataFrame or None
        `error`, `value` [%]: the shares now, with that of `all`.
    lines : DataFrame or None
        The lines of errors of the last `log_s` [s].
    limit_pct, p1_pct : float
        Where the alert fires, and where it is P1 [%].
    """
    ruled = rule is not None and rule["value"] is not None
    value = float(rule["value"]) if rule is not None and ruled else _whole(now) if rule is None else math.nan
    if math.isfinite(value):
        holds = value > limit_pct if rule is None else bool(rule["holds"])
        grade = f"P1 from {p1_pct:g} %" if value < p1_pct else f"above {p1_pct:g} %: P1"
        return holds, f"{value:.2g} % of requests fail (alert above {limit_pct:g} %, {grade})"
    if rule is not None and not rule["holds"]:
        return False, f"no failed request is counted (alert above {limit_pct:g} %)"
    if lines is None:
        return None, "how many requests fail could not be seen"
    text = (
        f"the service logs {_a_minute(lines, log_s):.1f} errors a minute; which share of the requests that is could not"
        " be seen"
    )
    return None if len(lines) else False, text


def _whole(now: pd.DataFrame | None) -> float:
    """The share of all requests that fail [%]; nan where it was not seen."""
    if now is None or "error" not in now:
        return math.nan
    found = now.loc[now["error"] == ALL, "value"]
    return float(found.iloc[0]) if len(found) else math.nan


def _a_minute(lines: pd.DataFrame, log_s: float) -> float:
    return 60.0 * len(lines) / log_s


def explained(
    symptom: str, findings: Mapping[str, Finding], lines: pd.DataFrame | None, log_s: float
) -> tuple[bool | None, str]:
    """Whether requests fail whose share was not seen: so many errors with a cause that was itself seen confirm it.

    Parameters
    ----------
    symptom : str
        As it was told.
    findings : mapping
        By cause. The last release has nothing of its own that could be seen, so it confirms nothing.
    lines : DataFrame or None
        The lines of errors of the last `log_s` [s].
    """
    holding = [key for key, item in findings.items() if key in _SEEN_ITSELF and item.answer == "yes"]
    if lines is None or _a_minute(lines, log_s) < _MANY or not holding:
        return None, symptom
    return True, f"{symptom}, but what they fail of was: {' and '.join(holding)}"


def failing(now: pd.DataFrame | None, lines: pd.DataFrame | None, limit_pct: float) -> pd.DataFrame | None:
    """What requests fail of: a row a kind, the most frequent first.

    Parameters
    ----------
    now : DataFrame or None
        `error`, `value` [%]: the shares now.
    lines : DataFrame or None
        The lines of errors in the log, `line`.
    limit_pct : float
        The share at which the alert fires [%].

    Returns
    -------
    DataFrame or None
        Index `kind`; `pct` (of requests; nan where only the log tells), `share` (of what fails), `says` (an example).
        None where neither was seen.
    """
    import pandas as pd

    if now is None and lines is None:
        return None
    said: dict[str, str] = {}
    counted: dict[str, float] = {}
    for line in [] if lines is None else lines["line"]:
        said[kind_of(line)] = _BEFORE.sub("", line)[-200:]
        counted[kind_of(line)] = counted.get(kind_of(line), 0.0) + 1.0
    if now is None:
        told, of_requests = counted, False
    else:
        told, of_requests = {}, True
        labels = now["error"] if "error" in now else pd.Series([ALL] * len(now))
        for label, value in zip(labels, now["value"], strict=True):
            if label != ALL and math.isfinite(value) and value > 0:
                told[kind_of(label)] = told.get(kind_of(label), 0.0) + float(value)
                said.setdefault(kind_of(label), str(label))
    whole = sum(told.values())
    rows = [
        {"kind": kind, "pct": amount if of_requests else math.nan, "share": amount / whole, "says": said.get(kind, "")}
        for kind, amount in sorted(told.items(), key=lambda item: -item[1])
    ]
    table = pd.DataFrame(rows, columns=["kind", "pct", "share", "says"]).set_index("kind")
    table.attrs |= {"evidence": marks(now, lines), "limit_pct": limit_pct}
    return table


def card(stats: Mapping[str, Any] | None, lines: pd.DataFrame | None, context_mib: float) -> Facts | None:
    """The card's memory as one process of the service sees it [MiB], and the largest batch that was refused.

    Parameters
    ----------
    stats : mapping or None
        `/stats/engines`.
    lines : DataFrame or None
        The lines of errors in the log.
    context_mib : float
        What a process holds before its first batch [MiB].
    """
    said = [line for line in ([] if lines is None else lines["line"]) if KINDS["card memory"].search(line)]
    gpu = (stats or {}).get("gpu") or {}
    if stats is None and not said:
        return None
    asked = max((_mib(_ASKED, line) for line in said), default=math.nan)
    share = float(gpu.get("memory_share_mib") or max((_mib(_CAPACITY, line) for line in said), default=math.nan))
    held = float(gpu.get("memory_used_by_this_process_mib") or (_mib(_HELD, said[-1]) if said else math.nan))
    free = float(gpu.get("memory_free_mib", math.nan))
    left = share - context_mib if free != free else min(share, held + free) - context_mib
    batch = int((stats or {}).get("greeks_engine", {}).get("batch") or 0)
    return Facts(
        asked=asked, share=share, held=held, free=free, room=left, batch=batch, there=bool(gpu) or bool(said)
    ).seen_in(marks(stats, lines))


def _mib(pattern: re.Pattern[str], line: str) -> float:
    found = pattern.search(line)
    return float(found[1]) * (1024.0 if found[2] == "G" else 1.0) if found else math.nan


def slots(
    usage: Mapping[str, Any] | None,
    gauges: Mapping[str, float],
    refusals: pd.DataFrame | None,
    server: Mapping[str, Any],
) -> Facts:
    """Connections of PostgreSQL, from what sees them: the server, its exporter, its log.

    Parameters
    ----------
    usage : mapping or None
        As `ops.postgres.usage` answers.
    gauges : mapping
        `used`, `limit`, `reserved` as the exporter counts them; nan where it does not.
    refusals : DataFrame or None
        As `ops.logs.count` answers of the server's log: a first row with `count` and `example`.
    server : mapping
        As `database.asked` tells.
    """
    if usage is not None:
        used, limit, reserved = (float(usage[name]) for name in ("used", "connections_limit", "reserved"))
    else:
        used, limit, reserved = (float(gauges.get(name, math.nan)) for name in ("used", "limit", "reserved"))
    reserved = 0.0 if reserved != reserved else reserved
    refused = math.nan if refusals is None or not len(refusals) else float(refusals["count"].iloc[0])
    return Facts(used=used, limit=limit, ordinary=limit - reserved, refused=refused, server=server).seen_in(
        marks(usage, refusals, server)
    )


REFUSALS = {"refused": "too many clients|remaining connection slots|too many connections for"}
CONNECTIONS = " or ".join(
    f'label_replace({metric}, "what", "{what}", "", "")'
    for what, metric in (
        ("used", "sum(pg_stat_activity_count)"),
        ("limit", "max(pg_settings_max_connections)"),
        ("reserved", "max(pg_settings_superuser_reserved_connections)"),
        ("up", "max(pg_up)"),
    )
)


def gauges(table: pd.DataFrame | None) -> dict[str, float]:
    """What the exporter of PostgreSQL counts, from the query `CONNECTIONS`: `used`, `limit`, `reserved`, `up`."""
    if table is None or "what" not in table:
        return {}
    return {str(what): float(value) for what, value in zip(table["what"], table["value"], strict=True)}


def waits(
    errors: pd.DataFrame | None,
    blockers: pd.DataFrame | None,
    locks: pd.DataFrame | None,
    transactions: pd.DataFrame | None,
    statements: pd.DataFrame | None,
) -> Facts | None:
    """Who keeps others waiting in the database, and what else is slow there; None where nothing of it was seen.

    Parameters
    ----------
    errors : DataFrame or None
        As `failing` tells: where no request runs out of time, nobody waits, seen or not.
    blockers, locks, transactions : DataFrame or None
        As `ops.postgres.blockers`, `locks` and `long_transactions` answer.
    statements : DataFrame or None
        `mean_ms`, `share_pct`, `query`, of this very moment.

    Returns
    -------
    Facts or None
        `holders` (DataFrame of sessions), `waiting` (sessions), `slow_ms` [ms] and `slow` (the statement).
    """
    import pandas as pd

    idle = errors is not None and "database timeout" not in errors.index
    if blockers is None and (locks is None or transactions is None) and statements is None and not idle:
        return None
    strong: dict[int, str] = {}
    for row in () if locks is None else locks.itertuples():
        if row.granted and row.mode in _STRONG:
            strong |= {int(pid): str(row.relation) for pid in re.findall(r"\d+", str(row.pids))}
    long = [] if transactions is None else transactions[transactions["pid"].notna()].to_dict("records")
    held = [
        {**row, "relation": strong.get(int(row["pid"]), ""), "behind": row["blocks"] or 0}
        for row in long
        if int(row["pid"]) in strong or (row["blocks"] or 0) > 0
    ]
    known = {int(row["pid"]) for row in held}
    roots = [] if blockers is None else blockers[(blockers["depth"] == 0) & (blockers["pid"] > 0)].to_dict("records")
    held += [
        {**row, "relation": strong.get(int(row["pid"]), ""), "behind": row["waiting_behind"]}
        for row in roots
        if row["waiting_behind"] > 0 and int(row["pid"]) not in known
    ]
    columns = ["pid", "application", "client", "user", "state", "relation", "behind", "transaction_s", "backend_start",
               "transaction_start", "query"]  # fmt: skip
    holders = pd.DataFrame(held, columns=columns).sort_values("transaction_s", ascending=False, ignore_index=True)
    waiting = 0 if blockers is None else int((blockers["depth"] > 0).sum())
    timed = None if statements is None else statements[statements["mean_ms"].notna()]
    slow = None if timed is None or not len(timed) else timed.loc[timed["mean_ms"].idxmax()]
    facts = Facts(holders=holders, waiting=waiting, slow_ms=math.nan if statements is None else 0.0, slow="")
    if slow is not None:
        facts |= {"slow_ms": float(slow["mean_ms"]), "slow": " ".join(str(slow["query"]).split())[:80]}
    return facts.seen_in(marks(blockers, locks, transactions, statements))


def stale_keys(lines: pd.DataFrame | None, most: int = 5) -> list[str]:
    """Keys of results that were refused as too old, from the log, the last first."""
    found = [] if lines is None else [hit[1] for line in lines["line"] if (hit := _STALE_KEY.search(line))]
    return list(dict.fromkeys(reversed(found)))[:most]


def entries(answers: Mapping[str, Any | None], now: dt.datetime) -> pd.DataFrame:
    """The age [s] of cached results, `[computed at, ...]` in JSON, and whether each ever ends.

    Parameters
    ----------
    answers : mapping
        By key, what `redis.text` answered; None for one that is gone.
    now : datetime
    """
    import pandas as pd

    rows = []
    for key, answer in answers.items():
        if answer is None:
            continue
        try:
            told = json.loads(answer["text"])
            at = float(told[0] if isinstance(told, list) else told["computed_at"])
        except (ValueError, TypeError, KeyError, IndexError):
            continue
        rows.append((key, now.timestamp() - at, answer["expires_in_s"] is not None))
    table = pd.DataFrame(rows, columns=["key", "age_s", "ends"])
    table.attrs["evidence"] = marks(*answers.values())
    return table
