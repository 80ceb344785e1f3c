"""Errors of the sandbox.

    SandboxError (a RunbookError)
    |-- UnknownPlatform         no sandbox platform of that name
    |-- UnknownFault            no such RUNBOOK/CAUSE
    |-- NotUp                   the platform does not run
    |-- NotOurs                 what answers is not the platform that `up` started
    |-- StartFailed             a server did not become ready
    |-- BuildFailed             Kubernetes could not be built
    |-- ApplyFailed             Kubernetes refused documents
    |-- CannotRun               this machine lacks what a cluster of the sandbox needs
    |-- NotVisible              a fault or its repair did not show on the platform in time
    `-- ControlRefused          the platform refused a change

The docstring of a class is its default message and says what to do next; facts are attributes.
"""

from __future__ import annotations

from opslib.errors import RunbookError, UsageError

__all__ = [
    "ApplyFailed",
    "BuildFailed",
    "CannotRun",
    "ControlRefused",
    "NotOurs",
    "NotUp",
    "NotVisible",
    "SandboxError",
    "StartFailed",
    "UnknownFault",
    "UnknownPlatform",
]


class SandboxError(RunbookError):
    """The sandbox could not do that. `runbook sandbox status` tells what runs."""


class UnknownPlatform(SandboxError, UsageError):
    """The sandbox has no platform of that name. `runbook sandbox up --help` names those it has."""


class UnknownFault(SandboxError, UsageError):
    """There is no such fault. `runbook sandbox faults` names those there are."""


class NotUp(SandboxError):
    """The sandbox platform does not run. Start it with `runbook sandbox up crypto`."""


class NotOurs(SandboxError):
    """What answers does not carry the sandbox-id that `up` wrote. Nothing was changed; run `runbook sandbox up`."""


class StartFailed(SandboxError):
    """A server of the sandbox did not become ready. Read the log that the message names."""


class ApplyFailed(SandboxError):
    """Kubernetes refused what the sandbox wanted to apply. The message names each document and the reason."""


class BuildFailed(SandboxError):
    """Kubernetes could not be built. Read the log that the message names, and run the command again."""


class CannotRun(SandboxError):
    """This machine cannot run a Kubernetes of the sandbox. Give it one of yours with --kubeconfig and --context."""


class NotVisible(SandboxError):
    """The change did not show on the platform in time. Run `runbook sandbox heal`, then try again."""


class ControlRefused(SandboxError):
    """The platform refused the change. Correct it as the message says."""
