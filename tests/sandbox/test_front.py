"""nginx in front of the crypto platform: HTTPS, a certificate told by a real handshake, and what is renewed on disk."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from opslib import probes, web
from opslib.platforms import load
from opslib.probes import Target
from opslib.probes.calls import seen
from opslib.probes.calls_files import Certificates
from opslib.settings import Settings
from sandbox import crypto, faults
from sandbox.cluster.certificates import Authority
from sandbox.crypto import front
from sandbox.crypto.operations import status
from sandbox.state import State

pytestmark = pytest.mark.slow
needs_nginx = pytest.mark.skipif(front.available() is None, reason=front.LACKING)

DISK = "tls/web.crt"


class Asks:
    """What stands for `ops`: probes called straight on the systems of the running platform."""

    def __init__(self, settings: Settings) -> None:
        self._platform = load(settings, "crypto")

    def probe(self, name: str, /, **arguments: Any) -> Any:
        system = arguments["system"]
        return seen(probes.call(name, Target(system, self._platform.endpoint(system)), arguments), name)


@pytest.fixture
def certificates(platform: State, sandbox_home: Settings) -> Certificates:
    """What a playbook asks."""
    assert platform.endpoints.web
    return Certificates(Asks(sandbox_home))


def shown(found: State) -> Path:
    """Folder of the files that probes may read."""
    return Path(urlsplit(found.endpoints.files or "").path)


def wait_for(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@needs_nginx
def test_the_platform_answers_over_https(platform: State, sandbox_home: Settings) -> None:
    told = status(sandbox_home) or {}
    address = str(platform.endpoints.web)
    assert (told["web"], told["files"]) == (address, platform.endpoints.files)
    assert address.startswith("https://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=str(shown(platform) / "tls/ca.crt"))
    with httpx.Client(base_url=address, verify=trusted, trust_env=False, timeout=10.0) as client:
        assert client.get("/api/status").json()["sandbox_id"] == platform.sandbox_id
        answer = client.post("/api/risk/kelly", content=b"x" * 40_000)  # more than nginx keeps in memory
        assert (answer.status_code, "no JSON" in answer.json()["error"]) == (400, True)
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        web.get(address)


@needs_nginx
def test_a_handshake_tells_the_certificate(certificates: Certificates) -> None:
    both = certificates.compared(DISK, system="web")
    served = both["served"]
    assert (both["same"], both["not_reloaded"]) == (True, False)
    assert (served["subject"], served["issuer"]) == ("CN=crypto", "CN=sandbox-authority")
    assert served["names"] == ["localhost", "127.0.0.1"]
    assert 89.9 < served["days_left"] <= 90.0
    assert (served["matches_name"], served["self_signed"], served["trusted"]) == (True, False, False)


@needs_nginx
def test_nginx_takes_a_renewed_certificate_when_told_and_heal_brings_it_back(
    certificates: Certificates, platform: State, sandbox_home: Settings, tmp_path: Path
) -> None:
    before = certificates.served("web")["fingerprint"]
    Authority.make(tmp_path).issue("web", "crypto", hosts=["127.0.0.1"], days=120.0)
    shutil.copyfile(tmp_path / "web.crt", shown(platform) / DISK)
    shutil.copyfile(tmp_path / "web.key", shown(platform).parent / "nginx" / "web.key")
    both = certificates.compared(DISK, system="web")
    assert (both["same"], both["not_reloaded"], both["served"]["fingerprint"]) == (False, True, before)
    os.kill(platform.pids["nginx"], signal.SIGHUP)
    wait_for(lambda: bool(certificates.compared(DISK, system="web")["same"]))
    assert certificates.file(DISK)["days_left"] > 119.0
    assert faults.heal(sandbox_home)["healthy"]
    healed = certificates.compared(DISK, system="web")
    assert (healed["same"], healed["served"]["issuer"]) == (True, "CN=sandbox-authority")
    assert healed["served"]["days_left"] < 91.0


@needs_nginx
def test_what_nginx_cannot_read_leaves_the_old_certificate_served(
    certificates: Certificates, platform: State, sandbox_home: Settings
) -> None:
    before = certificates.served("web")["fingerprint"]
    (shown(platform) / DISK).write_text("not a certificate", "utf-8")
    os.kill(platform.pids["nginx"], signal.SIGHUP)
    log = shown(platform).parent / "logs" / "nginx.log"
    wait_for(lambda: "cannot load certificate" in log.read_text("utf-8"))
    assert certificates.served("web")["fingerprint"] == before
    assert faults.heal(sandbox_home)["healthy"]
    assert certificates.compared(DISK, system="web")["same"]


@needs_nginx
def test_nothing_of_nginx_is_left_after_a_kill_of_its_master(home: Settings) -> None:
    found = crypto.up(home, monitored=False)
    folder = shown(found).parent.resolve()
    assert len(front.left(folder)) == 2  # master and worker
    os.kill(found.pids["nginx"], signal.SIGKILL)
    wait_for(lambda: len(front.left(folder)) == 1)
    assert crypto.down(home)
    assert front.left(folder) == []


def test_probes_can_read_no_key_and_no_password(platform: State) -> None:
    password = platform.endpoints.redis_admin.rpartition("@")[0].rpartition(":")[2]
    files = [path for path in shown(platform).rglob("*") if path.is_file()]
    assert {"risk_params.yml", "model_router_rules.yml"} <= {path.name for path in files}
    for path in files:
        text = path.read_text("utf-8")
        assert password not in text
        assert "PRIVATE KEY" not in text


def test_without_nginx_the_platform_runs_and_up_says_what_is_missing(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "available", lambda: None)
    lines: list[str] = []
    found = crypto.up(home, monitored=False, progress=lines.append)
    assert front.LACKING in lines
    assert found.endpoints.web is None
    assert "nginx" not in found.pids
    crypto.verify(found)
    assert faults.heal(home)["healthy"]
