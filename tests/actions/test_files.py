"""The actions on files, in a real folder: whole files, nothing outside, and a kill switch that others cannot touch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from opslib.actions.action import Action, Context, Description, Identity, Observation
from opslib.actions.catalogue import ACTIONS, make
from opslib.actions.drift import changes
from opslib.actions.policy import load
from opslib.errors import ActionFailed, PlanError, ProbeError
from opslib.settings import PROJECT, Settings

SOMEBODY, GROUP = 4711, 4712


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "autotrader"
    (place / "config").mkdir(parents=True)
    (place / "config" / "position_override.json").write_text('{"max_position_pct": 0.02}', "utf-8")
    return place


def context(folder: Path, identity: Identity = "recorder") -> Context:
    return Context("autotrader", "sandbox", identity, lambda _: folder.as_uri())


def preview(folder: Path, name: str, **arguments: Any) -> tuple[Action, Observation, Description]:
    action = make(name, arguments)
    with context(folder) as reading:
        seen = action.observe(reading)
        return action, seen, action.describe(reading, seen)


def apply(folder: Path, action: Action, seen: Observation) -> None:
    with context(folder, "applier") as changing:
        assert not action.done(changing, seen)
        action.apply(changing, "key-0")
        assert action.done(changing, seen)
        action.apply(changing, "key-0")  # tried again, it changes nothing more


def test_a_file_is_written_as_a_whole_and_set_back(folder: Path) -> None:
    path = folder / "config" / "position_override.json"
    path.chmod(0o640)
    given = {"path": "config/position_override.json", "content": {"max_position_pct": 0.005}}
    action, seen, told = preview(folder, "files.write-json", **given)
    assert '-{"max_position_pct": 0.02}' in told.preview["difference"]
    assert '+  "max_position_pct": 0.005' in told.preview["difference"]
    assert json.loads(path.read_text("utf-8")) == {"max_position_pct": 0.02}  # the preview wrote nothing
    apply(folder, action, seen)
    assert json.loads(path.read_text("utf-8")) == {"max_position_pct": 0.005}
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # nothing is left beside it
    back, before, _ = preview(folder, str(told.undo.action), **(told.undo.arguments or {}))
    apply(folder, back, before)
    assert json.loads(path.read_text("utf-8")) == {"max_position_pct": 0.02}
    with pytest.raises(PlanError, match="holds that already"):
        preview(folder, "files.write-json", path=given["path"], content={"max_position_pct": 0.02})


def test_a_new_file_is_removed_again(folder: Path) -> None:
    given = {"path": "config/online_learning_freeze.json", "content": {"accept_threshold": 0.99}}
    action, seen, told = preview(folder, "files.write-json", **given)
    apply(folder, action, seen)
    assert told.undo.action == "files.remove"
    back, before, way = preview(folder, str(told.undo.action), **(told.undo.arguments or {}))
    assert way.undo.arguments is not None
    assert way.undo.arguments["text"] == '{\n  "accept_threshold": 0.99\n}\n'
    apply(folder, back, before)
    assert not (folder / given["path"]).exists()


def test_a_removed_file_comes_back_for_whom_it_was(folder: Path) -> None:
    path = folder / "config" / "position_override.json"
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, SOMEBODY, GROUP)
    was = path.stat()
    action, seen, told = preview(folder, "files.remove", path="config/position_override.json")
    apply(folder, action, seen)
    back, before, way = preview(folder, str(told.undo.action), **(told.undo.arguments or {}))
    assert way.preview["access"] == {"mode": "0640", "owner": was.st_uid, "group": was.st_gid}
    apply(folder, back, before)
    now = path.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
    assert path.read_text("utf-8") == '{"max_position_pct": 0.02}'


def test_a_file_stays_its_owners(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file to somebody")
    path = folder / "config" / "position_override.json"
    path.chmod(0o600)
    os.chown(path, SOMEBODY, GROUP)
    action, seen, _ = preview(folder, "files.write-json", path="config/position_override.json", content={})
    apply(folder, action, seen)
    now = path.stat()
    assert (now.st_mode & 0o777, now.st_uid, now.st_gid) == (0o600, SOMEBODY, GROUP)


@pytest.mark.parametrize(("mode", "readable"), [(0o664, True), (0o660, False)])
def test_a_file_that_its_owner_could_not_read_after_us_is_not_written(mode: int, readable: bool) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file to somebody")
    with tempfile.TemporaryDirectory() as place:  # tmp_path is closed to other users
        Path(place).chmod(0o777)
        path = Path(place, "limits.json")
        path.write_text("{}", "utf-8")
        os.chown(path, SOMEBODY, GROUP)
        path.chmod(mode)
        action = make("files.write-json", {"path": "limits.json", "content": {"a": 1}})
        with nobody(), context(Path(place), "applier") as changing:
            if readable:
                action.apply(changing, "key-0")
            else:
                with pytest.raises(ActionFailed, match=r"limits\.json is of user 4711, who could not read it after us"):
                    action.apply(changing, "key-0")
        assert path.read_text("utf-8") == ('{\n  "a": 1\n}\n' if readable else "{}")
        assert path.stat().st_mode & 0o777 == mode
        assert [entry.name for entry in Path(place).iterdir()] == [path.name]  # nothing is left beside it


@pytest.mark.parametrize("mode", [0o640, 0o660])
def test_a_file_that_its_group_could_not_read_after_us_is_not_written(mode: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file to somebody")
    with tempfile.TemporaryDirectory() as place:  # tmp_path is closed to other users
        Path(place).chmod(0o777)
        path = Path(place, "limits.json")
        path.write_text("{}", "utf-8")
        os.chown(path, 65534, GROUP)  # ours, for a group that we are not in
        path.chmod(mode)
        action = make("files.write-json", {"path": "limits.json", "content": {"a": 1}})
        with nobody(), context(Path(place), "applier") as changing, pytest.raises(ActionFailed) as failure:
            action.apply(changing, "key-0")
        assert f"limits.json is for group {GROUP}, who could not read it after us" in str(failure.value)
        now = path.stat()
        assert (path.read_text("utf-8"), now.st_gid, now.st_mode & 0o777) == ("{}", GROUP, mode)
        assert [entry.name for entry in Path(place).iterdir()] == [path.name]


def test_one_and_true_are_two_things(folder: Path) -> None:
    path = folder / "config" / "position_override.json"
    path.write_text('{"on": 1}', "utf-8")
    given = {"path": "config/position_override.json", "content": {"on": True}}
    action, seen, told = preview(folder, "files.write-json", **given)
    assert told.summary == "Change config/position_override.json"
    apply(folder, action, seen)
    assert '"on": true' in path.read_text("utf-8")
    with context(folder) as reading:
        assert action.done(reading, seen)


@contextmanager
def nobody() -> Iterator[None]:
    """As somebody who is not root, and owns no file of these tests."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_what_is_no_text_is_changed_by_hand(folder: Path) -> None:
    path = folder / "config" / "position_override.json"
    path.write_bytes(b'{"desk": "caf\xe9"}')
    for name, more in (("files.remove", {}), ("files.write-json", {"content": {}})):
        with pytest.raises(PlanError, match=r"holds bytes that are no text; no plan puts them back"):
            preview(folder, name, path="config/position_override.json", **more)
    (folder / "KILL_SWITCH").write_bytes(b"\xff")
    action, seen, _ = preview(folder, "files.kill-switch-off")
    apply(folder, action, seen)


