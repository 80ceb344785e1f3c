"""Silences, on a real Alertmanager."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opslib import store, web
from opslib.actions import applier, approval, plans
from opslib.actions.action import Context, Description, Identity, Observation
from opslib.actions.applying import Apply, target_locks
from opslib.actions.catalogue import ACTIONS, make
from opslib.actions.documents import Plan
from opslib.errors import ParameterError, PlanError, ProbeError
from sandbox.crypto import monitoring
from tests.actions.world import World

SILENCE, EXPIRE = "alertmanager.silence", "alertmanager.expire-silence"
MATCHERS = {"alertname": "VarBreach", "platform": "crypto"}

pytestmark = pytest.mark.skipif(
    monitoring.available() is None, reason="needs Alertmanager (apt-get install prometheus prometheus-alertmanager)"
)


@dataclass
class Server:
    """An Alertmanager that sends to nobody."""

    url: str
    process: subprocess.Popen[bytes]

    def fire(self, **labels: str) -> None:
        """Have an alert fire."""
        self.post("alerts", [{"labels": {**MATCHERS, **labels}}])

    def post(self, what: str, body: Any) -> None:
        """As Prometheus, or a person, does."""
        web.post(f"{self.url}/api/v2/{what}", json=body).raise_for_status()

    def silences(self, state: str = "active") -> list[dict[str, Any]]:
        """Those in a state."""
        told = web.get(f"{self.url}/api/v2/silences").json()
        return [one for one in told if one["status"]["state"] == state]

    def sent(self) -> set[str]:
        """The symbols of the alerts that are sent."""
        told = web.get(f"{self.url}/api/v2/alerts", params={"silenced": "false"}).json()
        return {f"{one['labels']['platform']}/{one['labels'].get('symbol', '')}" for one in told}


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Server]:
    found = monitoring.available()
    assert found is not None
    folder = tmp_path / "monitoring"
    folder.mkdir()
    configuration = monitoring.write(
        folder, "alertmanager.yml", {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    )
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        url = monitoring.launch(
            "alertmanager",
            folder,
            tmp_path,
            lambda port: [
                found[1],
                f"--config.file={configuration}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            running,
        )
        yield Server(url, running["alertmanager"])
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def context(alertmanager: Server, identity: Identity = "recorder", incident: str = "INC-2026-000001") -> Context:
    return Context("crypto", "sandbox", identity, lambda _: alertmanager.url, incident=incident)


def preview(alertmanager: Server, name: str, **given: Any) -> tuple[Observation, Description]:
    action = make(name, given)
    with context(alertmanager) as reading:
        seen = action.observe(reading)
        return seen, action.describe(reading, seen)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"matchers": {"platform": "crypto"}, "duration_min": 5}, "matchers: Value error, name alertname"),
        ({"matchers": {"alertname": "VarBreach"}, "duration_min": 5}, "name platform; a silence is for one alert"),
        ({"matchers": {}, "duration_min": 5}, "name alertname and platform"),
        ({"matchers": {**MATCHERS, "symbol": 'a"} or {x="'}, "duration_min": 5}, "matchers.symbol: String should"),
        ({"matchers": {**MATCHERS, "sym-bol": "a"}, "duration_min": 5}, "matchers.sym-bol"),
        ({"matchers": MATCHERS, "duration_min": 241}, "duration_min: Input should be less than or equal to 240"),
        ({"matchers": MATCHERS}, "duration_min: Field required"),
    ],
)
def test_a_silence_is_narrow_and_short(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        make(SILENCE, given)


@pytest.mark.parametrize("name", [SILENCE, EXPIRE])
def test_nothing_approves_a_silence_in_advance(name: str) -> None:
    action = ACTIONS[name]
    assert not action.may_stand()
    assert not action.risk_reducing
    assert not action.stops_new_risk
    assert not action.mitigates


def test_the_preview_counts_what_would_be_silenced_and_makes_nothing(alertmanager: Server) -> None:
    alertmanager.fire(symbol="BTC-USD")
    alertmanager.fire(symbol="ETH-USD")
    alertmanager.fire(symbol="BTC-USD", platform="quant")
    alertmanager.fire(symbol="BTC-USD", alertname="ModelSwitching")
    seen, told = preview(alertmanager, SILENCE, matchers=MATCHERS, duration_min=90)
    assert told.summary == "Silence alertname=VarBreach, platform=crypto for 1 h 30 min: 2 alerts now"
    assert (told.preview["before"], told.preview["after"]) == (2.0, 0.0)
    assert [row["symbol"] for row in told.preview["rows"]] == ["BTC-USD", "ETH-USD"]
    assert told.blast_radius == {"alerts": 2, "minutes": 90}
    assert seen.target.live["alerts"].high == 2
    _, one = preview(alertmanager, SILENCE, matchers={**MATCHERS, "symbol": "ETH-USD"}, duration_min=60)
    assert one.blast_radius["alerts"] == 1
    assert alertmanager.silences() == []
    with pytest.raises(PlanError, match="the matchers are for quant; a plan of crypto leaves it alone"):
        preview(alertmanager, SILENCE, matchers={**MATCHERS, "platform": "quant"}, duration_min=5)


def test_silenced_once_a_key_and_expired_again(alertmanager: Server) -> None:
    alertmanager.fire(symbol="BTC-USD")
    alertmanager.fire(symbol="BTC-USD", platform="quant")
    action = make(SILENCE, {"matchers": MATCHERS, "duration_min": 30, "reason": "being mended"})
    with context(alertmanager, "applier") as applying:
        before = action.observe(applying)
        assert not action.done(applying, before)
        assert action.effect(applying, before) == "the silence is not in force"
        first = action.apply(applying, "abc-1")
        again = action.apply(applying, "abc-1")
        assert (again["silenceID"], again["made"]) == (first["silenceID"], "before")
        assert action.done(applying, before)
        assert action.effect(applying, before) is None
        check = action.check(applying)
        assert check is not None
        assert not check.firing
    [silence] = alertmanager.silences()
    assert silence["comment"] == "INC-2026-000001, plan abc-1: being mended"
    starts, ends = (dt.datetime.fromisoformat(silence[name]) for name in ("startsAt", "endsAt"))
    assert dt.timedelta(minutes=29) < ends - starts <= dt.timedelta(minutes=30)
    assert alertmanager.sent() == {"quant/BTC-USD"}
    with pytest.raises(PlanError, match="platform=crypto is silenced already, until 20"):
        preview(alertmanager, SILENCE, matchers=MATCHERS, duration_min=30)

    expire = make(EXPIRE, {"matchers": MATCHERS, "incident": "INC-2026-000001"})
    with context(alertmanager, "applier") as applying:
        before = expire.observe(applying)
        told = expire.describe(applying, before)
        assert (told.preview["before"], told.preview["after"]) == (0.0, 1.0)
        assert told.undo.arguments == {"matchers": MATCHERS, "duration_min": 30, "reason": "undo"}
        for key in ("def-0", "def-0"):
            expire.apply(applying, key)
        assert expire.done(applying, before)
        assert expire.effect(applying, before) is None
        assert make(SILENCE, {"matchers": MATCHERS, "duration_min": 30}).apply(applying, "abc-1")["made"] == "before"
    assert alertmanager.sent() == {"crypto/BTC-USD", "quant/BTC-USD"}
    with pytest.raises(PlanError, match="no silence of INC-2026-000001 is in force"):
        preview(alertmanager, EXPIRE, matchers=MATCHERS, incident="INC-2026-000001")


def test_silences_of_others_are_left_alone(alertmanager: Server) -> None:
    now = dt.datetime.now(dt.UTC)
    theirs = {
        "startsAt": now.isoformat(),
        "endsAt": (now + dt.timedelta(hours=1)).isoformat(),
        "createdBy": "vera",
        "comment": "INC-2026-000002, by hand",
    }
    pairs = [{"name": name, "value": value, "isRegex": False} for name, value in MATCHERS.items()]
    alertmanager.post("silences", {**theirs, "matchers": pairs})
    alertmanager.post("silences", {**theirs, "matchers": [*pairs, {"name": "symbol", "value": "X", "isRegex": False}]})
    with pytest.raises(PlanError, match="no silence of INC-2026-000001 is in force"):
        preview(alertmanager, EXPIRE, matchers=MATCHERS, incident="INC-2026-000001")
    seen, told = preview(alertmanager, EXPIRE, matchers=MATCHERS)
    assert len(seen.target.fields["silences"]) == 1
    assert told.preview["rows"][0]["createdBy"] == "vera"


def test_a_server_that_is_away_is_said(alertmanager: Server) -> None:
    alertmanager.process.kill()
    alertmanager.process.wait()
    with pytest.raises(ProbeError, match="alertmanager of crypto, /api/v2/silences"):
        preview(alertmanager, SILENCE, matchers=MATCHERS, duration_min=5)


# as plans


@pytest.fixture
def desk(world: World, alertmanager: Server) -> World:
    """The world with this Alertmanager, where the alert fires."""
    place = world.settings.state / "sandbox" / "crypto.json"
    told = {"endpoints": {"api": world.platform.url, "alertmanager": alertmanager.url}}
    place.write_text(json.dumps(told), "utf-8")
    alertmanager.fire(symbol="BTC-USD")
    world.fire()
    return world


def ready(desk: World, name: str = SILENCE, **given: Any) -> Plan:
    """A plan, approved and requested by two people of L2."""
    with store.transaction(desk.settings) as connection:
        plan = plans.propose(
            desk.settings,
            connection,
            run_id=desk.run,
            actions=[{"action": name, "arguments": {"matchers": MATCHERS, **given}}],
            reason="it is known and being mended",
            platform="crypto",
        )
    return approved(desk, plan)


def approved(desk: World, plan: Plan) -> Plan:
    assert plan.document.actions[0].authority == "L2"
    approval.approve(desk.settings, plan.hash, desk.person("ben"))
    return approval.apply(desk.settings, plan.hash, desk.person("ben"))


def state(desk: World) -> str:
    with store.connect(desk.settings) as connection:
        row = connection.execute("SELECT state FROM incidents WHERE id = %s", (desk.incident,)).fetchone()
    assert row is not None
    return str(row["state"])


def test_a_plan_silences_and_its_undo_takes_that_back(desk: World, alertmanager: Server) -> None:
    plan = ready(desk, duration_min=30)
    done = applier.run_once(desk.settings, plan.hash)
    assert done.state == "verified"
    assert "no longer holds: alerts that are sent 0 <= 0" in (done.reason or "")
    [silence] = alertmanager.silences()
    assert silence["comment"].startswith(f"{desk.incident}, plan {plan.hash}-0: ")
    assert alertmanager.sent() == set()
    assert state(desk) == "open"
    back = approved(desk, approval.undo(desk.settings, plan.hash, desk.person("bob")))
    assert applier.run_once(desk.settings, back.hash).state == "verified"
    assert alertmanager.silences() == []
    assert alertmanager.sent() == {"crypto/BTC-USD"}
    assert desk.plan(plan.hash).state == "undone"


def test_one_more_alert_than_previewed_voids_the_plan(desk: World, alertmanager: Server) -> None:
    plan = ready(desk, duration_min=30)
    alertmanager.fire(symbol="ETH-USD")
    after = applier.run_once(desk.settings, plan.hash)
    assert after.state == "void"
    assert "alerts was 1, is now 2, beyond ..1" in (after.reason or "")
    assert alertmanager.silences() == []


def test_a_crash_between_doing_and_recording_makes_no_second_silence(desk: World, alertmanager: Server) -> None:
    plan = ready(desk, duration_min=30)
    with target_locks(desk.settings, plan.document.targets) as free:
        dying = Apply(desk.settings, plan, "applier-that-dies")
        assert free
        assert dying.begin()
        dying.result["steps"].append({"action": SILENCE, "state": "intended", "at": ""})
        dying._save_own()
        with plans.context(dying.platform, "applier", incident=desk.incident) as applying:
            dying.actions[0].apply(applying, f"{plan.hash}-0")
    after = applier.take_up(desk.settings, plan.hash, worker="applier-2")
    assert after is not None
    assert after.state == "verified"
    assert len(alertmanager.silences()) == 1
