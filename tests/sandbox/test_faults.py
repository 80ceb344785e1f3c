"""Each fault shows where it should, is cured by the seed's action, and is gone after `heal`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from opslib import web
from opslib.settings import Settings
from sandbox import faults, platforms, state
from sandbox.crypto import control
from sandbox.crypto.decoys import decoys
from sandbox.crypto.parameters import SYMBOLS
from sandbox.crypto.steps import make
from sandbox.errors import ControlRefused, NotOurs, NotUp, UnknownFault
from sandbox.faults import FAULTS, var_breach
from sandbox.progress import quiet
from sandbox.state import State

pytestmark = pytest.mark.slow

CAUSES = ("single-symbol", "all-symbols", "after-model-switch", "stale-volatility")
ON_CRYPTO = [name for name, fault in FAULTS.items() if fault.platform == "crypto"]


def wait_for(seen: Callable[[], bool], within_s: float = 20.0) -> None:
    """Return once `seen` holds."""
    deadline = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def var(api: httpx.Client) -> dict[str, float]:
    return {name: symbol["var_pct"] for name, symbol in status(api)["symbols"].items()}


def status(api: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = api.get("/api/status").json()
    return document


def positions_before(reader: redis.Redis) -> dict[str, float]:
    """Mean position of each symbol at the beginning of the history."""
    found = {}
    for symbol in SYMBOLS:
        fields = reader.hgetall(f"metrics:position_size_usd:{symbol}")
        oldest = sorted(name for name in fields if name.isdigit())[:200]
        found[symbol] = sum(float(fields[name]) for name in oldest) / len(oldest)
    return found


def test_the_inventory_is_covered() -> None:
    named = {name for name, fault in FAULTS.items() if name.startswith("var-breach/") and fault.platform == "crypto"}
    assert named == {f"var-breach/{cause}" for cause in CAUSES}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_fault_breaches_is_reduced_and_healed(
    platform: State, api: httpx.Client, reader: redis.Redis, sandbox_home: Settings, cause: str
) -> None:
    usual = positions_before(reader)
    lines: list[str] = []
    result = faults.break_(sandbox_home, f"var-breach/{cause}", seed=11, decoys=1, progress=lines.append)
    assert max(result["var_pct"].values()) > 1.8
    assert result["shows"].startswith("VaR of ")
    assert (result["platform"], result["decoys"]) == ("crypto", 1)
    assert lines
    document = status(api)
    symbols = document["symbols"]
    raised = {name for name in SYMBOLS if symbols[name]["position_usd"] > 1.4 * usual[name]}
    ages_s = [
        (time.time() * 1000 - float(reader.hget("volatility_estimates", f"updated_at:{name}"))) / 1000
        for name in SYMBOLS
    ]
    claims = {name for name in SYMBOLS if symbols[name]["confidence"] - symbols[name]["hit_rate"] > 0.2}
    limits = {name for name in SYMBOLS if symbols[name]["position_limit_usd"] > 2_100_000 and len(raised) == 1}
    if cause == "single-symbol":
        assert len(raised) == 1
        assert not claims
        assert raised <= limits
    elif cause == "after-model-switch":
        assert claims
        assert raised <= claims
        new = {entry["symbol"] for _, entry in reader.xrevrange("model.switch.log", count=20)}
        assert claims <= new
    else:
        assert not raised
        assert not claims
        assert (min(ages_s) > 5.0) == (cause == "stale-volatility")
    reduced = api.post("/api/risk/emergency-reduce", content='{"kelly_fraction": 0.1, "reason": "VaR breach"}')
    assert reduced.status_code == 200
    wait_for(lambda: max(var(api).values()) < 1.8)
    healed = faults.heal(sandbox_home)
    assert healed["healthy"]
    assert max(healed["var_pct"].values()) < 1.5
    again = faults.heal(sandbox_home)
    assert again["healthy"]
    document = status(api)
    assert (document["kelly_fraction"], document["config_changes"], len(document["models"])) == (0.25, [], 3)


def readable(found: State, reader: redis.Redis, folder: Path) -> str:
    """What probes can read: the API, metrics, dashboards, Redis with its clients and slow log, files, logs."""
    boards = ("datasources", "panels", "dashboards/uid/edge-risk", "dashboards/uid/edge-risk/versions")
    paths = [f"{found.endpoints.dashboards}/api/{board}" for board in boards]
    paths += [f"{found.endpoints.api}/{path}" for path in ("api/status", "metrics")]
    seen = [web.get(path, timeout=30.0).text for path in paths]
    seen.append(f"{reader.client_list()} {reader.slowlog_get(100)}")
    for key in reader.scan_iter(count=1000):
        kind = reader.type(key)
        if kind == "string":
            seen.append(f"{key} {reader.get(key)}")
        elif kind == "hash":
            seen.append(f"{key} {[name for name, _ in reader.hscan_iter(key, count=5000)]}")
        else:
            seen.append(f"{key} {reader.xrange(key) if kind == 'stream' else ''}")
    files = [path for path in folder.rglob("*") if path.suffix in (".log", ".json", ".yml", ".conf")]
    seen.extend(path.read_text("utf-8", errors="replace") for path in files)
    return "\n".join(seen).lower().replace("default", "")


def words_of(runbook: str, causes: list[str]) -> set[str]:
    """How the names of a playbook and of its causes could be written; a single word is anybody's."""
    words = {"fault", "decoy", "overconfident", "over-confident"}
    if "stale-volatility" in causes:
        words.add("stale")
    for cause in (cause for cause in causes if "-" in cause):
        words |= {cause, cause.replace("-", " "), cause.replace("-", "_")}
    return words | {runbook}


