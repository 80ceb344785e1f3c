"""Routes: which runbook an alert starts, and every mistake in a file at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opslib import cli, platforms
from opslib.errors import ConfigurationError
from opslib.intake import routes
from opslib.settings import PROJECT, Settings

ROUTES = """
routes:
  - match: {alertname: VarBreach, platform: crypto}
    runbook: var-breach
    target: [symbol]
  - match: {alertname: "~Redis.*", severity: "~critical|P0"}
    runbook: redis-latency
    target: [instance, shard]
default: {runbook: triage, target: [alertname]}
"""
PLATFORM = "title: Crypto\nenvironment: sandbox\n"
CONTACTS = "levels:\n  L1: {who: On-call, how: pager, within: 5 minutes}\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Folders of parameters and notebooks of the test's own; no store."""
    for name, text in (("routes.yaml", ROUTES), ("platforms/crypto.yaml", PLATFORM), ("contacts.yaml", CONTACTS)):
        file = tmp_path / "params" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    for name in ("var-breach", "redis-latency", "triage"):
        file = tmp_path / "notebooks" / "alerts" / f"{name}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}", "utf-8")
    for name in ("params", "notebooks", "home"):
        monkeypatch.setenv(f"RUNBOOK_{name.upper()}", str(tmp_path / name))
    return Settings()


def place(settings: Settings, **labels: str) -> tuple[str, str, str]:
    return routes.load(settings).route(labels).place


def test_first_route_that_matches(settings: Settings) -> None:
    assert place(settings, alertname="VarBreach", platform="crypto", symbol="X") == ("crypto", "var-breach", "X")
    assert place(settings, alertname="RedisSlow", platform="crypto", severity="P0", instance="a", shard="1") == (
        "crypto",
        "redis-latency",
        "instance=a, shard=1",
    )
    assert place(settings, alertname="RedisSlow", platform="crypto", severity="P01") == (
        "crypto",
        "triage",
        "RedisSlow",
    )


def test_platform_that_is_not_known_goes_to_triage(settings: Settings) -> None:
    assert place(settings, alertname="VarBreach", symbol="X") == ("unknown", "triage", "VarBreach")
    assert place(settings, alertname="VarBreach", platform="../crypto") == ("unknown", "triage", "VarBreach")
    assert place(settings) == ("unknown", "triage", "")


def test_targets_are_one_line_and_distinct(settings: Settings) -> None:
    hostile = [place(settings, alertname="VarBreach", platform="crypto", symbol=text)[2]
               for text in ("a\nb", "a b", "a\u202eb", "x" * 1000, "x" * 1001)]  # fmt: skip
    assert len(set(hostile)) == len(hostile)
    assert all(target.isprintable() and len(target) <= 160 for target in hostile)


def test_explanation_says_why_the_others_do_not_match(settings: Settings) -> None:
    rows = routes.load(settings).explain({"alertname": "VarBreach", "platform": "crypto"})
    assert [row.taken for row in rows] == [True, False, False]
    assert "alertname is 'VarBreach', which does not match 'Redis.*'" in rows[1].why
    rows = routes.load(settings).explain({"alertname": "VarBreach", "platform": "moon"})
    assert [row.taken for row in rows] == [False, False, True]
    assert "platform is 'moon', not 'crypto'" in rows[0].why
    assert "platform 'moon' is not known" in rows[2].why


