"""What a notebook is shown: its run, its plans, and that nothing of it takes long to import."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import opslib
from opslib.ops import Plan

PLAN = Plan(
    hash="ab" * 32,
    state="proposed",
    expires_at="2026-11-20T10:15:00Z",
    actions=[
        {
            "action": "crypto.emergency-reduce",
            "summary": "Kelly fraction 0.25 -> 0.1 <script>alert(1)</script>",
            "preview": {"var_pct": {"A": 0.84}, "orders": [1, 2]},
            "expected_effect": "VaR of A from 2.1 % to 0.84 %",
            "effect_within_s": 5,
            "authority": "L1",
            "blast_radius": {"notional_usd": 125000.0},
            "residual_risk": "",
            "undo": {"kind": "inverse", "reason": "sets the fraction back"},
        }
    ],
)


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_plan_shows_what_it_does_and_who_may_approve() -> None:
    shown = Tags()
    shown.feed(PLAN._repr_html_())
    assert "script" not in shown.seen
    for text in ("Plan abababababab: proposed", "L1 or above", "within 5 s", "125 k USD notional", "A 0.84"):
        assert text in shown.text
    assert "Nothing has been changed yet." in shown.text
    assert "authority L1; undo: inverse (sets the fraction back)" in repr(PLAN)


def test_public_names_are_pinned() -> None:
    assert opslib.__all__ == ["Ops", "connect"]
    assert [name for name in dir(opslib.Ops) if not name.startswith("_")] == [
        "apply",
        "close",
        "conclude",
        "has",
        "live",
        "look",
        "now",
        "probe",
        "propose",
        "random",
    ]


def test_import_brings_no_heavy_library() -> None:
    heavy = "pandas numpy pyarrow psycopg redis httpx fastapi pydantic"
    code = f"import sys, opslib.ops; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
