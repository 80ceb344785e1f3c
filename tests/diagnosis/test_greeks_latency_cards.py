"""A01 on lost cards: pods that would come back to one, nodes that take none, and releases that took the card."""

from __future__ import annotations

import pandas as pd
import pytest

from opslib.diagnosis import lost_cards, rollouts, service_pods
from tests.diagnosis.derivatives_facts import BEFORE, NAME, NOW, REVISION, WORKLOAD, Pod, World, noisy
from tests.diagnosis.greeks_facts import diagnose, fixes, off_the_card, outlook
from tests.diagnosis.verdicts import likely


def test_one_of_several_pods_off_the_card_is_enough() -> None:
    verdict = diagnose(off_the_card(World(), "aaaaa"))
    assert likely(verdict) == {"gpu-unavailable"}
    assert "1 of 2 pods have no card (node-1)" in verdict.causes[0].because


def test_a_fix_that_cannot_be_aimed_is_not_proposed() -> None:
    world = off_the_card(World())
    world.nodes_cordoned = {"node-2"}
    assert fixes(world, "gpu-unavailable") == []
    world.desired = 12
    assert fixes(world, "high-load") == []


def asked_for_cards(world: World, **says: str) -> pd.DataFrame:
    """What `nvidia-smi` says in each pod, by the end of its name; a card where nothing is told."""
    rows = [
        {"pod": name, "node": pod.node, "card": None if says.get(name[-5:]) else 0.0, "says": says.get(name[-5:])}
        for name, pod in world.pods.items()
    ]
    return pd.DataFrame(rows)


def on_a_lost_card(world: World) -> World:
    off_the_card(world)
    return world.each(node="node-2")


def test_no_pod_is_deleted_that_would_come_back_to_a_lost_card() -> None:
    world = on_a_lost_card(World())
    gone = "Unable to determine the device handle for GPU0: GPU is lost"
    cards = asked_for_cards(world, aaaaa=gone, bbbbb=gone)
    assert likely(diagnose(world)) == {"gpu-unavailable"}
    assert fixes(world, "gpu-unavailable", cards=cards) == []
    assert fixes(world, "gpu-unavailable") == []  # the figures of the pods there tell it, too
    told = outlook(world, cards).hindrance
    assert told.startswith(f"node-2 has lost its card (nvidia-smi there: {gone}) and takes pods")
    assert "L2" in told


def test_a_command_that_could_not_be_run_tells_of_no_card() -> None:
    world = off_the_card(World())
    world.pods[next(iter(world.pods))].node = "node-2"
    cards = asked_for_cards(world, aaaaa="no command can be run in x/api: Handshake status 500", bbbbb="not found")
    world.pods[next(iter(world.pods))].node = "node-1"  # it is about to end there, and serves no more
    assert (outlook(world, cards).free, outlook(world, cards).hindrance) == (("node-2",), "")


def test_a_pod_that_lost_a_card_which_still_answers_is_restarted() -> None:
    world = on_a_lost_card(World())
    assert len(fixes(world, "gpu-unavailable", cards=asked_for_cards(world))) == 2
    other = off_the_card(World(), "aaaaa")  # one beside another that computes on the node's card
    other.pods[next(iter(other.pods))].node = "node-2"
    assert len(fixes(other, "gpu-unavailable", cards=asked_for_cards(other, aaaaa="no card"))) == 1


def test_a_node_without_pods_is_taken_for_good_and_one_that_takes_none_is_told() -> None:
    world = off_the_card(World())
    cards = asked_for_cards(world, aaaaa="not found", bbbbb="not found")
    assert (outlook(world, cards).free, outlook(world, cards).hindrance) == (("node-2",), "")
    world.nodes_cordoned = {"node-2"}
    assert outlook(world, cards).hindrance.startswith("No node with a card takes pods")
    assert lost_cards.Outlook().hindrance == ""  # the nodes were not seen


def a_revision(changes: str) -> pd.DataFrame:
    ago = [NOW - pd.Timedelta(seconds=seconds) for seconds in (60, 3600)]
    told = {"revision": [4, 3], "current": [True, False], "created": ago, "changes": [changes, "nothing"]}
    return pd.DataFrame(told)


def released_off_the_card(world: World) -> World:
    """New pods without a card beside those that they replaced, which had one."""
    world.gone = {f"{NAME}-{BEFORE}-{end}": Pod(revision=BEFORE) for end in ("ccccc", "ddddd")}
    return off_the_card(world).each(quick=noisy(120.0, 0.05))


def test_a_release_that_took_the_card_is_rolled_back() -> None:
    world = released_off_the_card(World())
    undo = [("kubernetes.undo-rollout", {"workload": WORKLOAD})]
    for changes in ("affinity changed; tolerations changed", "api: limits.nvidia.com/gpu 1 -> none"):
        dropped = a_revision(f"api: env RELEASE '2.4.0' -> '2.4.1'; {changes}")
        assert fixes(world, "gpu-unavailable", revisions=dropped) == undo
        assert outlook(world, None, dropped).release == f"revision 4 changed {changes}"
        assert outlook(world, None, dropped).hindrance == ""
    assert fixes(world, "gpu-unavailable", "memory-leak", revisions=dropped) == undo


@pytest.mark.parametrize("changes", ["nothing", "api: env RELEASE '2.4.0' -> '2.4.1'", "restarted at 12:00"])
def test_a_release_that_left_the_card_alone_is_not_rolled_back(changes: str) -> None:
    found = fixes(released_off_the_card(World()), "gpu-unavailable", revisions=a_revision(changes))
    assert [name for name, _ in found] == ["kubernetes.delete-pod"] * 2


def test_a_release_whose_pods_had_a_card_is_not_rolled_back() -> None:
    moved = a_revision("tolerations changed")
    world = released_off_the_card(World())
    world.gone[f"{NAME}-{REVISION}-eeeee"] = Pod()  # of the same revision, quick, and gone
    assert [name for name, _ in fixes(world, "gpu-unavailable", revisions=moved)] == ["kubernetes.delete-pod"] * 2
    world = released_off_the_card(World())
    world.gone.clear()  # nothing is seen of what ran before
    assert [name for name, _ in fixes(world, "gpu-unavailable", revisions=moved)] == ["kubernetes.delete-pod"] * 2


def test_roll_outs_are_marked_when_they_came() -> None:
    world, history = World(), a_revision("affinity changed")
    assert rollouts.marks(None, None) == {}
    assert rollouts.marks(history, world.listed())["revision 4"] == NOW - pd.Timedelta(seconds=60)
    history.loc[0, "created"] = NOW - pd.Timedelta(days=3)  # it ran before, and came back
    assert rollouts.marks(history, world.listed())["revision 4"] == world.listed()["created"].min()


def test_a_pod_that_ends_is_left_out_and_the_node_tells_of_the_card() -> None:
    world = World()
    first, second = world.pods
    world.pods[first].status = "Terminating"
    world.pods[second].card = float("nan")
    pods = service_pods.by_pod(world.figures(), None, world.listed(), world.nodes())
    assert pods is not None
    assert list(pods.index) == [second]
    assert pods.at[second, "card"] == 1.0
    assert isinstance(pods, pd.DataFrame)
