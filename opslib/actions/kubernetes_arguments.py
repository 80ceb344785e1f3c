"""Change a setting that a server gets on its command line: its pods are replaced with it, so the restart is part of it.

A server that takes no connection any more cannot be told a setting over one; the template of its pods can be changed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field

from opslib.actions.action import Observation
from opslib.actions.documents import Undo
from opslib.actions.kubernetes import Name, RunsArguments
from opslib.actions.kubernetes_rollouts import RollOut, container, named
from opslib.clusters import Cluster, objects, patches

OPTION = "-c"
Number = Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?[A-Za-z]{0,3}$")]


class ArgumentArguments(RunsArguments):
    """The workload, the container, the setting, and its value, a number; None takes it off the command line."""

    container: Name
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,62}$")]
    value: Number | None


class SetArgument(RollOut):
    """Set `-c NAME=VALUE` on the command line of a server, as PostgreSQL takes its settings."""

    name = "kubernetes.set-argument"
    kind = "configuration"
    outage = True
    Arguments = ArgumentArguments
    arguments: ArgumentArguments

    def _value(self, thing: objects.Object) -> str | None:
        """The value on the command line now; the last one counts."""
        words = [str(word) for word in container(thing, self.arguments.container)[1].get("args") or []]
        head = f"{self.arguments.name}="
        found = [after for before, after in pairwise(words) if before == OPTION]
        return next((word.removeprefix(head) for word in reversed(found) if word.startswith(head)), None)

    def _operations(self, cluster: Cluster, thing: objects.Object) -> list[patches.Operation]:
        del cluster
        place, one = container(thing, self.arguments.container)
        words, kept = [str(word) for word in one.get("args") or []], list[str]()
        at = 0
        while at < len(words):
            pair = words[at : at + 2]
            if pair[0] == OPTION and len(pair) == 2 and pair[1].startswith(f"{self.arguments.name}="):
                at += 2
                continue
            kept.append(words[at])
            at += 1
        if self.arguments.value is not None:
            kept += [OPTION, f"{self.arguments.name}={self.arguments.value}"]
        return [*named(place, self.arguments.container), {"op": "add", "path": f"{place}/args", "value": kept}]

    def _described(self, seen: Observation, thing: objects.Object, changes: list[str]) -> tuple[str, str, str, Undo]:
        del changes
        asked, pods = self.arguments, seen.facts["desired"]
        old = self._value(thing)
        was, then = (f"{value}" if value is not None else "what its file says" for value in (old, asked.value))
        undo = {"workload": asked.workload, "container": asked.container, "name": asked.name, "value": old}
        return (
            f"Start {asked.workload} ({asked.container}) with {asked.name} = {then} (before: {was})",
            f"{asked.name} is {then}, and {'its pod is' if pods == 1 else f'all {pods} pods are'} ready",
            "the server ends and starts again: every connection is lost, and nothing is served for some seconds; the "
            "command line counts before its own file",
            Undo(kind="inverse", reason="starts it with the previous value", action=self.name, arguments=undo),
        )

    def _shows(self, cluster: Cluster, thing: objects.Object) -> bool:
        del cluster
        return self._value(thing) == self.arguments.value
