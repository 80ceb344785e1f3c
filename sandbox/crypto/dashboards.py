"""The data path of the platform's dashboards: definitions and datasources in Grafana's formats, and every query made.

This is not Grafana, which draws; it is what stands between a panel and its data. Every second it asks each datasource
what each panel asks, and keeps how many points came back, or the error.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import redis
import yaml

from opslib import web
from sandbox.crypto.config import PRISTINE
from sandbox.crypto.redis_server import RedisServer
from sandbox.errors import ControlRefused

__all__ = ["Dashboards"]

_EVERY_S = 1.0
_SPAN = re.compile(r"now-(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DEFINITION, _SOURCES = "edge-risk.json", "datasources.yml"

_log = logging.getLogger("trading-system")


class Dashboards:
    """One dashboard with its versions, its datasources, and what each panel gets.

    Parameters
    ----------
    folder : Path
        Of the platform; the files lie in `conf/grafana/`.
    server : RedisServer
        What the datasource `redis` names after a start; its password is the read-only identity's.
    prometheus : str or None
        Where there is none, neither its datasource nor its panels are provisioned.
    """

    def __init__(self, folder: Path, server: RedisServer, prometheus: str | None) -> None:
        self._folder = folder / "conf" / "grafana"
        self._server, self._prometheus = server, prometheus
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="dashboards", daemon=True)
        self.sources: dict[str, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        self.panels: list[dict[str, Any]] = []
        self.provision()

    def provision(self) -> None:
        """Write the files afresh, with the addresses of this platform, and read them."""
        shutil.copytree(PRISTINE / "grafana", self._folder, dirs_exist_ok=True)
        sources = yaml.safe_load((self._folder / _SOURCES).read_text("utf-8"))
        definition = json.loads((self._folder / _DEFINITION).read_text("utf-8"))
        address = {"redis": f"redis://127.0.0.1:{self._server.port}/0", "prometheus": self._prometheus}
        there = [dict(one, url=address[one["uid"]]) for one in sources["datasources"] if address[one["uid"]]]
        names = {one["uid"] for one in there}
        definition["panels"] = [one for one in definition["panels"] if one["datasource"]["uid"] in names]
        with self._lock:
            self.sources = {one["uid"]: one for one in there}
            self.versions = [{**definition, "message": "provisioned", "created": time.time()}]
            self._save()

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join(timeout=5.0)

    @property
    def definition(self) -> dict[str, Any]:
        """The version in force."""
        return self.versions[-1]

    def set_source(self, uid: str, url: str) -> str:
        """Let a datasource have another address; return the one before.

        Raises
        ------
        ControlRefused
            There is no such datasource, or the address is none.
        """
        parts = urlsplit(url)
        if uid not in self.sources:
            raise ControlRefused(f"there is no datasource {uid!r}; there are {', '.join(self.sources)}")
        if parts.scheme not in ("redis", "http") or not parts.hostname or parts.username or parts.password:
            raise ControlRefused(f"{url!r} is no address of a datasource: scheme, host and port, no credentials")
        with self._lock:
            before = str(self.sources[uid]["url"])
            self.sources[uid]["url"] = url
            self._save()
        _log.info("Datasource %s changed from %s to %s", uid, before, url)
        return before

    def query_modules(self, message: str) -> None:
        """Save a version whose panels ask the TimeSeries module in place of the hashes."""
        with self._lock:
            fresh = copy.deepcopy(self.definition)
            for panel in fresh["panels"]:
                for target in panel["targets"]:
                    if target.get("command") == "hgetall":
                        key = target["keyName"].removeprefix("metrics:")
                        target.update(type="timeSeries", command="ts.range", keyName=key)
            self._add(fresh, message)

    def restore(self, version: int) -> int:
        """Bring an earlier version back, as a new one; return its number.

        Raises
        ------
        ControlRefused
            There is no such version.
        """
        with self._lock:
            found = next((one for one in self.versions if one["version"] == version), None)
            if found is None:
                raise ControlRefused(f"there is no version {version} of {self.definition['uid']}")
            self._add(copy.deepcopy(found), f"restored version {version}")
            return int(self.definition["version"])

    def _add(self, definition: dict[str, Any], message: str) -> None:
        definition.update(version=self.definition["version"] + 1, message=message, created=time.time())
        self.versions.append(definition)
        self._save()
        _log.info("Dashboard %s saved as version %s: %s", definition["uid"], definition["version"], message)

    def _save(self) -> None:
        (self._folder / _DEFINITION).write_text(json.dumps(self.definition, indent=1), "utf-8")
        sources = {"apiVersion": 1, "datasources": list(self.sources.values())}
        (self._folder / _SOURCES).write_text(yaml.safe_dump(sources), "utf-8")

    def _live(self) -> None:
        while not self._ended.wait(_EVERY_S):
            with self._lock:
                definition, sources = copy.deepcopy(self.definition), copy.deepcopy(self.sources)
            self.panels = [self._panel(definition, panel, sources) for panel in definition["panels"]]

    def _panel(self, definition: dict[str, Any], panel: dict[str, Any], sources: dict[str, Any]) -> dict[str, Any]:
        """What a panel gets: the points within the dashboard's time range of all its queries, or the error."""
        found = _SPAN.fullmatch(definition["time"]["from"])
        span_s = int(found[1]) * _UNITS[found[2]] if found else 300
        since_ms = (time.time() - span_s) * 1000.0
        times: list[float] = []
        error = ""
        uid = panel["datasource"]["uid"]
        try:
            if panel["datasource"]["type"] == "prometheus":
                for target in panel["targets"]:
                    times += self._of_prometheus(sources[uid]["url"], target, span_s)
            else:
                times = self._of_redis(sources[uid]["url"], panel["targets"])
        except KeyError:
            error = f"there is no datasource {uid}"
        except (redis.RedisError, httpx.HTTPError, ValueError) as problem:
            error = str(problem) or type(problem).__name__
        times = [at for at in times if at >= since_ms]
        return {
            "dashboard": definition["uid"],
            "panel": panel["id"],
            "title": panel["title"],
            "datasource": uid,
            "queries": sorted({str(target.get("command", "promql")) for target in panel["targets"]}),
            "points": len(times),
            "newest_at_ms": max(times, default=None),
            "error": error,
        }

    def _of_redis(self, url: str, targets: list[dict[str, Any]]) -> list[float]:
        parts = urlsplit(url)
        who = f"recorder:{quote(self._server.passwords.recorder, safe='')}"
        address = f"redis://{who}@{parts.hostname}:{parts.port}{parts.path}"
        times: list[float] = []
        with redis.Redis.from_url(
            address, decode_responses=True, socket_timeout=1.0, socket_connect_timeout=1.0, client_name="dashboards"
        ) as client:
            for target in targets:
                if target["command"] == "hgetall":
                    times += [float(field) for field in client.hkeys(target["keyName"]) if field.isdigit()]
                else:
                    answer: Any = client.execute_command(target["command"], target["keyName"], "-", "+")
                    times += [float(at) for at, _ in answer]
        return times

    @staticmethod
    def _of_prometheus(url: str, target: dict[str, Any], span_s: int) -> list[float]:
        now = time.time()
        query = {"query": target["expr"], "start": f"{now - span_s:.3f}", "end": f"{now:.3f}", "step": "1"}
        answer = web.get(f"{url}/api/v1/query_range", params=query, timeout=2.0)
        answer.raise_for_status()
        return [float(at) * 1000.0 for series in answer.json()["data"]["result"] for at, _ in series["values"]]
