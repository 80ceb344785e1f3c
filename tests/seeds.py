"""Seeds of tests that simulate: all of them in the whole run, the first alone in the fast one."""

from __future__ import annotations

from typing import Any

import pytest


def seeds(count: int) -> list[Any]:
    """Seeds 0 to `count` - 1."""
    return [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, count))]
