"""From what was seen to a named cause: causes, findings, likelihoods, verdict."""

from opslib.diagnosis.causes import Cause, Finding, Reason, reason
from opslib.diagnosis.diagnosis import Diagnosis
from opslib.diagnosis.verdict import CauseVerdict, Verdict

__all__ = ["Cause", "CauseVerdict", "Diagnosis", "Finding", "Reason", "Verdict", "reason"]
