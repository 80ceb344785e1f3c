"""The archive that all hosts share: a shared folder, or moto's S3 server, a stand-in for a real one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from opslib import store
from opslib.console import views
from opslib.errors import RecordError
from opslib.people import Person
from opslib.record import client, remote
from opslib.runs import following, run
from opslib.settings import Settings
from tests.runs.conftest import write_runbook

BUCKET = "records"
LOOK = "import opslib\nops = opslib.connect()\nprint('looked', ops.now() is not None)"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A bucket with object lock; its client."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
            patch.setenv(name, value)
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **quiet) as server:  # type: ignore[call-overload]
            until(lambda: answers(port))
            here = boto3.client("s3")
            here.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
            yield here
            here.close()
            server.terminate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(so: Any, within_s: float = 180.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := so()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The archive's address."""
    address = f"file://{tmp_path / 'archive'}"
    if request.param == "s3":
        request.getfixturevalue("s3")
        address = f"s3://{BUCKET}/{os.urandom(4).hex()}"
        monkeypatch.setenv("RUNBOOK_ARCHIVE_LOCK_DAYS", "30")
    monkeypatch.setenv("RUNBOOK_ARCHIVE", address)
    return address


def host(tmp_path: Path, name: str) -> Settings:
    """A host with a home of its own."""
    settings = Settings(home=tmp_path / name)
    settings.make_home()
    return settings


def test_what_one_host_writes_another_gets_and_only_what_is_new(settings: Settings, place: str, tmp_path: Path) -> None:
    here, there = host(tmp_path, "here"), host(tmp_path, "there")
    folder = "2026-11-20/INC-2026-000001"
    (here.home / folder / "evidence").mkdir(parents=True)
    (here.home / folder / "a.txt").write_text("one")
    (here.home / folder / "evidence" / "E001-x.json").write_text("{}")
    assert sorted(remote.push(here, folder)) == ["a.txt", "evidence/E001-x.json"]
    assert remote.push(here, folder) == []
    assert sorted(remote.fetch(there, folder)) == ["a.txt", "evidence/E001-x.json"]
    assert remote.fetch(there, folder) == []
    (here.home / folder / "a.txt").write_text("two")
    assert remote.push(here, folder) == ["a.txt"]
    assert remote.fetch(there, folder) == ["a.txt"]
    assert (there.home / folder / "a.txt").read_text() == "two"
    (there.home / folder / "a.txt").write_text("own work")
    (here.home / folder / "a.txt").write_text("three")
    remote.push(here, folder)
    assert remote.fetch(there, folder) == []  # what this host changed itself is not written over
    assert remote.fetch_named(there, folder, {"a.txt": "0" * 64, "b.txt": "0" * 64}) == ["b.txt"]


def test_bytes_of_another_digest_are_not_taken(settings: Settings, place: str, tmp_path: Path) -> None:
    here, there = host(tmp_path, "here"), host(tmp_path, "there")
    folder = "2026-11-20/INC-2026-000001"
    (here.home / folder).mkdir(parents=True)
    (here.home / folder / "a.txt").write_text("forged")
    remote.push(here, folder)
    assert remote.fetch_named(there, folder, {"a.txt": "0" * 64}) == ["a.txt"]
    assert not (there.home / folder / "a.txt").exists()


def test_an_archive_that_is_away_is_told(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "_S3", {"connect_timeout": 1, "read_timeout": 1, "retries": {"max_attempts": 1}})
    monkeypatch.setenv("RUNBOOK_ARCHIVE", "s3://nowhere/at-all")
    here = host(tmp_path, "here")
    (here.home / "2026-11-20/INC-2026-000001").mkdir(parents=True)
    (here.home / "2026-11-20/INC-2026-000001" / "a.txt").write_text("one")
    with pytest.raises(RecordError, match="the archive s3://nowhere/at-all does not answer"):
        remote.push(here, "2026-11-20/INC-2026-000001")
    remote.try_to_push(here, "2026-11-20/INC-2026-000001")


