"""The errors of opslib.

RunbookError
├── UsageError                  wrong words on the command line, a wrong parameter or file: exit code 2
│   ├── ParameterError          a runbook's parameters do not validate; every mistake is listed
│   ├── ConfigurationError      a file under params/ does not validate; every mistake is listed
│   └── UnknownRunbook          no notebook of that name
├── NotAllowed                  this person may not do that
├── StoreError                  the database cannot be reached, started or migrated
├── NotFound                    no such incident, plan or person
├── ProbeError                  a probe could not see; says what and why
│   └── NoEvidence              replay: the record holds no answer for this call
├── RecorderError               the recorder cannot be reached or refused the request
├── PlanError                   a plan is not in the state that the step needs
│   ├── Drift                   the world is no longer as the plan saw it
│   └── Forbidden               the guards of the policy hold it back now
├── ActionFailed                the change was tried and did not succeed
└── RecordError                 a record cannot be written or read
"""

from __future__ import annotations

from typing import Any


class RunbookError(Exception):
    """Something in opslib failed; the message says what to do next.

    Parameters
    ----------
    message : str, optional
        What happened and what to do; the class's docstring where it is left out.
    **facts : Any
        Kept as attributes, for programs.
    """

    def __init__(self, message: str | None = None, **facts: Any) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)


class UsageError(RunbookError):
    """The request is not one that can be carried out; correct it as the message says."""


class ParameterError(UsageError):
    """The runbook's parameters do not validate; correct the ones listed."""


class ConfigurationError(UsageError):
    """A file under params/ does not validate; correct the keys listed."""


class UnknownRunbook(UsageError):
    """There is no runbook of that name; `runbook list` shows those there are."""


class NotAllowed(RunbookError):
    """This person may not do that; ask someone with the authority named."""


class StoreError(RunbookError):
    """The database cannot be reached; `runbook doctor` says why."""


class NotFound(RunbookError):
    """There is no such thing; `runbook incidents` lists the incidents."""


class ProbeError(RunbookError):
    """A probe could not see what it was asked to look at."""


class NoEvidence(ProbeError):
    """The record holds no evidence for this call, so it cannot be replayed."""


class RecorderError(RunbookError):
    """The recorder cannot be reached; start it with `runbook serve` or run through `runbook run`."""


class PlanError(RunbookError):
    """The plan is not in a state that allows this step; `runbook show INC` tells its state."""


class Drift(PlanError):
    """The platform is no longer as the plan saw it; run the playbook again for a new plan."""


class Forbidden(PlanError):
    """The guards of the policy hold this back now; propose it again when what they name is over."""


class ActionFailed(RunbookError):
    """The change did not succeed; the apply record says how far it came."""


class RecordError(RunbookError):
    """The record cannot be written or read; check the disk under RUNBOOK_HOME."""
