"""Make the golden records anew: `make golden`, or `python -m tests.golden [NAME]...` for some.

Each is the record of one real run on the sandbox: its executed notebook, its journal and its evidence. Pictures are
replaced by one point, since they are compared by their presence alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from opslib import store
from opslib.record.client import environment
from opslib.settings import Settings
from sandbox import faults, platforms
from tests.golden import FOLDER, GOLDEN

POINT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="  # 1 x 1, PNG
SEED = 7


def main(names: list[str]) -> None:
    """Run each playbook on the platform as it should find it, and keep the records."""
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(home=Path(place) / "home")
        wanted = {name: golden for name, golden in GOLDEN.items() if not names or name in names}
        try:
            for platform in {golden.platform for golden in wanted.values()}:
                platforms.find(platform).up(settings, progress=say, monitored=False)
            for name, golden in wanted.items():
                platforms.find(golden.platform).heal(settings, progress=say)
                if golden.fault:
                    faults.break_(settings, golden.fault, seed=SEED, progress=say)
                keep(name, Path(run(settings, golden.runbook, golden.platform)["record"]))
        finally:
            for platform in platforms.PLATFORMS.values():
                platform.down(settings, progress=say)
            store.stop(settings)
            shutil.rmtree(settings.runtime, ignore_errors=True)


def run(settings: Settings, runbook: str, platform: str) -> dict[str, Any]:
    """Run a runbook by hand."""
    command = [str(Path(sys.executable).with_name("runbook")), "run", runbook, "--platform", platform, "--json"]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def keep(name: str, record: Path) -> None:
    """Copy what a replay needs of a record."""
    target = FOLDER / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(record.parent / "evidence", target / "evidence")
    shutil.copy(record.parent / "journal.jsonl", target)
    notebook = json.loads(record.read_text("utf-8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = POINT
    (target / record.name).write_text(
        json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8"
    )
    say(f"{name} is kept, {sum(path.stat().st_size for path in target.rglob('*') if path.is_file()):,} bytes")


def say(message: str) -> None:
    """Tell whoever waits."""
    print(message, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
