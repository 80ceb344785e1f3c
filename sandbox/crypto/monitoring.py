"""Prometheus and Alertmanager beside the platform, from the files under `deploy/` with the sandbox's addresses."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from opslib import web
from opslib.settings import PROJECT
from sandbox import history, processes
from sandbox.crypto.history import healthy
from sandbox.errors import StartFailed

__all__ = ["Servers", "alertmanager_configuration", "available", "launch", "start", "write"]

_READY_S = 15.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses; None where a server was not asked for."""

    prometheus: str | None
    alertmanager: str | None


def available() -> tuple[str, str] | None:
    """Paths of the binaries of Prometheus and Alertmanager, or None where one is missing."""
    prometheus = processes.which("prometheus")
    alertmanager = processes.which("prometheus-alertmanager") or processes.which("alertmanager")
    return (prometheus, alertmanager) if prometheus and alertmanager else None


def start(
    folder: Path,
    logs: Path,
    api: str,
    webhook: str,
    token_file: Path | None,
    running: dict[str, subprocess.Popen[bytes]],
) -> Servers:
    """Start both and wait until they are ready.

    Parameters
    ----------
    folder, logs : Path
        Where configuration and data go; where the logs go.
    api : str
        Address of the platform, to be scraped every second.
    webhook : str
        Where Alertmanager posts.
    token_file : Path, optional
        Bearer token that it sends, read anew at each post.
    running : dict
        Takes each process as soon as it is started.

    Raises
    ------
    StartFailed
        A binary is missing, or a server did not become ready.
    """
    binaries = available()
    if binaries is None:
        raise StartFailed("prometheus or alertmanager is not on PATH: install them, or use --no-monitoring")
    alertmanager = launch(
        "alertmanager",
        folder,
        logs,
        lambda port: [
            binaries[1],
            f"--config.file={write(folder, 'alertmanager.yml', alertmanager_configuration(webhook, token_file))}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        running,
    )
    scraped = _prometheus(api, alertmanager.removeprefix("http://"))
    configuration = write(folder, "prometheus.yml", scraped)
    yesterday = healthy(time.time(), scraped["scrape_configs"][0])
    history.backfill(yesterday, folder / "prometheus", history.promtool())
    prometheus = launch(
        "prometheus",
        folder,
        logs,
        lambda port: [
            binaries[0],
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            "--storage.tsdb.retention.time=2d",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        running,
    )
    return Servers(prometheus, alertmanager)


def launch(
    name: str,
    folder: Path,
    logs: Path,
    command: Callable[[int], list[str]],
    running: dict[str, subprocess.Popen[bytes]],
) -> str:
    """Start one server on a free loopback port; return its address."""
    log = logs / f"{name}.log"
    (folder / name).mkdir(exist_ok=True)
    for _ in range(_TRIES):
        port = processes.free_port()
        address = f"http://127.0.0.1:{port}"
        process = processes.spawn(command(port), log, folder, {"PATH": os.defpath, "LC_ALL": "C"})
        running[name] = process
        deadline = time.monotonic() + _READY_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if web.get(f"{address}/-/ready", timeout=1.0).is_success:
                    return address
            except httpx.HTTPError:
                pass  # not listening yet
            time.sleep(0.05)
        process.kill()
        process.wait()
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
    raise StartFailed(f"{name} did not become ready; the end of {log} says:\n{tail}")


def alertmanager_configuration(webhook: str, token_file: Path | None) -> dict[str, Any]:
    """The configuration under `deploy/`, posting to the sandbox's intake without delay."""
    document: dict[str, Any] = yaml.safe_load((PROJECT / "deploy/alertmanager/alertmanager.yml").read_text())
    document["route"].update(group_wait="1s", group_interval="1s")
    (receiver,) = document["receivers"]
    (hook,) = receiver["webhook_configs"]
    hook["url"] = webhook
    if token_file is None:
        del hook["http_config"]
    else:
        hook["http_config"]["authorization"]["credentials_file"] = str(token_file)
    return document


def _prometheus(api: str, alertmanager: str) -> dict[str, Any]:
    """The configuration under `deploy/`, with the sandbox's addresses and rules, scraping every second."""
    folder = PROJECT / "deploy/prometheus"
    document: dict[str, Any] = yaml.safe_load((folder / "prometheus.yml").read_text())
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(folder / "sandbox/crypto.rules.yml")]
    document["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    jobs["crypto"]["static_configs"][0]["targets"] = [api.removeprefix("http://")]
    document["scrape_configs"] = [jobs["crypto"], jobs["runbook"]]
    return document


def write(folder: Path, name: str, document: dict[str, Any]) -> Path:
    """Write a configuration in YAML; return where it lies."""
    path = folder / name
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path
