"""Whatever an alert says of itself, its playbook runs on the evidence, and text from outside stays text."""

from __future__ import annotations

import datetime as dt
import math
import os
from html.parser import HTMLParser
from typing import Any

import pytest

from opslib.diagnosis.verdict import NONE_OF_THESE
from opslib.intake import models
from opslib.settings import Settings
from tests.golden import GOLDEN
from tests.golden.in_process import Shown, show

RECORDS = {golden.runbook: name for name, golden in GOLDEN.items()}  # the last of each: one with a fault
NAMES = ("alertname", "platform", "severity", "symbol", "deployment", "statefulset", "book", "dashboard")
EXECUTED = "EXECUTED_BY_A_LABEL"
TEXTS = {
    "code": f"{{{{ __import__('os').environ.update({EXECUTED}='1') }}}}",
    "end-of-string": f'"""\'\'\'\n__import__("os").environ.update({EXECUTED}="1")\n#',
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>|\n# heading\n$x$ `y`",
    "format": "%s %(x)s {0} {x!r} \\x00 \\ {",
    "blank": "",
    "megabyte": "A" * 1_000_000,
    "signs": "\x1b[31m\u202e\u0000\ud800 \U0001f600\r\n\t",
}
TIMES = {
    "none": None,
    "zero": "0001-01-01T00:00:00Z",
    "before-the-calendar": "1500-06-01T00:00:00Z",
    "far": "9999-12-31T23:59:59Z",
    "nanoseconds": "2026-11-28T11:59:00.123456789+05:30",
}
NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)


def delivered(labels: dict[str, str], starts_at: str | None = "2026-11-28T11:59:00Z") -> dict[str, Any]:
    """An alert as a run gets it that came in through the webhook."""
    alert = {"status": "firing", "labels": labels, "annotations": labels, "startsAt": starts_at}
    return models.read_alert({**alert, "generatorURL": labels.get("alertname", "")}, "v1", NOW).payload


ALERTS = {
    "no-labels": delivered({}),
    "many-labels": delivered({f"label_{number}": "x" * 50 for number in range(200)}),
    **{name: delivered({**dict.fromkeys(NAMES, text), text[:40]: text}) for name, text in TEXTS.items()},
    **{f"starts-{name}": delivered({"alertname": "X"}, time) for name, time in TIMES.items()},
}
NAMED: dict[str, Any] = {"alertname": "X", "severity": "critical"}
BY_HAND: dict[str, Any] = {
    "empty": {},
    "bare": {"labels": {}, "startsAt": ""},
    "none": None,
    "list": [{"labels": NAMED}],
    "text": "VarBreach",
    "number": 7,
    "labels-none": {"labels": None, "annotations": None},
    "labels-list": {"labels": ["alertname", "X"], "annotations": 5, "startsAt": NOW},
    "values-none": {"labels": dict.fromkeys(NAMES), "startsAt": None},
    "values-numbers": {"labels": dict.fromkeys(NAMES, 5.5), "annotations": {"summary": 10**5000}},
    "values-lists": {"labels": {name: ["BTC-USD"] for name in NAMES}, "annotations": {5: [{}]}},
    "values-nested": {"labels": {name: {"a": {"b": [None]}} for name in NAMES}, "status": {}, "problem": [1]},
    "values-hostile": {"labels": dict.fromkeys(NAMES, "".join(TEXTS.values())), "annotations": TEXTS},
    **{
        f"starts-{name}": {"labels": NAMED, "startsAt": at}
        for name, at in {
            "garbage": "garbage",
            "zero": "0001-01-01T00:00:00Z",
            "ancient": "1500-06-01T00:00:00Z",
            "later": "2031-01-01T00:00:00Z",
            "far": "9999-12-31T23:59:59-23:59",
            "without-zone": "2026-11-28T11:59:00",
            "number": 1764331140,
            "infinite": math.inf,
            "list": ["2026-11-28T11:59:00Z"],
            "nested": {"at": "2026-11-28T11:59:00Z"},
            "hostile": TEXTS["signs"] + TEXTS["megabyte"],
        }.items()
    },
}


class Tags(HTMLParser):
    """The tags and attributes of what is displayed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}


@pytest.mark.slow
@pytest.mark.parametrize("alert", ALERTS)
@pytest.mark.parametrize("runbook", RECORDS)
def test_an_alert_is_data(runbook: str, alert: str, replays: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run(runbook, ALERTS[alert], replays, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("alert", BY_HAND)
@pytest.mark.parametrize("runbook", RECORDS)
def test_what_is_given_by_hand_is_looked_at_as_far_as_it_is_understood(
    runbook: str, alert: str, replays: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run(runbook, BY_HAND[alert], replays, monkeypatch)
    assert ("ALERT NOT UNDERSTOOD IN FULL" in shown.text) == (alert != "empty"), shown.text[:400]


def run(runbook: str, alert: Any, replays: Settings, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Run a playbook with an alert, and hold it to what holds with every one."""
    golden = GOLDEN[RECORDS[runbook]]
    shown = show(replays, RECORDS[runbook], monkeypatch, alert=alert)
    assert EXECUTED not in os.environ
    assert shown.verdict["cause"] in (golden.cause, NONE_OF_THESE, None)
    assert shown.held <= {golden.cause}
    assert not {"script", "img", "onerror"} & Tags("".join(shown.layouts)).found
    assert len(shown.text) < 1_000_000
    return shown
