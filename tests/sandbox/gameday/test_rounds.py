"""Which rounds a game day has, and that one which was cut off goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from opslib.settings import Settings
from sandbox.errors import UnknownFault
from sandbox.gameday import results
from sandbox.gameday.rounds import Round, chosen, in_order, platform_of, playable

FAULTS = {"b/two": "derivatives", "a/one": "crypto", "a/two": "crypto"}


def test_a_pattern_chooses_faults() -> None:
    assert chosen(FAULTS, None) == ["a/one", "a/two", "b/two"]
    assert chosen(FAULTS, "a/*") == ["a/one", "a/two"]
    with pytest.raises(UnknownFault, match=r"no fault matches 'c/\*'; there are a/one, a/two, b/two"):
        chosen(FAULTS, "c/*")


def test_platform_by_platform_with_healthy_rounds_between() -> None:
    found = in_order(FAULTS, seeds=[5], healthy=2)
    assert [one.name for one in found] == ["healthy 1", "a/one", "healthy 2", "a/two", "b/two"]
    assert [one.seed for one in found] == [5, 5, 6, 5, 5]
    assert found[0].platforms == ("crypto", "derivatives")
    assert (found[1].runbook, found[1].expected, found[1].platforms) == ("a", ("one",), ("crypto",))
    assert len(in_order(FAULTS, seeds=[0], healthy=10)) == 13
    assert [one.name for one in in_order(FAULTS, seeds=[0], healthy=0)] == ["a/one", "a/two", "b/two"]


def test_each_seed_plays_every_fault_and_healthy_rounds_are_spread_over_all() -> None:
    found = in_order(FAULTS, seeds=[1, 2], healthy=3)
    assert [one.name for one in found] == [
        "healthy 1", "a/one (seed 1)", "a/two (seed 1)", "healthy 2", "a/one (seed 2)", "a/two (seed 2)", "healthy 3",
        "b/two (seed 1)", "b/two (seed 2)",
    ]  # fmt: skip
    assert [(one.fault, one.seed) for one in found if one.fault == "b/two"] == [("b/two", 1), ("b/two", 2)]
    assert len({one.name for one in found}) == len(found)


def test_two_at_once_are_two_faults_with_two_causes() -> None:
    one = Round("pair", "var-breach/stale-volatility+single-symbol", ("crypto",), 1)
    assert one.faults == ("var-breach/stale-volatility", "var-breach/single-symbol")
    assert one.expected == ("stale-volatility", "single-symbol")
    assert (one.runbook, one.unlisted) == ("var-breach", False)
    assert (Round("healthy 1", None, ("crypto",), 1).faults, Round("h", None, (), 1).expected) == ((), ())


def test_of_a_cause_that_no_playbook_knows_none_is_expected() -> None:
    one = Round("odd", "var-breach/kelly-raised", ("crypto",), 1)
    assert (one.unlisted, one.expected, one.runbook) == (True, ("none-of-these",), "var-breach")


def test_pairs_and_unlisted_causes_are_played_where_they_are_wanted() -> None:
    usual, everything = playable(), playable(pairs=True, unlisted=True)
    assert set(usual) < set(everything)
    assert not any("+" in name or name.endswith("/kelly-raised") for name in usual)
    assert len(chosen(playable(pairs=True), "*+*")) == 6
    assert chosen(everything, "var-breach/[ks]*") == [
        "var-breach/kelly-raised",
        "var-breach/single-symbol",
        "var-breach/stale-volatility",
        "var-breach/stale-volatility+single-symbol",
    ]
    assert (
        platform_of("var-breach/stale-volatility+single-symbol") == platform_of("var-breach/kelly-raised") == "crypto"
    )


def asked(*seeds: int, any_seed: bool = False, code: str = "c") -> dict[str, object]:
    return {
        "only": None, "seeds": list(seeds), "any_seed": any_seed, "decoys": 0, "healthy": 1, "faults": ["a"],
        "code": code,
    }  # fmt: skip


def test_one_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = results.begin(path, asked(1))
    first.keep(in_order({"a": "crypto"}, seeds=[1], healthy=0)[0], {"correct": True})
    assert results.begin(path, asked(1)).rounds == {"a": {"correct": True}}
    assert results.begin(path, asked(1), anew=True).rounds == {}
    assert results.begin(path, asked(2)).rounds == {}, "another seed is another game day"
    assert results.begin(path, asked(1, 2)).rounds == {}, "and so are more seeds"
    assert results.begin(path, asked(1, code="d")).rounds == {}, "what was scored was other code"
    assert results.begin(path, asked(1)).begun_at == first.begun_at
    first.ended = True
    first.save()
    assert results.begin(path, asked(1)).rounds == {}, "one that ended is over"


def test_without_a_seed_the_one_that_was_drawn_stays(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.begin(path, asked(11, any_seed=True)).save()
    assert results.begin(path, asked(12, any_seed=True)).asked["seeds"] == [11]
    assert results.begin(path, asked(12)).asked["seeds"] == [12]


def test_damaged_results_are_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("{", "utf-8")
    assert results.begin(path, asked(1)).rounds == {}


def test_the_code_that_is_scored_is_known_again(tmp_path: Path) -> None:
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
    settings = Settings(home=tmp_path / "home", notebooks=tmp_path / "notebooks", params=tmp_path / "params")
    before = results.code(settings)
    assert results.code(settings) == before
    (tmp_path / "params" / "routes.yaml").write_text("routes: []", "utf-8")
    assert results.code(settings) != before
