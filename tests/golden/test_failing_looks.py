"""Each playbook on the evidence of a fault, whatever it looks at failing in turn: it ends, and says so."""

from __future__ import annotations

import html

import pytest

from opslib.diagnosis.verdict import NONE_OF_THESE
from opslib.settings import Settings
from tests.golden import GOLDEN
from tests.golden.in_process import FAILS, Shown, failures, show

CASES = [(name, part) for name in GOLDEN for part in failures(name)]
_WHOLE: dict[str, Shown] = {}


def whole(replays: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What a record shows when nothing fails."""
    if name not in _WHOLE:
        _WHOLE[name] = show(replays, name, monkeypatch)
    return _WHOLE[name]


def test_in_every_record_something_can_fail() -> None:
    assert {name for name, _ in CASES} == set(GOLDEN)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_with_nothing_failing_it_is_the_golden_verdict(
    name: str, replays: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = whole(replays, name, monkeypatch)
    assert (shown.verdict["cause"], shown.verdict["confirmed"]) == (GOLDEN[name].cause, GOLDEN[name].fault is not None)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), CASES, ids=[f"{name}-{part}" for name, part in CASES])
def test_what_fails_is_told_and_nothing_false_is_named(
    name: str, part: str, replays: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    then, now = whole(replays, name, monkeypatch), show(replays, name, monkeypatch, fails=part)
    verdict, told = now.verdict, f"{part} {FAILS}"
    assert now.failed
    said = [*verdict["unseen"], verdict["summary"], *(cause["because"] for cause in verdict["causes"])]
    # What is asked for the plan alone fails after the verdict; where the alert is over, nothing was made of it.
    beside = now.text if verdict["confirmed"] is False or not now.early else ""
    assert any(told in line for line in (*said, html.unescape(beside))), verdict
    assert verdict["confidence"] <= then.verdict["confidence"]
    if verdict["confirmed"] is False:
        assert now.proposed == []
    if GOLDEN[name].fault is not None:
        assert verdict["confirmed"] or not now.known, verdict
        assert verdict["cause"] in (then.verdict["cause"], None), verdict
        assert now.held <= then.held, verdict
    else:
        assert verdict["cause"] in (None, NONE_OF_THESE), verdict
        assert now.held == set()
        assert now.proposed == []
