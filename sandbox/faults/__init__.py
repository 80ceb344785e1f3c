"""Every fault that the inventory names for the platforms that the sandbox has."""

from sandbox.faults.catalogue import FAULTS, Fault
from sandbox.faults.inject import break_, heal

__all__ = ["FAULTS", "Fault", "break_", "heal"]
