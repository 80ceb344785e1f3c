"""Settings, homes and words that are wrong: one sentence that says what to do, an exit code, and no trace."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from opslib import people, store
from opslib.errors import ConfigurationError
from opslib.settings import Settings
from tests.intake.bodies import alert, send

RUNBOOK = str(Path(sys.executable).with_name("runbook"))


def refused(words: list[str | bytes], code: int, **more: str) -> str:
    """What a command says that is refused."""
    done = subprocess.run([RUNBOOK, *words], env=os.environ | more, capture_output=True, timeout=120, check=False)
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode == code, said
    assert done.stdout == b""
    assert "Traceback" not in said
    return said


def test_a_wrong_setting_is_named_by_its_variable(tmp_path: Path) -> None:
    said = refused(["incidents"], 2, RUNBOOK_HOME=str(tmp_path), RUNBOOK_PORT="abc", RUNBOOK_DRAIN_S="900")
    assert "RUNBOOK_PORT: Input should be a valid integer" in said
    assert "RUNBOOK_DRAIN_S: Input should be less than or equal to 20" in said


@pytest.mark.parametrize("text", ["port: abc", "- a", "port: [", "\x00"])
def test_a_settings_file_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "settings.yaml").write_text(text, "utf-8")
    monkeypatch.setenv("RUNBOOK_PARAMS", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"params/settings\.yaml"):
        Settings()


@pytest.mark.parametrize("command", ["incidents", "alerts", "run"])
def test_a_home_that_cannot_be_made_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("no folder")
    words: list[str | bytes] = ["run", "triage", "--platform", "crypto"] if command == "run" else [command]
    for home in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        said = refused(words, 1, RUNBOOK_HOME=str(home))
        assert f"RUNBOOK_HOME={home} cannot be used" in said
        assert "set it to a folder that you may write, on a disk with room" in said


def test_words_that_are_no_utf_8_are_refused(settings: Settings) -> None:
    for words in (["show", b"\xff\xfe"], ["people", "remove", b"\xff\xfe"]):
        assert re.search("is no UTF-8 text|a letter that cannot be stored", refused(words, 2))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_letters_gets_the_rest(settings: Settings, encoding: str) -> None:
    one = alert()
    one["labels"]["alertname"] = "Euro\N{EURO SIGN}"
    send(settings, one)
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    table, document = (
        subprocess.run([RUNBOOK, *words], env=environment, capture_output=True, timeout=120, check=True).stdout
        for words in (["alerts"], ["alerts", "--json"])
    )
    shown = "\N{EURO SIGN}" if encoding == "utf-8" else "?"
    assert f"Euro{shown} " in table.decode(encoding)
    assert json.loads(document.decode(encoding))["alerts"][0]["labels"]["alertname"] == "Euro\N{EURO SIGN}"


def test_nobody_gets_a_role_on_a_platform_that_is_not_there(settings: Settings) -> None:
    said = refused(["people", "add", "ana", "--role", "L1", "--platform", "crpyto"], 2)
    assert "there is no platform 'crpyto'; --platform takes one of crypto, derivatives, unknown" in said
    with store.transaction(settings) as connection:
        assert people.list_(connection) == []
    for scope in ("crypto", "environment:staging"):
        name = f"ana-{scope[0]}"
        done = subprocess.run(
            [RUNBOOK, "people", "add", name, "--role", "L1", "--platform", scope], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_a_backtest_of_a_runbook_that_is_not_there_is_no_answer(settings: Settings) -> None:
    assert "there is no runbook 'var-braech'; perhaps var-breach" in refused(["backtest", "--runbook", "var-braech"], 2)


def test_a_disk_without_room_for_the_database_is_told_without_a_trace(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system of its own needs a mount namespace, which this user may not make")
    (tmp_path / "small").mkdir()
    script = 'mount -t tmpfs -o size=1m none "$1" && RUNBOOK_HOME="$1/home" exec "$2" incidents'
    words = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path / "small"), RUNBOOK]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("runbook: the embedded PostgreSQL did not start:")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
