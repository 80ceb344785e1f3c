"""Probes: they read, one module a system, under a read-only identity, within a time and a size."""

from opslib.probes.registry import Frame, Probe, Target, call, names, probe

__all__ = ["Frame", "Probe", "Target", "call", "names", "probe"]
