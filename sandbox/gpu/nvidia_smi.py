"""`nvidia-smi` for the described card, in the format of the real one; its figures are those of the card's accounting.

It fails as the real one does: without the driver's files, on a pod without a share of the card, and on a lost card.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.gpu import tables
from sandbox.gpu.card import CardLost, clients, describe
from sandbox.gpu.description import FOLDER

__all__ = ["Failure", "Reading", "main", "run", "wrapper"]

_NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
_USAGE = "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"
_RECENT_S = 5.0
_HEADS = {"used_memory": "used_gpu_memory"}  # the real one heads this column by its other name


class Failure(Exception):
    """What the program says instead, and its exit status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


@dataclass(frozen=True)
class Reading:
    """The card at one moment.

    Attributes
    ----------
    card : dict
        Its description.
    programs : list of dict
        What every living program holds.
    """

    card: dict[str, Any]
    programs: list[dict[str, Any]]

    @property
    def used_mib(self) -> int:
        """Memory in use [MiB]."""
        return round(sum(float(one["used_mib"]) for one in self.programs))

    @property
    def free_mib(self) -> int:
        """Memory left [MiB]."""
        free: int = self.card["memory_mib"] - self.card["reserved_mib"] - self.used_mib
        return free

    @property
    def busy(self) -> float:
        """Share of the last second in which the card computed."""
        now = time.time()
        return min(1.0, sum(float(one["busy"]) for one in self.programs if now - one["at"] < _RECENT_S))

    @property
    def power_w(self) -> float:
        """Power drawn [W], by load."""
        idle = self.card["idle_power_w"]
        return float(idle + (self.card["power_limit_w"] - idle) * 0.85 * self.busy)

    @property
    def temperature_c(self) -> int:
        """Temperature [C], by load."""
        idle = float(self.card["idle_temperature_c"])
        return round(idle + (float(self.card["hot_temperature_c"]) - idle) * self.busy)


def run(arguments: Sequence[str], folder: Path = Path(FOLDER)) -> str:
    """What `nvidia-smi ARGUMENTS` prints.

    Raises
    ------
    Failure
    """
    reading = _read(folder)
    options = _options(arguments)
    if options.get("-i", options.get("--id", "0")) not in ("0", reading.card["uuid"], reading.card["bus_id"]):
        raise Failure("No devices were found\n", 6)
    if "-L" in options or "--list-gpus" in options:
        return f"GPU 0: {reading.card['name']} (UUID: {reading.card['uuid']})\n"
    if "-q" in options or "--query" in options:
        return tables.everything(reading)
    for asked, table in (("--query-gpu", tables.gpu_fields), ("--query-compute-apps", tables.program_fields)):
        if asked in options:
            return _csv(table(reading), options[asked], options.get("--format", ""))
    if set(options) - {"-i", "--id"}:
        raise Failure(_USAGE, 2)
    return tables.overview(reading)


def wrapper(python: str, project: Path) -> str:
    """The script that a pod finds on its path as `nvidia-smi`."""
    return f'#!/bin/sh\nPYTHONPATH={project} exec {python} -S -m sandbox.gpu.nvidia_smi "$@"\n'


def _read(folder: Path) -> Reading:
    try:
        card = describe(folder)
    except CardLost as problem:
        raise Failure(_NO_DRIVER, 9) from problem
    if os.environ.get("NVIDIA_VISIBLE_DEVICES", "all") in ("", "none", "void"):
        raise Failure("No devices were found\n", 6)
    if card.get("lost"):
        text = f"Unable to determine the device handle for GPU {card['bus_id']}: GPU is lost.  "
        raise Failure(f"{text}Reboot the system to recover this GPU\n", 15)
    return Reading(card, clients(folder))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Options by name; those of one letter, and `--id`, take the next word as their value."""
    known: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in ("-i", "--id") and not equals:
            value = next(words, "")
        elif name in ("-L", "--list-gpus", "-q", "--query") and not equals:
            value = ""
        elif not (equals and name in ("--id", "--query-gpu", "--query-compute-apps", "--format")):
            raise Failure(_USAGE, 2)
        known[name] = value
    return known


def _csv(rows: dict[str, tuple[str, list[str]]], asked: str, form: str) -> str:
    """Chosen fields as comma-separated values, with units where they are wanted."""
    words = [word.strip() for word in form.split(",")]
    if "csv" not in words or not set(words) <= {"csv", "noheader", "nounits"}:
        raise Failure('"--format=" must be given with csv, and may add noheader and nounits\n', 2)
    fields = [field.strip() for field in asked.split(",")]
    for field in fields:
        if field not in rows:
            raise Failure(f'Field "{field}" is not a valid field to query.\n\n', 2)
    lines = []
    if "noheader" not in words:
        heads = [(_HEADS.get(field, field), rows[field][0]) for field in fields]
        lines.append(", ".join(f"{head} [{unit}]" if unit else head for head, unit in heads))
    with_units = "nounits" not in words
    for values in zip(*(rows[field][1] for field in fields), strict=True):
        shown = [
            f"{value} {rows[field][0]}" if with_units and rows[field][0] and not value.startswith("[") else value
            for field, value in zip(fields, values, strict=True)
        ]
        lines.append(", ".join(shown))
    return "".join(f"{line}\n" for line in lines)


def main(show: Callable[[str], object] = sys.stdout.write) -> int:
    """Run with the arguments of this process."""
    try:
        show(run(sys.argv[1:]))
    except Failure as failure:
        show(failure.text)
        return failure.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
