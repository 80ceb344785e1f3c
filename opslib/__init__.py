"""Executable runbooks: what a runbook and its operator need. A notebook begins with `ops = opslib.connect()`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opslib.ops import Ops, connect

__all__ = ["Ops", "connect"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from opslib import ops

    return getattr(ops, name)
