"""The errors of incidents."""

from opslib.errors import RunbookError


class IncidentClosed(RunbookError):
    """The incident is resolved; a new alert opens a new one."""
