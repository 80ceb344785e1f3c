"""What the supervisor serves: names, and metrics chosen by labels."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from sandbox.cluster.api import ApiRefused
from sandbox.cluster.dns import Names, reply
from sandbox.cluster.metrics import selected


class Listed:
    """An API server that lists one service with an address and one without."""

    def __init__(self) -> None:
        self.away = False

    def get(self, path: str) -> dict[str, Any]:
        if self.away:
            raise ApiRefused("away")
        metadata = [{"name": name, "namespace": "trading"} for name in ("web", "redis")]
        if path.endswith("/services"):
            specs = [{"clusterIP": "10.96.0.7"}, {"clusterIP": "None"}]
            return {"items": [{"metadata": one, "spec": spec} for one, spec in zip(metadata, specs, strict=True)]}
        addresses = [{"ip": "10.201.0.4", "hostname": "redis-0"}, {"ip": "10.201.0.5"}]
        return {"items": [{"metadata": metadata[1], "subsets": [{"addresses": addresses}]}]}


def question(name: str, kind: int = 1) -> bytes:
    """A query as a resolver sends it."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def answer(names: Names, name: str, kind: int = 1) -> tuple[int, list[str]]:
    """Code and addresses of an answer."""
    asked = question(name, kind)
    told = reply(asked, names)
    assert told is not None
    number, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", told)
    assert (number, flags & 0x8000) == (7, 0x8000)
    records = told[len(asked) :]
    return flags & 0xF, [".".join(map(str, records[16 * i + 12 : 16 * i + 16])) for i in range(count)]


def test_services_have_names() -> None:
    names = Names(Listed())  # type: ignore[arg-type]
    assert answer(names, "web.trading.svc.cluster.local") == (0, ["10.96.0.7"])
    assert answer(names, "Web.Trading.svc.cluster.local", kind=28) == (0, [])
    assert answer(names, "redis.trading.svc.cluster.local") == (0, ["10.201.0.4", "10.201.0.5"])
    assert answer(names, "redis-0.redis.trading.svc.cluster.local") == (0, ["10.201.0.4"])
    assert answer(names, "example.com") == (3, [])


def test_while_the_api_server_is_away_nothing_is_denied() -> None:
    listed = Listed()
    listed.away = True
    assert answer(Names(listed), "web.trading.svc.cluster.local") == (2, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("query", [b"", b"\0" * 11, question("web")[:-3], b"\xff" * 40])
def test_what_is_no_query_gets_no_answer(query: bytes) -> None:
    assert reply(query, Names(Listed())) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("", True),
        ("app=api", True),
        ("app==api,tier=1", True),
        ("app=api,tier=2", False),
        ("app!=api", False),
        ("app!=web", True),
        ("app in (api, web),tier", True),
        ("app notin (api,web)", False),
        ("!app", False),
        ("!other", True),
        ("other", False),
    ],
)
def test_labels_are_selected_as_kubernetes_does(selector: str, fits: bool) -> None:
    assert selected({"app": "api", "tier": "1"}, selector) is fits