@pytest.fixture
def finished(settings: Settings, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run on one host, sealed by the signer of another; its incident."""
    params = tmp_path / "params"
    (params / "platforms").mkdir(parents=True)
    for name in ("contacts.yaml", "policy.yaml", "routes.yaml"):
        (params / name).write_text((Path(__file__).parents[2] / "params" / name).read_text())
    (params / "platforms" / "test.yaml").write_text(
        "title: Test\nenvironment: staging\nendpoints:\n  api: http://127.0.0.1:1\n"
    )
    write_runbook(tmp_path / "notebooks" / "alerts" / "looks.ipynb", LOOK)
    monkeypatch.setenv("RUNBOOK_PARAMS", str(params))
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path / "notebooks"))
    worker, signer = host(tmp_path, "worker"), host(tmp_path, "signer")
    command = [sys.executable, "-m", "opslib.record.signer"]
    with subprocess.Popen(command, env=client.environment(signer), cwd="/") as process:
        incident, number = run.start(worker, "looks", "test", {}, None, "plan", "ann")
        assert run.execute(worker, number, inline=True) == "succeeded", following.read(worker, number)["error"]
        until(lambda: sealed(worker, number))
        folder = following.read(worker, number)["folder"]
        until(lambda: {"seal-0001.json", "journal.jsonl"} <= set(remote.Remote(worker).marks(folder)))
        until(lambda: "checkpoint" in str(remote.Remote(worker).marks("log")))
        process.terminate()
    return incident


def sealed(settings: Settings, number: int) -> bool:
    row = following.read(settings, number)
    return bool(row["sealed_seq"] == row["journal_seq"])


def verified(settings: Settings) -> dict[str, Any]:
    command = [sys.executable, "-c", "from opslib.cli import main; main()", "verify", "--archive", "--json"]
    done = subprocess.run(
        command, env=client.environment(settings), capture_output=True, text=True, timeout=180, check=False
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    return report


@pytest.mark.slow
def test_any_console_shows_any_record_and_the_archive_verifies(finished: str, place: str, tmp_path: Path) -> None:
    console = host(tmp_path, "console")
    with store.connect(console) as connection:
        view = views.incident(connection, console, finished, Person("ann", "viewer", None))
    assert any(name.startswith("seal-") for name in view.record.files)
    notebook = views.notebook_file(console, view.incident, view.runs[0])
    assert notebook is not None
    assert "looked True" in notebook.read_text()
    report = verified(console)
    assert report["ok"], report
    assert [one["state"] for one in report["incidents"]] == ["intact"]
    folder, name = view.incident["folder"], notebook.name
    remote.Remote(console).write(folder, name, notebook.read_bytes().replace(b"looked True", b"looked Nope"))
    report = verified(console)
    assert [one["state"] for one in report["incidents"]] == ["altered"]
    assert name in str(report["incidents"][0]["problems"])


@pytest.mark.slow
def test_a_locked_object_stays_whoever_writes_over_it(
    s3: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_ARCHIVE", f"s3://{BUCKET}/locked")
    monkeypatch.setenv("RUNBOOK_ARCHIVE_LOCK_DAYS", "30")
    here = host(tmp_path, "here")
    far = remote.Remote(here)
    far.write("2026-11-20/INC-2026-000001", "seal-0001.json", b"true")
    key = "locked/2026-11-20/INC-2026-000001/seal-0001.json"
    first = s3.head_object(Bucket=BUCKET, Key=key)
    assert first["ObjectLockMode"] == "COMPLIANCE"
    far.write("2026-11-20/INC-2026-000001", "seal-0001.json", b"forged")
    with pytest.raises(ClientError, match=r"AccessDenied|object is WORM|Access Denied"):
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=first["VersionId"])
    kept = s3.get_object(Bucket=BUCKET, Key=key, VersionId=first["VersionId"])["Body"].read()
    assert kept == b"true"


@pytest.mark.slow
def test_no_object_is_written_outside(
    s3: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, folder = os.urandom(4).hex(), "2026-11-20/INC-2026-000001"
    monkeypatch.setenv("RUNBOOK_ARCHIVE", f"s3://{BUCKET}/{prefix}")
    there = host(tmp_path, "there")
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{folder}/a.txt", Body=b"a")
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{folder}/../../../outside", Body=b"planted")
    assert remote.fetch(there, folder) == ["a.txt"]
    with pytest.raises(RecordError, match="which leads out of it"):
        remote.copy(there, tmp_path / "deep" / "copy")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.slow
def test_an_archive_that_is_no_home_is_told(
    s3: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = os.urandom(4).hex()
    monkeypatch.setenv("RUNBOOK_ARCHIVE", f"s3://{BUCKET}/{prefix}")
    for name in ("log", "log/leaves.jsonl"):
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=b"x")
    with pytest.raises(RecordError, match="is no file of a home"):
        remote.copy(host(tmp_path, "there"), tmp_path / "copy")
