"""What the chart's containers run: the preparation of the store, the probe that tells whether a process is alive."""

from __future__ import annotations

from pathlib import Path

import pytest

from opslib import alive, incidents, people, prepare, store
from opslib.record.seal import seal
from opslib.record.verify import verify
from opslib.settings import PROJECT, Settings
from opslib.store import processes
from tests.probes.servers import free_port


def test_preparation(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main() == 1
    assert "set RUNBOOK_INTAKE_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("RUNBOOK_INTAKE_TOKEN", "a" * 40)
    assert prepare.main() == prepare.main() == 0
    with store.connect(settings) as connection:
        assert people.authenticate(connection, "a" * 40).role == "machine"


def test_preparation_says_every_mistake(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNBOOK_INTAKE_TOKEN", "a" * 40)
    monkeypatch.setenv("RUNBOOK_PARAMS", str(tmp_path / "none"))
    assert prepare.main() == 1
    assert "routes.yaml" in capsys.readouterr().err


def test_a_process_is_alive_while_it_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert alive.main(["worker"]) == 1
    process = processes.register(settings, "worker")
    assert alive.main(["worker"]) == 0
    assert alive.main(["signer"]) == 1
    with store.transaction(settings) as connection:
        connection.execute("UPDATE processes SET heartbeat_at = now() - interval '2 minutes'")
    assert alive.main(["worker"]) == 1
    process.beat()
    assert alive.main(["worker"]) == 0
    with store.transaction(settings) as connection:
        connection.execute("UPDATE processes SET host = 'elsewhere'")
    assert alive.main(["worker"]) == 1


def test_a_store_that_is_away_is_no_reason_to_start_a_worker_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert alive.main(["worker"]) == 0


def test_a_server_that_does_not_answer_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_PORT", str(free_port()))
    assert alive.main(["server"]) == 1


def test_a_home_whose_state_is_a_link_to_a_volume_of_the_pod(tmp_path: Path, settings: Settings) -> None:
    own = tmp_path / "volume" / "own"
    (own / "keys").mkdir(parents=True)
    (settings.state).rename(tmp_path / "before")
    settings.state.symlink_to(own)
    settings.make_home()
    assert own.stat().st_mode & 0o777 == 0o700
    with store.transaction(settings) as connection:
        facts = {"platform": "crypto", "runbook": "triage", "target": "", "severity": "info", "title": "T"}
        incident = incidents.open_incident(connection, **facts, opened_by="ann")["id"]
    seal(settings, incident)
    assert (own / "keys" / "signing.pem").is_file()
    report = verify(settings.home)
    assert (report.ok, report.log) == (True, [])


def test_the_chart_and_the_program_agree_on_the_state_folder() -> None:
    helpers = (PROJECT / "deploy" / "helm" / "runbooks" / "templates" / "_helpers.tpl").read_text("utf-8")
    assert f"/var/lib/runbooks/{Settings().state.name}" in helpers
