"""The record: recorder, evidence, redaction, journal, seals, log and the offline verifier."""
