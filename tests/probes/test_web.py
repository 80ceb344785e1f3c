"""HTTP past any proxy, with the authorities read once."""

from __future__ import annotations

import ssl

import pytest

from opslib import web
from opslib.probes import Target


def test_no_proxy_of_the_environment_is_asked(api: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert web.get(f"{api.url}/list").json() == [1, 2, {"three": 3}]
    with web.client(base_url=api.url) as client:
        assert client.get("/list").json() == [1, 2, {"three": 3}]


def test_authorities_are_read_once_and_certificates_are_examined() -> None:
    assert web.authorities() is web.authorities()
    assert web.authorities().verify_mode is ssl.CERT_REQUIRED
    assert web.authorities().check_hostname
