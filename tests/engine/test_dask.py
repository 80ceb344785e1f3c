"""Work spread over real workers: the same answer, in order, and errors that say what failed."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, LocalCluster

from engine import InvalidInput, NotFinite, TooFewObservations
from engine._dask import spread
from engine.errors import WorkFailed
from engine.pricing import GBM, Asian, Heston, monte_carlo

real_workers = pytest.mark.slow  # two processes that each import the engine


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two processes of one thread each, reachable from this machine alone."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


def late(part: int) -> int:
    """The first parts end last."""
    time.sleep(0.05 * (4 - part))
    return part


def shifted(part: float, table: dict[str, float], more: float) -> float:
    return part + table["by"] + more


def picky(part: int) -> int:
    if part in (1, 3):
        raise RuntimeError(f"no shard {part}")
    return part


def strict(part: int) -> int:
    if part:
        raise NotFinite("spot", "is nan; every value must be finite", (part,))
    return part


@real_workers
def test_here_and_there_are_the_same(client: Client) -> None:
    assert spread(late, range(4), client) == spread(late, range(4)) == spread(late, range(4), threads=2) == [0, 1, 2, 3]
    assert spread(shifted, [1.0, 2.0], client, common=({"by": 10.0}, 0.5)) == [11.5, 12.5]
    assert spread(late, [], client) == []


@real_workers
def test_a_failure_names_every_part(client: Client) -> None:
    with pytest.raises(
        WorkFailed, match=r"2 of 4 parts failed on the workers \(1, 3\); part 1: .*no shard 1"
    ) as caught:
        spread(picky, range(4), client)
    assert sorted(caught.value.failures) == [1, 3]


@real_workers
def test_an_error_of_the_engine_comes_back_as_it_was(client: Client) -> None:
    with pytest.raises(NotFinite, match=r"spot\[1\]: is nan") as caught:
        spread(strict, range(3), client)
    assert (caught.value.argument, caught.value.index) == ("spot", (1,))


@pytest.mark.parametrize("error", [InvalidInput("a", "is b", (2,)), TooFewObservations(1, 2, "a figure")])
def test_errors_travel(error: Any) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.__dict__) == (type(error), str(error), error.__dict__)


@pytest.mark.parametrize("client", ["tcp://127.0.0.1:8786", 4, object()])
def test_what_is_no_client_is_refused(client: Any) -> None:
    with pytest.raises(InvalidInput, match=r"client: is of type .*; must be a distributed\.Client"):
        spread(late, range(2), client)


@real_workers
def test_a_closed_client_is_refused(client: Client) -> None:
    with Client(client.scheduler.address) as second:
        pass
    with pytest.raises(InvalidInput, match="client: is closed"):
        spread(late, range(2), second)


@real_workers
@pytest.mark.parametrize("sampling", ["sobol", "pseudo"])
def test_a_simulation_is_the_same_bit_for_bit(client: Client, sampling: Any) -> None:
    payoff = Asian(100.0, 1.0, "call", n_fixings=6)
    for model in (GBM(100.0, 0.03, 0.01, 0.3), Heston(100.0, 0.03, 0.01, 0.04, 1.5, 0.05, 0.5, -0.6)):
        here = monte_carlo(payoff, model, 40_000, 7, sampling=sampling)
        there = monte_carlo(payoff, model, 40_000, 7, sampling=sampling, client=client)
        assert here == there
