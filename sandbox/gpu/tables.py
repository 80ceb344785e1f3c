"""The texts of `nvidia-smi`, laid out as those of driver 535."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.gpu.nvidia_smi import Reading

__all__ = ["everything", "gpu_fields", "overview", "program_fields"]

_OVERVIEW = """\
{at}
+---------------------------------------------------------------------------------------+
| NVIDIA-SMI {driver:<21}  Driver Version: {driver:<12} CUDA Version: {cuda:<8} |
|-----------------------------------------+----------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |         Memory-Usage | GPU-Util  Compute M. |
|                                         |                      |               MIG M. |
|=========================================+======================+======================|
|   0  {name:<30} On  | {bus:>16} Off |                    0 |
| N/A  {temperature:>3}C    P{state:<1} {power:>23} | {memory:>20} | {busy:>6}%      Default |
|                                         |                      |                  N/A |
+-----------------------------------------+----------------------+----------------------+
                                                                                         
+---------------------------------------------------------------------------------------+
| Processes:                                                                            |
|  GPU   GI   CI        PID   Type   Process name                            GPU Memory |
|        ID   ID                                                             Usage      |
|=======================================================================================|
{programs}
+---------------------------------------------------------------------------------------+
"""  # noqa: W293 - so does the real one


def overview(reading: Reading) -> str:
    """The table of `nvidia-smi` without arguments."""
    card = reading.card
    rows = [
        f"|    0   N/A  N/A {one['pid']:>11}      C   {one['program'][:37]:<37}{round(one['used_mib']):>8}MiB |"
        for one in reading.programs
    ]
    return _OVERVIEW.format(
        at=f"{time.strftime('%a %b %e %H:%M:%S %Y')}       ",
        driver=card["driver_version"],
        cuda=card["cuda_version"],
        name=card["name"][:30],
        bus=card["bus_id"],
        temperature=reading.temperature_c,
        state=_performance_state(reading),
        power=f"{reading.power_w:.0f}W / {card['power_limit_w']:.0f}W",
        memory=f"{reading.used_mib}MiB / {card['memory_mib']}MiB",
        busy=f"{100 * reading.busy:.0f}",
        programs="\n".join(rows) or f"|  {'No running processes found':<85}|",
    )


def gpu_fields(reading: Reading) -> dict[str, tuple[str, list[str]]]:
    """Unit and value of every field of `--query-gpu`."""
    card = reading.card
    now = time.time()
    at = f"{time.strftime('%Y/%m/%d %H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03d}"
    single: dict[str, tuple[str, object]] = {
        "timestamp": ("", at),
        "index": ("", 0),
        "count": ("", 1),
        "name": ("", card["name"]),
        "gpu_name": ("", card["name"]),
        "uuid": ("", card["uuid"]),
        "gpu_uuid": ("", card["uuid"]),
        "pci.bus_id": ("", card["bus_id"]),
        "gpu_bus_id": ("", card["bus_id"]),
        "driver_version": ("", card["driver_version"]),
        "persistence_mode": ("", "Enabled"),
        "compute_mode": ("", "Default"),
        "mig.mode.current": ("", "[N/A]"),
        "pstate": ("", f"P{_performance_state(reading)}"),
        "fan.speed": ("%", "[N/A]"),
        "memory.total": ("MiB", card["memory_mib"]),
        "memory.reserved": ("MiB", card["reserved_mib"]),
        "memory.used": ("MiB", reading.used_mib),
        "memory.free": ("MiB", reading.free_mib),
        "utilization.gpu": ("%", f"{100 * reading.busy:.0f}"),
        "utilization.memory": ("%", f"{60 * reading.busy:.0f}"),
        "temperature.gpu": ("", reading.temperature_c),
        "power.draw": ("W", f"{reading.power_w:.2f}"),
        "power.limit": ("W", f"{card['power_limit_w']:.2f}"),
        "ecc.errors.uncorrected.volatile.total": ("", 0),
        "clocks.current.sm": ("MHz", _clock(reading)),
        "clocks.sm": ("MHz", _clock(reading)),
    }
    return {name: (unit, [str(value)]) for name, (unit, value) in single.items()}


def program_fields(reading: Reading) -> dict[str, tuple[str, list[str]]]:
    """Unit and values of every field of `--query-compute-apps`, a value a program."""
    card, programs = reading.card, reading.programs
    memory = ("MiB", [str(round(one["used_mib"])) for one in programs])
    return {
        "gpu_name": ("", [card["name"]] * len(programs)),
        "gpu_uuid": ("", [card["uuid"]] * len(programs)),
        "gpu_bus_id": ("", [card["bus_id"]] * len(programs)),
        "pid": ("", [str(one["pid"]) for one in programs]),
        "process_name": ("", [one["program"] for one in programs]),
        "name": ("", [one["program"] for one in programs]),
        "used_memory": memory,
        "used_gpu_memory": memory,
    }


def everything(reading: Reading) -> str:
    """The long description of `nvidia-smi -q`, its sections in the order of the real one."""
    card = reading.card
    busy = f"{100 * reading.busy:.0f} %"
    blocks: list[tuple[int, str, str | None]] = [
        (1, "Product Name", card["name"]),
        (1, "Product Brand", "NVIDIA"),
        (1, "Product Architecture", "Ampere"),
        (1, "Display Mode", "Enabled"),
        (1, "Display Active", "Disabled"),
        (1, "Persistence Mode", "Enabled"),
        (1, "GPU UUID", card["uuid"]),
        (1, "Minor Number", "0"),
        (1, "PCI", None),
        (2, "Bus Id", card["bus_id"]),
        (1, "Fan Speed", "N/A"),
        (1, "Performance State", f"P{_performance_state(reading)}"),
        (1, "FB Memory Usage", None),
        (2, "Total", f"{card['memory_mib']} MiB"),
        (2, "Reserved", f"{card['reserved_mib']} MiB"),
        (2, "Used", f"{reading.used_mib} MiB"),
        (2, "Free", f"{reading.free_mib} MiB"),
        (1, "Compute Mode", "Default"),
        (1, "Utilization", None),
        (2, "Gpu", busy),
        (2, "Memory", f"{60 * reading.busy:.0f} %"),
        (2, "Encoder", "0 %"),
        (2, "Decoder", "0 %"),
        (1, "ECC Mode", None),
        (2, "Current", "Enabled"),
        (2, "Pending", "Enabled"),
        (1, "Temperature", None),
        (2, "GPU Current Temp", f"{reading.temperature_c} C"),
        (1, "GPU Power Readings", None),
        (2, "Power Draw", f"{reading.power_w:.2f} W"),
        (2, "Current Power Limit", f"{card['power_limit_w']:.2f} W"),
        (1, "Clocks", None),
        (2, "SM", f"{_clock(reading)} MHz"),
        (1, "Processes", None if reading.programs else "None"),
    ]
    for one in reading.programs:
        blocks += [
            (2, "GPU instance ID", "N/A"),
            (2, "Compute instance ID", "N/A"),
            (2, "Process ID", str(one["pid"])),
            (3, "Type", "C"),
            (3, "Name", one["program"]),
            (3, "Used GPU Memory", f"{round(one['used_mib'])} MiB"),
        ]
    head = [
        "",
        "==============NVSMI LOG==============",
        "",
        _line(0, "Timestamp", time.strftime("%a %b %e %H:%M:%S %Y")),
        _line(0, "Driver Version", card["driver_version"]),
        _line(0, "CUDA Version", card["cuda_version"]),
        "",
        _line(0, "Attached GPUs", "1"),
        f"GPU {card['bus_id']}",
    ]
    return "\n".join([*head, *(_line(*block) for block in blocks), "", ""])


def _line(depth: int, name: str, value: str | None) -> str:
    indented = f"{'    ' * depth}{name}"
    return indented if value is None else f"{indented:<42}: {value}"


def _performance_state(reading: Reading) -> int:
    return 0 if reading.programs else 8


def _clock(reading: Reading) -> int:
    """Clock of the processors [MHz]."""
    return 1695 if reading.programs else 210
