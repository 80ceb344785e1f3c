"""What the described card is, and how its node announces it."""

from __future__ import annotations

from typing import Any

__all__ = ["BIN", "CARD", "FOLDER", "LABELS", "RESOURCE", "SHARES", "TAINT"]

RESOURCE = "nvidia.com/gpu"
TAINT = "nvidia.com/gpu=present:NoSchedule"
SHARES = 16  # one card, time-sliced, as NVIDIA's device plugin announces it
FOLDER = "/run/nvidia"  # on a node with a card: `card.json`, `bin/nvidia-smi`, and `clients/` with what programs hold
BIN = f"{FOLDER}/bin"

CARD: dict[str, Any] = {
    "name": "NVIDIA A10 (simulated)",
    "uuid": "GPU-5a1d0c3e-7b2f-4e86-9c41-d2f60a8b1e97",
    "bus_id": "00000000:00:1E.0",
    "driver_version": "535.183.01",
    "cuda_version": "12.2",
    "memory_mib": 23028,
    "reserved_mib": 297,
    "power_limit_w": 150.0,
    "idle_power_w": 16.4,
    "idle_temperature_c": 31,
    "hot_temperature_c": 74,
}

LABELS = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.count": "1",
    "nvidia.com/gpu.memory": str(CARD["memory_mib"]),
    "nvidia.com/gpu.product": "NVIDIA-A10-simulated-SHARED",
    "nvidia.com/gpu.replicas": str(SHARES),
}
