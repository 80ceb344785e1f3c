"""The thread that makes the platform live: one step every `STEP_S`, written to Redis, reloads taken in."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import yaml

from sandbox.crypto.config import PRISTINE, ConfigurationRefused, RiskParameters, RouterRules, load
from sandbox.crypto.dashboards import Dashboards
from sandbox.crypto.desk import RiskDesk
from sandbox.crypto.front import Front
from sandbox.crypto.model_server import ThreadedModelServer
from sandbox.crypto.parameters import N_SYMBOLS, STEP_S, FloatArray
from sandbox.crypto.platform import Platform
from sandbox.crypto.publisher import RELOAD, Publisher
from sandbox.crypto.store import Store

__all__ = ["Heart"]

_FILES = {"risk_harmoniser": "risk_params.yml", "model_router": "model_router_rules.yml"}

_LARGEST_MESSAGE = 4096

_log = logging.getLogger("trading-system")


class Heart:
    """Owns the platform, the lock around it, and its store.

    Parameters
    ----------
    folder : Path
        Of the platform; `conf/` lies in it.
    store : Store
    dashboards : Dashboards
    sandbox_id : str
    front : Front, optional
        Where nginx is installed, and a process of the platform's own.
    desk : callable
        Makes the risk desk of a platform.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        dashboards: Dashboards,
        sandbox_id: str,
        front: Front | None = None,
        desk: Callable[[FloatArray, int], RiskDesk] = RiskDesk,
    ) -> None:
        self.lock = threading.RLock()
        self.sandbox_id = sandbox_id
        self.store_connected = True
        self.earlier_switches = [0] * N_SYMBOLS
        self.stages_ms: dict[str, float] = {}  # where the time of the last step went
        self._folder = folder
        self.store = store
        self.dashboards = dashboards
        self.front = front
        self._desk = desk
        self._connect()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)
        self._server = ThreadedModelServer()
        self.platform = self._fresh(None)

    @property
    def beating(self) -> bool:
        """Whether steps are made and Redis takes them."""
        return self._thread.is_alive() and self.store_connected

    @staticmethod
    def now_ms() -> int:
        """Wall clock [ms since 1970]."""
        return time.time_ns() // 1_000_000

    def start(self) -> None:
        """Write the history and begin to beat."""
        self._publisher.try_time_series()
        self._publisher.write_all(self.platform)
        self._messages.subscribe(RELOAD)
        self._thread.start()

    def stop(self) -> None:
        """End after the step in progress."""
        self._ended.set()
        self._thread.join(timeout=5.0)
        self._hang_up()
        self._server.close()

    def _connect(self) -> None:
        url, named = self.store.url, {"client_name": "trading-platform"}
        self._client: redis.Redis = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=2.0, socket_connect_timeout=1.0, **named
        )
        self._publisher = Publisher(self._client, self.sandbox_id)
        # Messages come from anyone who may publish: they are taken as bytes, since they need not be text.
        self._listener: redis.Redis = redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=1.0, **named)
        self._messages = self._listener.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]

    def _hang_up(self) -> None:
        self._messages.close()
        self._listener.close()
        self._client.close()

    def reconnect(self) -> None:
        """Go on with the instance and the path that the store has in use now; the whole history is written there."""
        with self.lock:
            writes = self._publisher.writes_series
            self._hang_up()
            self._connect()
            self._publisher.writes_series = writes
            self._messages.subscribe(RELOAD)
            self.store_connected = False

    @property
    def series_writer(self) -> dict[str, Any]:
        """What the writer of the series says of itself: whether it runs, and when it last wrote [ms since 1970]."""
        return {"running": self._publisher.writes_series, "last_write_ms": self._publisher.series_written_ms}

    def run_series_writer(self, running: bool, by: str) -> None:
        """Let the writer of the series run, with the whole history written afresh, or stop it."""
        with self.lock:
            if running and not self._publisher.writes_series:
                self._publisher.write_all(self.platform)
            self._publisher.writes_series = running
        _log.info("TimeSeries writer %s by %s", "started" if running else "stopped", by)

    def restore(self) -> None:
        """Put the platform back to what it is right after a start: configuration, market, models, store, nginx."""
        self.store.restore()
        with self.lock:
            before, self.platform = self.platform, self._fresh(self.platform)
            now, then = self.platform.router.switches_total, before.router.switches_total
            self.earlier_switches = [
                earlier + ended - begun for earlier, ended, begun in zip(self.earlier_switches, then, now, strict=True)
            ]
            self._publisher.writes_series = True
            self._publisher.write_all(self.platform)
        self.dashboards.provision()
        self.store.watch_afresh()
        if self.front is not None:
            self.front.restore()

    def reload(self, component: str) -> None:
        """Take over the configuration file of a component.

        Raises
        ------
        ConfigurationRefused
            The file does not validate; the old values stay.
        """
        if component not in _FILES:
            raise ConfigurationRefused(f"component {component!r} is not one of {', '.join(sorted(_FILES))}")
        path = self._folder / "conf" / _FILES[component]
        with self.lock:
            if component == "risk_harmoniser":
                self.platform.apply_parameters(load(path, RiskParameters), "reload", self.now_ms())
            else:
                self.platform.apply_rules(load(path, RouterRules), "reload", self.now_ms())
        _log.info("Configuration reloaded: %s from conf/%s", component, path.name)

    def keep_rules(self) -> None:
        """Write the router rules in force into their file."""
        path = self._folder / "conf" / _FILES["model_router"]
        document = self.platform.router.rules.model_dump(mode="json")
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def _fresh(self, before: Platform | None) -> Platform:
        self._server.reset()
        conf = self._folder / "conf"
        conf.mkdir(exist_ok=True)
        for name in _FILES.values():
            shutil.copyfile(PRISTINE / name, conf / name)
        return Platform(
            secrets.randbits(63),
            load(conf / "risk_params.yml", RiskParameters),
            load(conf / "model_router_rules.yml", RouterRules),
            self.now_ms(),
            None if before is None else before.market.prices,
            self._server,
            self._desk,
        )

    def _live(self) -> None:
        due = time.monotonic()
        latency_ms = 0.0
        last_ms = 0
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + STEP_S, time.monotonic())
            begun = time.perf_counter()
            with self.lock:
                last_ms = max(self.now_ms(), last_ms + 1)
                platform = self.platform
                record = platform.step(last_ms, latency_ms)
            stepped = time.perf_counter()
            platform.stress()  # without the lock, so that whoever asks is answered however long it takes
            stressed = time.perf_counter()
            with self.lock:
                if platform is not self.platform:
                    continue  # it was restored meanwhile
                try:
                    if self.store_connected:
                        self._publisher.write_step(self.platform, record)
                    else:
                        self._publisher.write_all(self.platform)
                        _log.info("Redis takes writes again; the whole history was written afresh")
                    self.store_connected = True
                except redis.RedisError as problem:
                    if self.store_connected:
                        _log.error("Redis does not take writes: %s", problem)
                    self.store_connected = False
                    due = max(due, time.monotonic() + 2.0 * STEP_S)
            ended = time.perf_counter()
            latency_ms = (ended - begun) * 1000.0
            marks = {"models": stepped - begun, "scenarios": stressed - stepped, "store": ended - stressed}
            self.stages_ms = {stage: round(1000.0 * took, 3) for stage, took in marks.items()}
            if self.store_connected:
                self._take_messages()

    def _take_messages(self) -> None:
        try:
            with self.lock:
                message = self._messages.get_message(timeout=0.0)
            if message is None or message["type"] != "message":
                return
            text = bytes(message["data"])[:_LARGEST_MESSAGE].decode("utf-8", "replace")
            self._publisher.note_reload(text)
        except redis.RedisError as problem:
            _log.error("param.reload cannot be read: %s", problem)
            return
        try:
            body = json.loads(text)
            component, path = str(body["component"]), str(body.get("config_path", ""))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            _log.error('param.reload: send {"component": "risk_harmoniser", "config_path": "conf/risk_params.yml"}')
            return
        if path and path != f"conf/{_FILES.get(component, '')}":
            _log.error("param.reload: config_path of %r must be conf/%s", component, _FILES.get(component, "?"))
            return
        try:
            self.reload(component)
        except ConfigurationRefused as problem:
            _log.error("Configuration not reloaded: %s", problem)
