"""What the guards of the policy have to know of a platform itself: its kill switches and its working orders.

Both are read as the recorder reads, also when a plan is applied. What cannot be seen holds back as if it were so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opslib.actions.documents import PlannedAction
from opslib.actions.policy import OpenOrders, Policy, some
from opslib.errors import ConfigurationError, ProbeError
from opslib.platforms import Platform
from opslib.probes import files, registry

_MOST = 500  # orders that are looked through
_NAMED = 50  # orders that a plan may name; one that would go over more heads is refused
_LONG = 80


def look(rules: Policy, platform: Platform, actions: Sequence[PlannedAction]) -> dict[str, Any]:
    """What the guards that may hold some actions back ask for; nothing is read where none does.

    Returns
    -------
    dict
        `kill_switches`: by file, whether it is set; `open_orders`: by guard, pairs of an order's name and what works
        it. Instead of either, why it could not be seen, in words.
    """
    switches = {
        one.file for action in actions for one in rules.holding(rules.guards.kill_switches, action, platform.name)
    }
    orders = {
        one.name: one for action in actions for one in rules.holding(rules.guards.open_orders, action, platform.name)
    }
    return {
        "kill_switches": {file: _is_set(platform, file) for file in sorted(switches)},
        "open_orders": {name: _working(platform, guard) for name, guard in sorted(orders.items())},
    }


def named(rules: Policy, action: PlannedAction, platform: str, facts: dict[str, Any]) -> PlannedAction:
    """The action with the working orders that it goes over, where the policy wants them named."""
    found = {}
    for guard in rules.holding(rules.guards.open_orders, action, platform):
        told = facts["open_orders"][guard.name]
        if guard.answer == "name" and isinstance(told, list):
            found[guard.name] = guard.concerned(action.target, told)[:_NAMED]
    count = sum(map(len, found.values()))
    if not count:
        return action
    told = some([name for names in found.values() for name in names])
    return action.model_copy(
        update={
            "preview": {**action.preview, "open_orders": found},
            "blast_radius": {**action.blast_radius, "open_orders": count},
            "residual_risk": f"{action.residual_risk}; orders that stay working meanwhile: {told}",
        }
    )


def _is_set(platform: Platform, file: str) -> bool | str:
    """Whether a kill switch is set; why nobody knows where that could not be seen."""
    if not platform.has("files"):
        return False  # a platform without a folder has no such switch
    try:
        files.root(registry.Target("files", platform.endpoint("files", "recorder")))  # a folder that is away holds none
        return bool(_asked(platform, "files.stat", {"path": file})["exists"])
    except (ProbeError, ConfigurationError) as error:
        return str(error)


def _working(platform: Platform, guard: OpenOrders) -> list[list[str]] | str:
    """The working orders; why nobody knows where they could not be seen."""
    try:
        answer = _asked(platform, guard.probe, guard.arguments)
    except (ProbeError, ConfigurationError) as error:
        return str(error)
    if isinstance(answer, registry.Frame):
        if answer.note:
            return answer.note  # seen in part: an order may be among the rest
        answer = answer.table.to_pylist()
    elif guard.under is not None:
        answer = answer.get(guard.under) if isinstance(answer, dict) else None
    fields = [guard.order, *([guard.of] if guard.of else [])]
    if not isinstance(answer, list) or not all(isinstance(row, dict) and {*fields} <= {*row} for row in answer):
        return f"{guard.probe} does not answer a list of orders with {' and '.join(fields)}"
    if len(answer) > _MOST:
        return f"they are more than {_MOST:,}"
    return [[str(row[guard.order])[:_LONG], str(row[guard.of] or "") if guard.of else ""] for row in answer]


def _asked(platform: Platform, probe: str, arguments: dict[str, Any]) -> Any:
    """The answer of a probe to the reading identity."""
    system = str(arguments.get("system") or registry.find(probe).system)
    return registry.call(probe, registry.Target(system, platform.endpoint(system, "recorder")), arguments)