@pytest.mark.parametrize("runbook", sorted({name.partition("/")[0] for name in ON_CRYPTO}))
def test_no_name_of_a_fault_can_be_read(platform: State, sandbox_home: Settings, runbook: str) -> None:
    causes = [name.partition("/")[2] for name in FAULTS if name.startswith(f"{runbook}/")]
    with redis.Redis.from_url(platform.endpoints.redis, decode_responses=True, socket_timeout=60.0) as reader:
        try:
            for happen in platforms.find("crypto").decoys(random.Random(2), 4):
                happen(sandbox_home)
            for cause in causes:
                FAULTS[f"{runbook}/{cause}"].inject(sandbox_home, random.Random(2), quiet)
            begun = time.monotonic()
            wait_for(lambda: time.monotonic() > begun + 3.0)  # what they cause is told in the meantime
            text = readable(platform, reader, state.file(sandbox_home).with_suffix(""))
        finally:
            faults.heal(sandbox_home)
    assert "missed a heartbeat" in text
    for word in words_of(runbook, causes):
        assert word not in text, text[max(0, text.find(word) - 60) : text.find(word) + 60]


def test_seeds_vary_symbol_intensity_and_timing() -> None:
    for steps in var_breach.STEPS.values():
        plans = [repr(steps(random.Random(seed))) for seed in range(12)]
        assert len(set(plans)) == 12
        assert repr(steps(random.Random(3))) == plans[3]
    chosen = {var_breach.STEPS["single-symbol"](random.Random(seed))[0].facts["symbol"] for seed in range(40)}
    assert chosen == set(SYMBOLS)


def test_decoys_breach_nothing(platform: State, api: httpx.Client, sandbox_home: Settings) -> None:
    found = state.require(sandbox_home)
    for step in decoys(random.Random(1), 4):
        make(found, step)
    begun = time.monotonic()
    wait_for(lambda: time.monotonic() > begun + 3.0)
    document = status(api)
    assert max(var(api).values()) < 1.5
    assert document["circuit_breaker"]["state"] == "CLOSED"
    assert document["kelly_fraction"] == 0.25
    log = (state.file(sandbox_home).with_suffix("") / "logs" / "trading-system.log").read_text("utf-8")
    assert "missed a heartbeat" in log
    assert "Configuration reloaded: model_router" in log


def test_an_unknown_fault_is_refused(sandbox_home: Settings) -> None:
    with pytest.raises(UnknownFault, match="there is no fault 'var-breach/greed'; there are var-breach/after"):
        faults.break_(sandbox_home, "var-breach/greed")
    with pytest.raises(UnknownFault, match="there is no fault 'greed/var'; `runbook sandbox faults` lists"):
        faults.break_(sandbox_home, "greed/var")


def test_a_fault_of_another_platform_is_refused(sandbox_home: Settings) -> None:
    with pytest.raises(UnknownFault, match="is a fault of crypto, not of derivatives"):
        faults.break_(sandbox_home, "var-breach/all-symbols", platform="derivatives")


def test_break_and_heal_refuse_what_carries_another_mark(platform: State, sandbox_home: Settings) -> None:
    with redis.Redis.from_url(platform.endpoints.redis_admin) as admin:
        admin.set("sandbox-id", "production")
        try:
            for act in (
                lambda: faults.break_(sandbox_home, "var-breach/all-symbols"),
                lambda: faults.heal(sandbox_home),
            ):
                with pytest.raises(NotOurs, match="does not carry the sandbox-id that `up` wrote"):
                    act()
        finally:
            admin.set("sandbox-id", platform.sandbox_id)


def test_the_control_channel_refuses_strangers_and_nonsense(platform: State) -> None:
    with pytest.raises(NotOurs, match="Nothing was changed"):
        control.ask(platform.control, "sandbox-other", "restore")
    with pytest.raises(ControlRefused, match="there is no change 'explode'"):
        control.ask(platform.control, platform.sandbox_id, "explode")
    with pytest.raises(ControlRefused, match="unknown symbol 'DOGE'"):
        control.ask(platform.control, platform.sandbox_id, "edge-gain", symbol="DOGE", gain=2.0)
    with pytest.raises(ControlRefused, match="not understood"):
        control.ask(platform.control, platform.sandbox_id, "edge-gain", gain=2.0)


def test_nothing_can_be_broken_where_nothing_runs(home: Settings) -> None:
    with pytest.raises(NotUp, match="runbook sandbox up crypto"):
        faults.break_(home, "var-breach/all-symbols")
    with pytest.raises(NotUp, match="runbook sandbox up crypto"):
        faults.heal(home)
