"""A book spread over real workers: the same bits, and shards that they load themselves."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

from engine import InvalidInput
from engine.errors import WorkFailed
from engine.risk import Book, expected_shortfall, revaluation, revalue, value_at_risk
from tests.engine.risk.books import book, market, scenarios, table

pytestmark = pytest.mark.slow  # processes of their own


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


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("book")
    rows = table(600)
    for part in range(3):
        rows.iloc[200 * part : 200 * (part + 1)].to_parquet(folder / f"{part}.parquet")
    return [functools.partial(Book.from_parquet, folder / f"{part}.parquet") for part in range(3)]


def test_a_book_has_the_same_bits_from_workers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held, now, moves = book(600), market(), scenarios(300)
    monkeypatch.setattr(revaluation, "_BLOCK", 50)
    monkeypatch.setattr(revaluation, "_A_TASK", 20_000)
    for positions in (False, True):
        here = revalue(held, now, moves, positions=positions)
        there = revalue(held, now, moves, positions=positions, client=client)
        np.testing.assert_array_equal(here.total, there.total)
        np.testing.assert_array_equal(here.by_underlying, there.by_underlying)
        if positions:
            np.testing.assert_array_equal(here.by_position, there.by_position)


def test_workers_load_their_own_shards(client: Client, shards: list[Any]) -> None:
    now, moves = market(), scenarios(300)
    here, there = revalue(shards, now, moves), revalue(shards, now, moves, client=client)
    np.testing.assert_array_equal(here.by_underlying, there.by_underlying)
    whole = revalue(Book.from_frame(table(600)), now, moves)
    size = np.abs(whole.by_underlying).max()
    order = [there.underlyings.index(name) for name in whole.underlyings]
    np.testing.assert_allclose(there.by_underlying[order], whole.by_underlying, atol=1e-12 * size)


@pytest.mark.parametrize("method", ["historical", "parametric", "monte-carlo"])
def test_risk_has_the_same_figures_from_workers(client: Client, shards: list[Any], method: Any) -> None:
    now, moves = market(), scenarios(300)
    facts: dict[str, Any] = {"method": method, "confidence": 0.95, "n_scenarios": 300}
    for held in (shards, book(100)):
        for measure in (value_at_risk, expected_shortfall):
            here = measure(held, now, moves, **facts)
            there = measure(held, now, moves, client=client, **facts)
            assert here.total == there.total
            assert here.standard_error == there.standard_error
            np.testing.assert_array_equal(here.position_contributions, there.position_contributions)
            np.testing.assert_array_equal(here.positions, there.positions)


def test_what_goes_wrong_with_a_shard_is_said(client: Client, shards: list[Any], tmp_path: Path) -> None:
    gone = functools.partial(Book.from_parquet, tmp_path / "gone.parquet")
    with pytest.raises(WorkFailed, match=r"1 of 2 parts failed on the workers \(1\)"):
        revalue([shards[0], gone], market(), scenarios(), client=client)
    table(50).assign(quantity=float("nan")).to_parquet(tmp_path / "broken.parquet")
    broken = functools.partial(Book.from_parquet, tmp_path / "broken.parquet")
    with pytest.raises(InvalidInput, match=r"quantity\[0\]: is nan \(position 'position 0'\)"):
        value_at_risk([broken], market(), scenarios(), client=client)
