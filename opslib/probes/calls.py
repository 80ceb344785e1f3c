"""What a notebook calls: `ops.redis`, `ops.http`, `ops.prometheus`, and what their answers are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from opslib.probes.seen import Seen, SeenList, SeenText

if TYPE_CHECKING:
    import pandas as pd


class Asks(Protocol):
    """What can call a probe by its name: `ops`."""

    def probe(self, name: str, /, **arguments: Any) -> Any:
        """The answer of a probe."""


def frame(arrow: bytes, evidence: str) -> pd.DataFrame:
    """The table in an Arrow stream, its index set, its evidence named."""
    import json

    import pyarrow as pa

    table = pa.ipc.open_stream(arrow).read_all()
    head = json.loads((table.schema.metadata or {}).get(b"runbook", b"{}"))
    found: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    if head.get("index"):
        found = found.set_index(head["index"])
    found.attrs["evidence"] = evidence
    if head.get("note"):
        found.attrs["note"] = head["note"]
    return found


def seen(value: Any, evidence: str) -> Any:
    """A JSON value that knows its evidence, where its kind can carry it."""
    known: Seen | SeenList | SeenText
    if isinstance(value, dict):
        known = Seen(value)
    elif isinstance(value, list):
        known = SeenList(value)
    elif isinstance(value, str):
        known = SeenText(value)
    else:
        return value
    known.evidence = evidence
    return known


class Redis:
    """What the platform's Redis holds and how it is."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def ping(self) -> Seen:
        """Whether it answers (`answers`), and in what time (`took_ms` [ms], the median of five)."""
        seen: Seen = self._ops.probe("redis.ping")
        return seen

    def text(self, key: str) -> SeenText:
        """The text under a key."""
        found = self._ops.probe("redis.text", key=key)
        text = SeenText(found["text"])
        text.evidence = found.evidence
        return text

    def hash(self, key: str) -> pd.DataFrame:
        """The fields of a hash: columns `field`, `value`, both text."""
        return self._ops.probe("redis.hash", key=key)

    def series(self, metric: str, symbols: Sequence[str]) -> pd.DataFrame:
        """A metric over time: index `time` (UTC), one column a symbol.

        Read from the TimeSeries module; where that is absent, from the hashes `metrics:<metric>:<symbol>`.
        """
        return self._ops.probe("redis.series", metric=metric, symbols=list(symbols))

    def latest(self, metric: str, symbols: Sequence[str]) -> pd.Series[float]:
        """The latest value of a metric, by symbol."""
        frame = self._ops.probe("redis.latest", metric=metric, symbols=list(symbols))
        values: pd.Series[float] = frame["value"].rename(metric)
        values.attrs["evidence"] = frame.attrs["evidence"]
        return values

    def stream(self, key: str, count: int = 100) -> pd.DataFrame:
        """The newest entries of a stream, oldest first: `id`, `time` (UTC), one column a field, as text."""
        return self._ops.probe("redis.stream", key=key, count=count)

    def info(self, section: str | None = None) -> pd.DataFrame:
        """What `INFO` says, of one section or all: `field`, `value`, both text."""
        return self._ops.probe("redis.info", section=section)

    def slowlog(self, n: int = 20) -> pd.DataFrame:
        """The slowest commands, newest first: `time` (UTC), `took_us`, `command`, `client`, `name`."""
        return self._ops.probe("redis.slowlog", n=n)

    def keys(self, pattern: str = "*", limit: int = 1000) -> pd.DataFrame:
        """Keys by pattern, within a budget: `key`, `type`, `complete` (whether all of them were seen)."""
        return self._ops.probe("redis.keys", pattern=pattern, limit=limit)

    def census(self, pattern: str = "*", budget_s: float = 1.5) -> pd.DataFrame:
        """Keys counted by pattern, largest first: `pattern`, `type`, `keys`, `bytes`, `largest`, `complete`, ..."""
        return self._ops.probe("redis.census", pattern=pattern, budget_s=budget_s)

    def lives(self, pattern: str = "*", sample: int = 2000) -> pd.DataFrame:
        """A sample of the keys: `key`, `type`, what is left of their lives `life_s`, `idle_s` [s], `of` how many."""
        return self._ops.probe("redis.lives", pattern=pattern, sample=sample)

    def latency(self, for_s: float = 1.0) -> Seen:
        """Percentiles of the time of a call [ms], measured for `for_s` [s], and the server's work meanwhile."""
        seen: Seen = self._ops.probe("redis.latency", for_s=for_s)
        return seen

    def events(self) -> pd.DataFrame:
        """What Redis' own latency monitor saw, oldest first: `event`, `time` (UTC), `took_ms`."""
        return self._ops.probe("redis.events")

    def clients(self) -> pd.DataFrame:
        """Who is connected, grouped by name, host, user and last command: `connections`, `active`, `oldest_s`, ..."""
        return self._ops.probe("redis.clients")

    def commands(self, for_s: float = 1.0) -> pd.DataFrame:
        """Which commands each program was seen to send within `for_s` [s]: `name`, `host`, `command`, `seen`, ..."""
        return self._ops.probe("redis.commands", for_s=for_s)

    def memory(self) -> Seen:
        """Memory [bytes], its limit and policy, keys evicted since the start."""
        seen: Seen = self._ops.probe("redis.memory")
        return seen

    def configuration(self, *names: str) -> Seen:
        """Settings that bear on latency and memory, as text; all of them, or those named."""
        seen: Seen = self._ops.probe("redis.configuration", names=list(names) or None)
        return seen

    def replication(self) -> Seen:
        """The role, and the replicas with their lag, or the link to the primary."""
        seen: Seen = self._ops.probe("redis.replication")
        return seen

    def streams(self, pattern: str = "*") -> pd.DataFrame:
        """The streams: `key`, `length`, `first`, `last` (UTC), `groups`."""
        return self._ops.probe("redis.streams", pattern=pattern)

    def modules(self) -> Seen:
        """The modules, and whether the commands of TimeSeries are known (`time_series`)."""
        seen: Seen = self._ops.probe("redis.modules")
        return seen


