"""`runbook rbac` as a person uses it: by system, to be piped on, and refusing what cannot stand in its output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.clusters.test_rights import notebook


@pytest.fixture
def rbac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runbook that uses one thing of each system."""
    reads = ["kubernetes.pods", "postgres.usage", "redis.hash", "redis.keys"]
    notebook(tmp_path / "alerts" / "one.ipynb", "1", reads=reads, proposes=["redis.set-configuration"])
    notebook(tmp_path / "alerts" / "none.ipynb", "1", reads=["http.json"])
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path))
    return Path(sys.executable).with_name("runbook")


def printed(command: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run([str(command), "rbac", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_each_system_is_printed_alone_or_with_the_others(rbac: Path) -> None:
    kubernetes, postgres, redis = (printed(rbac, "one", "--for", name) for name in ("kubernetes", "postgres", "redis"))
    assert [one["kind"] for one in yaml.safe_load_all(kubernetes)] == ["Role", "RoleBinding"]
    assert 'GRANT "runbook-one-recorder" TO "recorder";' in postgres
    assert "applier" not in postgres.split("BEGIN;")[1]
    lines = [line for line in redis.splitlines() if not line.startswith("#")]
    assert lines == [
        "ACL SETUSER recorder on resetchannels ~* +config|get +hgetall +hlen +info +ping +scan +type",
        "ACL SETUSER applier on resetchannels +client|setname +config|get +config|set +info +ping",
    ]
    assert "# config|set changes any setting: Redis cannot be told which" in redis
    assert printed(rbac, "one") == "\n".join((kubernetes, postgres, redis))


def test_accounts_have_other_names_where_they_are_given(rbac: Path) -> None:
    told = printed(rbac, "one", "--recorder", "eyes", "--applier", "hands")
    assert 'TO "eyes";' in told
    assert "ACL SETUSER eyes on" in told
    assert "ACL SETUSER hands on" in told


def test_a_runbook_without_such_systems_needs_nothing(rbac: Path) -> None:
    assert (
        printed(rbac, "none")
        == "# none reads nothing of these systems and changes nothing there: it needs no rights.\n"
    )
    assert printed(rbac, "none", "--for", "redis").startswith("# none reads nothing of redis")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--table", "trades; DROP TABLE trades"), "is no name of a table, plain"),
        (("--setting", "work_mem TO x"), "is no name of a setting"),
        (("--keys", "a b"), "is no pattern of keys"),
        (("--recorder", "x +@all"), "is no name of an account"),
        (("--schema", "a.b.c"), "is no name of a table, plain"),
    ],
)
def test_what_would_mean_something_else_is_refused(rbac: Path, words: tuple[str, str], told: str) -> None:
    assert told in printed(rbac, "one", *words, code=2)
