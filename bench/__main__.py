"""Run every benchmark in turn: `python -m bench [--json | --docs]`.

With `--docs` the table and the picture of speed in docs/engine.md are made anew of what was measured, both or neither.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.timing import Row, told

HELPERS = {"__init__", "__main__", "exact", "figures", "plots", "service", "timing", "usage"}


def names() -> list[str]:
    """Benchmarks by name, that of the card last."""
    return [*sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - HELPERS), "gpu"]


def measured(name: str) -> dict[str, Any] | None:
    """Run one benchmark and return its document; None where it failed, which it says itself."""
    done = subprocess.run([sys.executable, "-m", f"bench.{name}", "--json"], check=False, stdout=subprocess.PIPE)
    if done.returncode:
        return None
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON document a benchmark")
    how.add_argument("--docs", action="store_true", help="renew the table and the picture of docs/engine.md as well")
    given = parser.parse_args()
    documents, failed = {}, []
    for name in names():
        document = measured(name)
        if document is None:
            failed.append(name)
            continue
        documents[name] = document
        if given.json:
            text = json.dumps(document, indent=2) + "\n"
        else:
            text = "".join(told(name, Row(**row)) for row in document["rows"])
        sys.stdout.write(text or f"{name}: nothing to measure\n")
        sys.stdout.flush()
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
        return 1
    if given.docs:
        from bench import figures, plots

        lacking = figures.missing(documents)
        if lacking:
            sys.stderr.write(f"docs/engine.md stays as it is; not measured: {'; '.join(lacking)}\n")
            return 1
        figures.renew(documents, figures.conditions())
        plots.speed(documents)
    return 0


if __name__ == "__main__":
    sys.exit(main())
