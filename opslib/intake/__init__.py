"""Intake: from a webhook to an incident and a run."""

from opslib.intake.acceptance import Receipt, accept
from opslib.intake.ledger import OUTCOMES, ledger, mistakes, totals
from opslib.intake.problems import lost
from opslib.intake.release import release
from opslib.intake.storm import watch
from opslib.intake.sweep import sweep
from opslib.intake.upkeep import keep_house

__all__ = [
    "OUTCOMES",
    "Receipt",
    "accept",
    "keep_house",
    "ledger",
    "lost",
    "mistakes",
    "release",
    "sweep",
    "totals",
    "watch",
]
