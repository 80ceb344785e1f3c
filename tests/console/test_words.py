"""Figures are rounded for reading and keep their units; every entry of the journal is a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from opslib import figures
from opslib.incidents import wording
from opslib.record.shown import Plan

ROWS = [
    {
        "position_usd": 2310770.13,
        "position_usd_after": 924308.05,
        "symbol": "XRP-USD",
        "var_pct": 2.4184,
        "var_pct_after": 0.9673,
    },
    {
        "position_usd": 711101.68,
        "position_usd_after": 284440.67,
        "symbol": "<b>",
        "var_pct": 0.965,
        "var_pct_after": 0.386,
    },
]
PREVIEW = {
    "measure": "largest VaR of a symbol",
    "unit": "% of NAV",
    "before": 2.4184,
    "after": 0.9673,
    "limit": 1.8,
    "rows": ROWS,
}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("position_usd", 2310770.13, "2.31 M USD"),
        ("position_usd", -879_400.0, "-879 k USD"),
        ("notional_usd", 999_700, "1.00 M USD"),
        ("notional_usd", 3_187_495_930.0, "3.19 bn USD"),
        ("var_pct", 2.4184, "2.42 %"),
        ("effect_within_s", 60.0, "60 s"),
        ("took_ms", 113.851, "114 ms"),
        ("kelly_fraction", 0.1, "0.1"),
        ("kelly_fraction", None, "–"),
        ("trading", True, "yes"),
        ("positions", 12345, "12,345"),
        ("price", 64321.53, "64,322"),
        ("gap", 0.00042, "0.00042"),
        ("nothing", float("nan"), "nan"),
    ],
)
def test_value_is_told_with_its_unit(name: str, value: Any, said: str) -> None:
    assert figures.measured(name, value) == said


def test_name_becomes_words() -> None:
    assert figures.label("position_usd") == "position"
    assert figures.label("max_var_pct") == "max VaR"
    assert figures.label("single-symbol") == "single symbol"


@pytest.mark.parametrize(
    ("radius", "said"),
    [
        ({"notional_usd": 3187495.93, "positions": 5}, "5 positions, 3.19 M USD notional"),
        ({"pods": 1, "ready_pods_left": 0}, "1 pod, no ready pods left"),
        ({"pods": 2, "ready_pods_at_worst": "none"}, "2 pods, no ready pods at worst"),
        ({"bytes": 8_400_000, "indexes": 1}, "1 index, 8.40 MB"),
        ({"bytes": 512, "keys": 1234}, "1,234 keys, 512 bytes"),
        ({"auto_trading_switches": 1}, "1 auto trading switch"),
        ({}, ""),
    ],
)
def test_what_a_plan_touches_is_told_as_one_says_it(radius: dict[str, Any], said: str) -> None:
    assert figures.touched(radius) == said


def test_preview_is_a_small_table_with_its_measure_first() -> None:
    table = figures.changes(PREVIEW)
    assert (table.plain, table.pairs) == (("symbol",), ("VaR [%]", "position [USD]"))
    assert table.rows[0] == (("XRP-USD",), (("2.42", "0.97"), ("2.31 M", "924 k")))
    assert figures.effect(PREVIEW) == "largest VaR of a symbol: 2.42 → 0.97 % of NAV, limit 1.8"


def test_what_names_a_row_of_a_preview_stands_first_and_what_no_row_has_is_left_out() -> None:
    row = {"last_reason": None, "message": "", "node": "node-1", "pod": "api-1", "restarts": 0}
    table = figures.changes({"rows": [row]})
    assert table.plain == ("pod", "node", "restarts")
    assert table.rows == ((("api-1", "node-1", "0"), ()),)


def test_preview_without_an_after_is_still_told() -> None:
    unknown = {**PREVIEW, "after": None, "rows": [{"symbol": "XRP-USD", "var_pct": 2.4184}]}
    assert figures.changes(unknown).rows == ((("XRP-USD", "2.42"), ()),)
    assert figures.effect(unknown).startswith("largest VaR of a symbol: 2.42 % of NAV → not known before it is done")
    assert (figures.changes({}).rows, figures.effect({})) == ((), "")


def test_outcome_is_laid_out_like_a_preview() -> None:
    check = {"measure": "largest VaR of a symbol", "unit": "% of NAV", "limit": 1.8}
    result = {
        "check_before": {**check, "value": 2.21, "by": {"XRP-USD": 2.21}},
        "check": {**check, "value": 1.39, "by": {"XRP-USD": 1.39}},
        "before": [{"measures": {"var_pct": {"XRP-USD": 2.21}, "position_usd": {"XRP-USD": 2.06e6}}}],
        "after": [{"measures": {"var_pct": {"XRP-USD": 1.39}, "position_usd": {"XRP-USD": 1.27e6}}}],
    }
    assert figures.effect(figures.outcome(result)) == "largest VaR of a symbol: 2.21 → 1.39 % of NAV, limit 1.8"
    assert figures.changes(figures.outcome(result)).rows == ((("XRP-USD",), (("2.21", "1.39"), ("2.06 M", "1.27 M"))),)
    assert figures.outcome({**result, "check": None}) == {}


def test_plan_in_a_notebook_is_a_table_and_shows_hostile_text_as_text() -> None:
    action = {
        "action": "crypto.emergency-reduce",
        "summary": "<script>reduce</script>",
        "preview": PREVIEW,
        "blast_radius": {"positions": 5, "notional_usd": 3187495.93},
        "effect_within_s": 60,
        "authority": "L1",
        "undo": {"kind": "inverse", "reason": "sets it back"},
    }
    plan = Plan(hash="ab" * 32, state="proposed", expires_at="2026-01-02T03:04:05Z", actions=[action])
    page = plan._repr_html_()
    assert "expires at 03:04:05 UTC" in page
    assert "2.31 M → <b>924 k</b>" in page
    assert "5 positions, 3.19 M USD notional" in page
    assert "possible: sets it back" in page
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            "intake-problem",
            {"problem": "no JSON", "sender": "10.0.0.1", "bytes": 2048, "kept": True},
            "A message could not be understood: no JSON (10.0.0.1, 2,048 bytes; its body is kept)",
        ),
        (
            "plan-refused",
            {"hash": "ab" * 32, "decision": "approve", "person": "vera", "role": "viewer", "reason": "L1 is needed"},
            "Refused: vera (viewer), approve plan abababababab: L1 is needed",
        ),
        (
            "plan-break-glass",
            {"hash": "ab" * 32, "person": "lena", "role": "L1", "skipped": ["it needs L2", "it needs 2 persons"],
             "reason": "nobody answers"},
            "THE GLASS WAS BROKEN: plan abababababab approved by lena (L1) alone, although it needs L2, it needs 2"
            " persons: nobody answers",
        ),
        (
            "plan-waits",
            {"hash": "ab" * 32, "standing_approvals": ["night: out of hours", "budget spent"]},
            "Plan abababababab waits for a person, since no standing approval covers it: night: out of hours;"
            " budget spent",
        ),
        (
            "hold-placed",
            {"platform": None, "reason": "market closed"},
            "Applies are on hold on every platform: market closed",
        ),
        ("hold-released", {"platform": "crypto", "released_by": "lena"}, "The hold on crypto is released by lena"),
        ("cancel-requested", {"person": "lena", "reason": ""}, "lena asks the run to end"),
        (
            "plan-proposed",
            {"hash": "ab" * 32, "document": {"actions": [{"summary": "Reduce"}]}},
            "Plan abababababab proposed: Reduce",
        ),
        (
            "evidence",
            {"id": "E001", "probe": "redis.series", "arguments": {"metric": "var_pct", "symbols": list("abcde")},
             "took_ms": 14.93, "ok": True},
            "E001 redis.series var_pct · 5 symbols: 14.9 ms",
        ),
        (
            "run-ended",
            {"run": 7, "state": "succeeded", "error": None, "redacted": 3},
            "The run succeeded; secrets taken out of its record: 3",
        ),
    ],
)  # fmt: skip
def test_entry_is_a_sentence(kind: str, body: dict[str, Any], said: str) -> None:
    assert wording.sentence(kind, body) == said


def test_unknown_entry_and_broken_body_are_still_told() -> None:
    assert wording.sentence("something-new", {"x": 1}) == 'Something new: {"x": 1}'
    assert wording.sentence("plan-proposed", {"hash": "ab" * 32, "document": "{"}) == "Plan abababababab proposed"
