"""Game days: every fault is made, and the playbooks are scored by what they named and what their plans did."""

from sandbox.gameday.day import GameDay
from sandbox.gameday.rounds import Round
from sandbox.gameday.score import summary

__all__ = ["GameDay", "Round", "summary"]
