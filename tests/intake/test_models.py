"""Bodies as they are read, and the identity of an alert."""

from __future__ import annotations

import datetime as dt
import gzip
import json

import pytest

from opslib.intake import cleaning
from opslib.intake.fingerprint import fingerprint, identity
from opslib.intake.models import BodyNotUnderstood, read, severity, worse
from tests.intake.bodies import NOON, ZERO, alert, labels, stamp, webhook


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        # FNV-1a 64: the offset basis for nothing at all, as Prometheus gives for an empty label set.
        ({}, "cbf29ce484222325"),
        # Prometheus, model/signature_test.go: TestLabelsToSignature, the label set "name": "garland, briggs".
        ({"name": "garland, briggs", "fear": "love is not enough"}, f"{5799056148416392346:016x}"),
    ],
)
def test_fingerprint_is_that_of_prometheus(of: dict[str, str], expected: str) -> None:
    assert fingerprint(of) == expected


def test_fingerprint_does_not_depend_on_order() -> None:
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"}) != fingerprint({"a": "2", "b": "1"})


def test_a_made_up_fingerprint_neither_joins_nor_replaces_labels() -> None:
    assert identity({"a": "1"}, "0123456789abcdef")[0] == "0123456789abcdef"
    assert identity({"a": "1"}, "0123456789abcdef")[1] != identity({"a": "2"}, "0123456789abcdef")[1]
    assert identity({"a": "1"}, "../../etc")[0] == fingerprint({"a": "1"})


def test_firing_alert_of_the_webhook_has_no_end() -> None:
    (found,) = read(webhook(alert()), "v1", NOON).alerts
    assert (found.firing, found.starts_at, found.ends_at) == (True, NOON, None)


def test_second_endpoint_takes_the_end_as_an_expiry_and_drops_empty_labels() -> None:
    later = NOON + dt.timedelta(minutes=4)
    body = [{"labels": {**labels(), "empty": ""}, "startsAt": stamp(NOON), "endsAt": stamp(later)}]
    (found,) = read(json.dumps(body).encode(), "v2", NOON).alerts
    assert (found.firing, found.ends_at, found.labels) == (True, later, labels())
    (found,) = read(json.dumps(body).encode(), "v2", later).alerts
    assert not found.firing
    (found,) = read(json.dumps([{"labels": labels()}]).encode(), "v2", NOON).alerts
    assert (found.starts_at, found.ends_at) == (NOON, NOON + dt.timedelta(minutes=5))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (gzip.compress(b'{"alerts": []}', mtime=0), "compressed with gzip; send it as plain JSON"),
        (b"[" * 200_000, "nested too deep|not JSON"),
        (b"[]", "no list `alerts`"),
        (b"17", "no list `alerts`"),
        (b'{"alerts": {}}', "no list `alerts`"),
        (b"1" * 5000, "not JSON|no list `alerts`"),
    ],
)
def test_body_that_cannot_be_read(body: bytes, why: str) -> None:
    with pytest.raises(BodyNotUnderstood, match=why):
        read(body, "v1", NOON)


def test_number_that_is_too_long_to_be_read_loses_no_alert() -> None:
    long = "9" * 5000
    body = f'{{"version": "4", "truncatedAlerts": {long}, "x": -{long}, "alerts": [{json.dumps(alert())}]}}'
    found = read(body.encode(), "v1", NOON)
    assert (len(found.alerts), found.unreadable, found.truncated) == (1, [], 0)


@pytest.mark.parametrize(
    "bad",
    [
        17,
        None,
        {},
        {"labels": []},
        {"labels": {"a": 1}},
        {"labels": {}, "startsAt": "yesterday"},
        {"labels": {}, "startsAt": "2026-02-31T00:00:00Z"},
        {"labels": {}, "startsAt": 5},
        {"labels": {}, "status": "perhaps"},
        {"labels": {}, "annotations": "text"},
    ],
)
def test_one_bad_alert_does_not_spoil_the_others(bad: object) -> None:
    delivery = read(webhook(alert("A"), bad, alert("B")), "v1", NOON)
    assert [found.labels["symbol"] for found in delivery.alerts] == ["A", "B"]
    assert [found.index for found in delivery.unreadable] == [1]


def test_hostile_text_becomes_fit_to_store() -> None:
    hostile = {**alert(), "labels": {"a\x00b": "x\x00\ud800y", "long": "z" * 1_000_000}, "annotations": {"n": "\udfff"}}
    (found,) = read(json.dumps({"alerts": [hostile]}).encode(), "v1", NOON).alerts
    assert found.labels["a\ufffdb"] == "x\ufffd\ufffdy"
    assert found.labels["long"] == "z" * 4096 + "…[cut, 1000000 characters]"
    assert found.annotations == {"n": "\ufffd"}
    json.dumps(found.payload, ensure_ascii=False).encode()


def test_clean_takes_any_json() -> None:
    deep: object = "end"
    for _ in range(50):
        deep = [deep]
    made = cleaning.clean({"n": float("nan"), "big": 10**400, "deep": deep, 5: True})
    assert made["n"] is None
    assert made["big"].startswith("0x")
    assert "nested too deep" in json.dumps(made["deep"], ensure_ascii=False)


@pytest.mark.parametrize("year", ["0600", "1969", "2200", "9999"])
def test_a_start_that_nobody_can_mean_is_none(year: str) -> None:
    (found,) = read(webhook(alert() | {"startsAt": f"{year}-06-01T00:00:00Z"}), "v1", NOON).alerts
    assert found.starts_at == NOON
    assert found.payload["startsAt"] == stamp(NOON)


def test_an_end_may_lie_as_far_away_as_it_likes() -> None:
    body = json.dumps([{"labels": labels(), "endsAt": "9999-12-31T23:59:59Z"}]).encode()
    (found,) = read(body, "v2", NOON).alerts
    assert found.ends_at == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


def test_times_keep_microseconds_and_zones() -> None:
    (found,) = read(webhook(alert() | {"startsAt": "2026-01-05T13:00:00.123456789+01:00"}), "v1", NOON).alerts
    assert found.starts_at == NOON.replace(microsecond=123456)
    (found,) = read(webhook(alert() | {"startsAt": ZERO}), "v1", NOON).alerts
    assert found.starts_at == NOON


@pytest.mark.parametrize(
    ("label", "kept"), [("critical", "critical"), ("CRITICAL", "critical"), ("p0", "P0"), ("x", "")]
)
def test_severity(label: str, kept: str) -> None:
    assert severity({"severity": label}) == kept


def test_worse_severity() -> None:
    assert worse("warning", "P0") == "P0"
    assert worse("", "info") == "info"
