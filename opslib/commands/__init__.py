"""The commands of `runbook`, a module a noun."""