def test_a_file_that_others_changed_voids_the_plan(folder: Path) -> None:
    given = {"path": "config/position_override.json", "content": {"max_position_pct": 0.005}}
    action, seen, _ = preview(folder, "files.write-json", **given)
    (folder / "config" / "position_override.json").write_text('{"max_position_pct": 0.01}', "utf-8")
    with context(folder) as reading:
        assert "its configuration was version" in changes(seen.target, action.observe(reading).target)[0]


def test_the_kill_switch_goes_on_by_anybody_and_off_by_authority(folder: Path) -> None:
    action, seen, told = preview(folder, "files.kill-switch-on", reason="daily loss")
    apply(folder, action, seen)
    assert json.loads((folder / "KILL_SWITCH").read_text("utf-8"))["reason"] == "daily loss"
    rules = load(Settings(params=PROJECT / "params"))
    on, off = ACTIONS["files.kill-switch-on"], ACTIONS["files.kill-switch-off"]
    assert on.stops_new_risk
    assert not off.stops_new_risk
    assert not off.risk_reducing
    assert rules.authority(on, told.undo) == "L1"
    assert told.undo.action == "files.kill-switch-off"
    back, before, way = preview(folder, "files.kill-switch-off")
    assert rules.authority(off, way.undo) == "L3"
    apply(folder, back, before)
    with pytest.raises(PlanError, match="is not set; there is nothing to take away"):
        preview(folder, "files.kill-switch-off")


def test_no_other_action_touches_the_kill_switch(folder: Path) -> None:
    (folder / "KILL_SWITCH").write_text("{}", "utf-8")
    for name, more in (("files.remove", {}), ("files.write-json", {"content": {}})):
        with pytest.raises(PlanError, match="is the kill switch, which has actions of its own"):
            preview(folder, name, path="KILL_SWITCH", **more)
        with pytest.raises(PlanError, match="is the kill switch"):
            preview(folder, name, path="config/kill_switch.json", **more)
    with pytest.raises(PlanError, match="is no kill switch"):
        preview(folder, "files.kill-switch-off", path="config/position_override.json")


def test_nothing_outside_the_folder_is_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text("{}", "utf-8")
    (folder / "way-out").symlink_to(tmp_path)
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    for path in ("../outside.json", "way-out/outside.json", "link.json"):
        action = make("files.write-json", {"path": path, "content": {"a": 1}})
        with context(folder) as reading, pytest.raises(ProbeError, match=r"is no path below|leads out of the folder"):
            action.observe(reading)
        with context(folder, "applier") as changing, pytest.raises(ActionFailed):
            action.apply(changing, "key-0")
    assert (tmp_path / "outside.json").read_text("utf-8") == "{}"


def test_the_recorder_writes_nothing_and_a_secret_is_in_no_plan(folder: Path) -> None:
    action = make("files.write-json", {"path": "config/new.json", "content": {}})
    with context(folder) as reading, pytest.raises(ActionFailed, match="the recorder may not change autotrader"):
        action.apply(reading, "key-0")
    assert not (folder / "config" / "new.json").exists()
    (folder / "config" / "broker.json").write_text('{"api_key": "0123456789abcdef"}', "utf-8")
    with pytest.raises(PlanError, match="holds what looks like a secret"):
        preview(folder, "files.write-json", path="config/broker.json", content={})