class Http:
    """What the platform's HTTP systems answer to GET."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def json(self, path: str, system: str = "api", shape: Any = None) -> Any:
        """The JSON that a path answers: a `Seen` or `SeenList`.

        With a shape, such as `{"models": [{"name": "text", "loss?": "number"}]}`, an answer that lacks a field or
        holds something else is an error that names every difference.
        """
        given = {} if shape is None else {"shape": shape}
        return self._ops.probe("http.json", path=path, system=system, **given)

    def text(self, path: str, system: str = "api") -> SeenText:
        """The text that a path answers."""
        seen: SeenText = self._ops.probe("http.text", path=path, system=system)
        return seen

    def health(self, path: str = "/health", system: str = "api") -> Seen:
        """What the health page says, with `http_status` and `took_ms` [ms]; a bad status is an answer too."""
        seen: Seen = self._ops.probe("http.health", path=path, system=system)
        return seen

    def metrics(self, path: str = "/metrics", system: str = "api") -> pd.DataFrame:
        """The samples of a metrics page: `name`, one column a label, `value`."""
        return self._ops.probe("http.metrics", path=path, system=system)


class Prometheus:
    """What Prometheus answers."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def query(self, promql: str, at: dt.datetime | str | float | None = None) -> pd.DataFrame:
        """An instant query, now or at a time: one column a label, `value`, `time` (UTC)."""
        when = at.astimezone(dt.UTC).isoformat() if isinstance(at, dt.datetime) else at
        return self._ops.probe("prometheus.query", promql=promql, at=when)

    def range(self, promql: str, minutes: float, step_s: float = 15.0) -> pd.DataFrame:
        """A query over the last `minutes` [min], a point each `step_s` [s]: index `time` (UTC), one column a series."""
        return self._ops.probe("prometheus.range", promql=promql, minutes=minutes, step_s=step_s)

    def compared(self, promql: str, minutes: float = 60.0, step_s: float = 60.0) -> pd.DataFrame:
        """A query over the last `minutes` [min] beside an hour, a day and a week before; index `time` (UTC)."""
        return self._ops.probe("prometheus.compared", promql=promql, minutes=minutes, step_s=step_s)

    def rules(self) -> pd.DataFrame:
        """The alert rules: `alert`, `state`, `expression`, `for_s` [s], `health`, `error`, `severity`, `firing`."""
        return self._ops.probe("prometheus.rules")

    def rule(self, alert: str, **labels: str) -> Seen:
        """An alert's rule evaluated again: `holds`, `value`, `sign`, `limit`, `series`, `state`, `expression`.

        Labels, such as `symbol="BTC-USD"`, leave only the series of the alert's target.
        """
        seen: Seen = self._ops.probe("prometheus.rule", alert=alert, labels=labels or None)
        return seen

    def targets(self) -> pd.DataFrame:
        """What is scraped: `job`, `instance`, `health` (up, down), `error`, `took_s` [s], one column a label."""
        return self._ops.probe("prometheus.targets")

    def alerts(self) -> pd.DataFrame:
        """The alerts that fire or are about to: `alertname`, `state`, `since`, `value`, one column a label."""
        return self._ops.probe("prometheus.alerts")
