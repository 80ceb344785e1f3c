"""Intake: from a webhook to an incident and a run."""

from opslib.intake.acceptance import Receipt, accept
from opslib.intake.ledger import OUTCOMES, ledger, totals
from opslib.intake.problems import lost
from opslib.intake.sweep import sweep

__all__ = ["OUTCOMES", "Receipt", "accept", "ledger", "lost", "sweep", "totals"]
