"""The least rights on a platform's PostgreSQL and Redis that a runbook needs, from what it declares."""
