"""What can happen to the store of the platform from outside, in physical terms: words of the control channel."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.crypto.heart import Heart

__all__ = ["CHANGES"]


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SlowPath(_Change):
    """The path to Redis delays each way; `everyone` takes it, or the platform alone."""

    delay_ms: float = Field(ge=0, le=500)
    jitter_ms: float = Field(ge=0, le=500)
    everyone: bool

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        heart.store.lead_over(self.delay_ms, self.jitter_ms, everyone=self.everyone)


class KeepFeatures(_Change):
    """Another user keeps large sets in the store."""

    name: str
    keys: int = Field(ge=1, le=500)
    members: int = Field(ge=1, le=500_000)
    life_s: int = Field(ge=1, le=3600)
    pause_s: float = Field(ge=0.02, le=60)

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        heart.store.add_user("keep-features", **self.model_dump())


class ReadSeries(_Change):
    """Another user keeps long series and reads them whole."""

    name: str
    series: list[str] = Field(min_length=1, max_length=20)
    points: int = Field(ge=1, le=500_000)
    days: float = Field(gt=0, le=1000)
    kind: Literal["hash", "zset"]
    pause_s: float = Field(ge=0.02, le=60)

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        heart.store.add_user("read-series", **self.model_dump())


class AskAllAtOnce(_Change):
    """Another user asks over very many connections at the same moment."""

    name: str
    connections: int = Field(ge=1, le=240)
    key: str
    pause_s: float = Field(ge=0.02, le=60)

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        heart.store.add_user("ask-all-at-once", **self.model_dump())


class RemoveSeries(_Change):
    """Another user removes keys by pattern, again and again."""

    name: str
    pattern: str
    pause_s: float = Field(ge=0.01, le=60)

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        heart.store.add_user("remove-series", **self.model_dump())


class SeriesWriter(_Change):
    """The writer of the series runs or ends."""

    running: bool

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        heart.run_series_writer(self.running, "its supervisor")


class QueryModules(_Change):
    """A version of the dashboard is saved that asks the TimeSeries module."""

    message: str

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        heart.dashboards.query_modules(self.message)


class Datasource(_Change):
    """A datasource of the dashboards gets another address: a port, a database or both."""

    uid: str
    port_shift: int = Field(default=0, ge=-100, le=100)
    database: int = Field(default=0, ge=0, le=15)

    def apply(self, heart: Heart) -> None:
        """Carry it out."""
        port = heart.store.servers[heart.store.in_use].port + self.port_shift
        heart.dashboards.set_source(self.uid, f"redis://127.0.0.1:{port}/{self.database}")


CHANGES: dict[str, type[Any]] = {
    "series-writer": SeriesWriter,
    "query-modules": QueryModules,
    "datasource": Datasource,
    "slow-path": SlowPath,
    "keep-features": KeepFeatures,
    "read-series": ReadSeries,
    "ask-all-at-once": AskAllAtOnce,
    "remove-series": RemoveSeries,
}
