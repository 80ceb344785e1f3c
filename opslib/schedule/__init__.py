"""The schedule: runbooks that start by the clock, each time exactly once over all workers."""

from opslib.schedule.entries import Entry, Schedule, ScheduleFile, load

__all__ = ["Entry", "Schedule", "ScheduleFile", "load"]
