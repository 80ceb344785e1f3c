"""Make the golden records anew: `make golden`, or `python -m tests.golden [NAME]...` for some.

Each is the record of one real run on the sandbox: its executed notebook, its journal and its evidence. Pictures are
replaced by one point, since they are compared by their presence alone.

`--renew` keeps the evidence, and what today's playbooks show on it becomes what is expected: after a change of words.
`--of FOLDER` takes one from the folder of an incident of the sandbox, such as one of a game day.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from opslib import store
from opslib.canonical import plain
from opslib.platforms import load
from opslib.record import evidence, redaction
from opslib.record.archive import EVIDENCE, JOURNAL
from opslib.record.archived import ArchivedRun, journal_of, runs_in
from opslib.record.client import environment
from opslib.runs import replaying
from opslib.runs.formats import nbformat
from opslib.settings import PROJECT, Settings
from sandbox import faults, platforms
from tests.golden import FOLDER, GOLDEN, Golden

POINT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="  # 1 x 1, PNG
SEED = 7
SHOWS_S = 120.0
"""How long the alert's own condition may take to hold, or to be over, once the platform is as it should be [s]."""


def main(arguments: list[str]) -> None:
    """Make, take or renew some records."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*GOLDEN, []], metavar="NAME")
    parser.add_argument("--renew", action="store_true", help="only what is expected, on the evidence that there is")
    parser.add_argument("--of", type=Path, metavar="FOLDER", help="take the one record from an incident's folder")
    asked = parser.parse_args(arguments)
    wanted = {name: golden for name, golden in GOLDEN.items() if not asked.names or name in asked.names}
    if asked.of is not None and len(asked.names) != 1:
        parser.error("with --of, name the one record that is taken")
    if asked.of is not None:
        keep(asked.names[0], run_of(asked.of, GOLDEN[asked.names[0]]))
    elif not asked.renew:
        make(wanted)
    if asked.of is not None or asked.renew:
        for name in wanted:
            renew(name)


def make(wanted: dict[str, Golden]) -> None:
    """Run each playbook on the platform as it should find it, and keep the records."""
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(home=Path(place) / "home")
        try:
            for platform in {golden.platform for golden in wanted.values()}:
                platforms.find(platform).up(settings, progress=say, monitored=True)
            for name, golden in wanted.items():
                platforms.find(golden.platform).heal(settings, progress=say)
                if golden.fault:
                    faults.break_(settings, golden.fault, seed=SEED, progress=say)
                keep(name, run_of(Path(run(settings, golden)["record"]).parent, golden))
        finally:
            for platform in platforms.PLATFORMS.values():
                platform.down(settings, progress=say)
            store.stop(settings)
            shutil.rmtree(settings.runtime, ignore_errors=True)


def run(settings: Settings, golden: Golden) -> dict[str, Any]:
    """Run a runbook by hand, until its alert is as true as it should be."""
    runbook = str(Path(sys.executable).with_name("runbook"))
    command = [runbook, "run", golden.runbook, "--platform", golden.platform, "--json"]
    command += [] if golden.alert is None else ["--alert", "-"]
    alert = "" if golden.alert is None else json.dumps(golden.alert)
    deadline = time.monotonic() + SHOWS_S
    while True:
        done = subprocess.run(
            command, input=alert, env=environment(settings), capture_output=True, text=True, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout)
        if found["verdict"]["confirmed"] is (golden.fault is not None) or time.monotonic() > deadline:
            return found


def run_of(folder: Path, golden: Golden) -> ArchivedRun:
    """The run of an incident that is what a golden record should be."""
    for one in runs_in(folder):
        if one.facts["runbook"] == golden.runbook and one.verdict and one.verdict["cause"] == golden.cause:
            return one
    raise SystemExit(f"{folder} has no run of {golden.runbook} that names {golden.cause or 'no cause'}")


def keep(name: str, run: ArchivedRun) -> None:
    """Copy what a replay needs of a run."""
    target = FOLDER / name
    shutil.rmtree(target, ignore_errors=True)
    (target / EVIDENCE).mkdir(parents=True)
    for entry in run.answers.values():
        shutil.copy(run.folder / entry["file"], target / entry["file"])
    write_journal(target, told(run))
    write(target / run.notebook.name, json.loads(run.notebook.read_text("utf-8")))


def told(run: ArchivedRun) -> list[dict[str, Any]]:
    """What the journal tells of a run, as far as its end; what comes after it, or is of another run, is left out."""
    found = []
    for entry in journal_of(run.folder):
        own = entry["body"].get("run") == run.facts["run"]
        if own or "run" not in entry["body"]:
            found.append(entry)
        if own and entry["kind"] == "run-ended":
            break
    return found


def renew(name: str) -> None:
    """Let today's playbook run on the evidence; what it shows is what is expected from now on."""
    tell_calling(FOLDER / name)
    (run,) = runs_in(FOLDER / name)
    again = replayed(run)
    if again.missing and all(call.startswith("clock.now()") for call in again.missing):
        for _ in again.missing:
            tell_time(run.folder)
        (run,) = runs_in(FOLDER / name)
        again = replayed(run)
    if again.missing or again.state != "succeeded":
        raise SystemExit(f"{name}: today's playbook asks for more than the record holds: make it anew. {again.error}")
    notebook = json.loads(run.notebook.read_text("utf-8"))
    notebook["cells"] = [lasting(cell) for cell in json.loads(nbformat.writes(again.notebook))["cells"]]
    write(run.notebook, notebook)
    size = sum(path.stat().st_size for path in (FOLDER / name).rglob("*") if path.is_file())
    say(f"{name} is renewed, {size:,} bytes")


