"""Execution: what fills cost, what orders do to the price, how to work a position off, and trades played again."""

from engine.execution.fill_costs import Slippage, slippage
from engine.execution.impact import Estimate, ImpactFit, calibrate_impact, parent_orders
from engine.execution.order_books import FillModel, Replay, Sweep, replay
from engine.execution.trajectory import Trajectory, optimal_trajectory, urgency

__all__ = [
    "Estimate",
    "FillModel",
    "ImpactFit",
    "Replay",
    "Slippage",
    "Sweep",
    "Trajectory",
    "calibrate_impact",
    "optimal_trajectory",
    "parent_orders",
    "replay",
    "slippage",
    "urgency",
]