def test_every_mistake_in_every_file_is_named_at_once(settings: Settings) -> None:
    bad = (
        ROUTES.replace("runbook: var-breach", "runbook: no-such")
        .replace("[symbol]", "symbol")
        .replace("~Redis.*", "~(")
    )
    (settings.params / "routes.yaml").write_text(bad + "extra: 1\n", "utf-8")
    (settings.params / "platforms" / "crypto.yaml").write_text("title: 5\nenvironment: moon\n", "utf-8")
    (settings.params / "contacts.yaml").write_text("levels: {L9: {who: x, how: y, within: z}}\n", "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        routes.check(settings)
    text = str(caught.value)
    for part in (
        "routes.yaml: routes.0.runbook: there is no runbook 'no-such'",
        "routes.yaml: routes.0.target",
        "routes.yaml: routes.1.match.alertname",
        "routes.yaml: extra",
        "crypto.yaml: title",
        "crypto.yaml: environment",
        "contacts.yaml: levels.L9",
    ):
        assert part in text


def test_parameters_of_a_runbook_that_does_not_exist(settings: Settings) -> None:
    (settings.params / "platforms" / "crypto.yaml").write_text(PLATFORM + "runbooks: {var-braech: {x: 1}}\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"crypto\.yaml: runbooks\.var-braech: there is no runbook"):
        routes.check(settings)


def test_values_that_a_platform_gives_to_runbooks_are_held_against_their_declarations(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(PROJECT / "notebooks"))
    values = '{var_limit_pct: "2", emergency_kelly: 7, no_such: 1, "os.system(1)": 2}'
    (settings.params / "platforms" / "crypto.yaml").write_text(
        f"{PLATFORM}runbooks: {{var-breach: {values}, triage: {{platform: moon}}}}\n", "utf-8"
    )
    with pytest.raises(ConfigurationError) as caught:
        routes.check(Settings())
    text = str(caught.value)
    for part in (
        "crypto.yaml: runbooks.var-breach.var_limit_pct: must be float, not str '2'",
        "crypto.yaml: runbooks.var-breach.emergency_kelly: must be at most",
        "crypto.yaml: runbooks.var-breach.no_such: var-breach has no such parameter; it has symbols",
        "crypto.yaml: runbooks.var-breach.'os.system(1)': not a parameter's name",
        "crypto.yaml: runbooks.triage.platform: the run is on crypto, not 'moon'",
        "policy.yaml: (the whole file): is missing",
    ):
        assert part in text


def test_a_broken_file_sends_everything_to_triage_and_says_so(settings: Settings) -> None:
    (settings.params / "routes.yaml").write_text("routes: [", "utf-8")
    to = routes.current(settings).route({"alertname": "VarBreach", "platform": "crypto"})
    assert (to.platform, to.runbook) == ("crypto", "triage")
    assert "routes.yaml" in to.why


@pytest.mark.parametrize("shape", ["webhook", "list", "alert"])
def test_command_explains_a_file(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: str
) -> None:
    one = {"labels": {"alertname": "VarBreach", "platform": "crypto", "symbol": "BTC-USD"}}
    document = {"webhook": {"version": "4", "alerts": [one]}, "list": [one], "alert": one}[shape]
    file = tmp_path / "alert.json"
    file.write_text(json.dumps(document), "utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(["routes", "test", "--alert", str(file), "--json"])
    assert ended.value.code == 0
    (answer,) = json.loads(capsys.readouterr().out)["alerts"]
    assert (answer["runbook"], answer["target"]) == ("var-breach", "BTC-USD")
    assert [row["taken"] for row in answer["routes"]] == [True, False, False]


def test_command_refuses_what_is_no_alert(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "alert.json"
    file.write_text("17", "utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(["routes", "test", "--alert", str(file)])
    assert ended.value.code == 2


def test_endpoints_of_a_sandbox_come_from_its_file(settings: Settings) -> None:
    crypto = platforms.load(settings, "crypto")
    assert not crypto.has("redis")
    with pytest.raises(ConfigurationError, match="sandbox of crypto is not up"):
        crypto.endpoint("redis")
    file = settings.state / "sandbox" / "crypto.json"
    file.parent.mkdir(parents=True)
    endpoints = {"redis": "redis://r@x", "redis_admin": "redis://a@x", "api": "http://x", "prometheus": None}
    file.write_text(json.dumps({"endpoints": endpoints}), "utf-8")
    assert (crypto.endpoint("redis"), crypto.endpoint("redis", "applier")) == ("redis://r@x", "redis://a@x")
    assert crypto.endpoint("api", "applier") == "http://x"
    assert not crypto.has("prometheus")
    for name in ("prometheus", "redis_admin"):
        with pytest.raises(ConfigurationError, match=f"declares no {name}"):
            crypto.endpoint(name)


def test_secrets_of_production_come_from_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "title: C\nenvironment: production\nendpoints:\n  redis: redis://r:${CRYPTO_PASSWORD}@h:6379/0\n"
    (settings.params / "platforms" / "crypto.yaml").write_text(text, "utf-8")
    crypto = platforms.load(settings, "crypto")
    with pytest.raises(ConfigurationError, match=r"endpoints\.redis: set CRYPTO_PASSWORD"):
        crypto.endpoint("redis")
    monkeypatch.setenv("CRYPTO_PASSWORD", "p@ss/word")
    assert crypto.endpoint("redis") == "redis://r:p%40ss%2Fword@h:6379/0"
    assert "p@ss" not in repr(crypto)


def test_unknown_platform_has_no_systems(settings: Settings) -> None:
    unknown = platforms.load(settings, "unknown")
    assert (unknown.declared(), unknown.has("redis")) == ({}, False)
    with pytest.raises(ConfigurationError, match="there is no platform 'moon'"):
        platforms.load(settings, "moon")
