"""Agreement with the processor, then the speed of what lies on the card: `python -m bench.gpu [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

import engine
from bench.gpu import agreement, resident
from bench.timing import Row

RESIDENT_TOLERANCE = 1e-9  # cupy's own normal distribution and sums are no closer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    device = engine.device()
    there = device.kind == "cuda" and device.cupy is not None
    agreed: list[Row] = list(agreement.rows()) if there else []
    lying: list[Row] = list(resident.rows()) if there else []
    found = [*agreed, *lying]
    if as_json:
        document = {"name": "gpu", "device": asdict(device), "rows": [asdict(row) for row in found]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    elif not found:
        sys.stdout.write(f"gpu: nothing to measure: {device.reason}\n")
    for row in [] if as_json else found:
        error = "" if row.error is None else f", differs by {row.error:.1e}"
        sys.stdout.write(
            f"gpu: {row.case}: {row.ours:.1f} {row.unit}, {row.peer_name} {row.peer:.1f} {row.unit}, "
            f"ratio {row.ratio:.2f}{error}; {row.note}\n"
        )
    wrong = [row.case for row in agreed if row.error is not None and row.error > tolerance(row.case)]
    wrong += [row.case for row in lying if row.error is not None and row.error > RESIDENT_TOLERANCE]
    if wrong:
        sys.stderr.write(f"gpu: differs by more than is allowed: {', '.join(wrong)}\n")
    return 1 if wrong else 0


def tolerance(case: str) -> float:
    """The tolerance of the function that a case begins with."""
    return next(value for name, value in agreement.TOLERANCES.items() if case.startswith(f"{name}, "))


if __name__ == "__main__":
    sys.exit(main())