def replayed(run: ArchivedRun) -> replaying.Replayed:
    """What today's playbook shows on the evidence."""
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(home=Path(place) / "home")
        settings.make_home()
        return replaying.backtest(settings, run)


def tell_calling(folder: Path) -> None:
    """Put into a record whom today's parameter files say to call, and when, as a run of today would be told."""
    entries = journal_of(folder)
    opened = next(entry for entry in entries if entry["kind"] == "incident-opened")
    platform = load(Settings(params=PROJECT / "params"), opened["body"]["platform"])
    session = next(entry for entry in entries if entry["kind"] == "session")
    session["body"] |= {
        "contacts": {level: contact.model_dump() for level, contact in platform.contacts.items()},
        "paths": platform.paths_of(opened["body"]["runbook"]),
        "updates": platform.updates,
        "severity": opened["body"]["severity"],
        "opened_at": opened["at"],
    }
    write_journal(folder, entries)


def tell_time(folder: Path) -> None:
    """Put the time of the last evidence into a record once more: a clock alone is known without a platform."""
    (run,) = runs_in(folder)
    at = max(dt.datetime.fromisoformat(body["at"]) for body in run.answers.values())
    asked = sum(body["probe"] == "clock.now" for body in run.answers.values())
    call = evidence.Call(run.incident, int(run.facts["run"]), "clock.now", {}, asked + 1, at, 0.0)
    with tempfile.TemporaryDirectory() as place:
        seen = evidence.write(folder, call, at, redaction.Redactor(Settings(home=Path(place))))
    entries = journal_of(folder)
    end = next(place for place, entry in enumerate(entries) if entry["kind"] == "run-ended")
    entries.insert(end, {**entries[end], "actor": "recorder", "kind": "evidence", "body": plain(seen.entry)})
    write_journal(folder, entries)


def write_journal(folder: Path, entries: list[dict[str, Any]]) -> None:
    """The journal of a record, a line an entry."""
    lines = (json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
    (folder / JOURNAL).write_text("".join(f"{line}\n" for line in lines), "utf-8")


def lasting(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell without what differs from one execution to the next."""
    tags, status = cell["metadata"].get("tags", []), cell["metadata"]["runbook"]["status"]
    cell["metadata"] = {"runbook": {"status": status}, "tags": tags}
    return cell | {"id": "injected-parameters"} if "injected-parameters" in tags else cell


def write(path: Path, notebook: dict[str, Any]) -> None:
    """A notebook with its pictures replaced."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = POINT
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def say(message: str) -> None:
    """Tell whoever waits."""
    print(message, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
