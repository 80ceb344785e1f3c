"""Every fault that the inventory names for the platforms that the sandbox has, pairs of them, and some beyond it."""

from sandbox.faults.catalogue import FAULTS, PAIRS, UNLISTED, Fault, parts
from sandbox.faults.inject import break_, heal

__all__ = ["FAULTS", "PAIRS", "UNLISTED", "Fault", "break_", "heal", "parts"]
