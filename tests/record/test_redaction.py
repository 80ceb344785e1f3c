"""Redaction: known secrets and secret shapes, in every kind of value, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opslib.record import redaction
from opslib.record.redaction import Redactor
from opslib.settings import Settings

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIK\nabc\n-----END PRIVATE KEY-----"
SHAPES = {
    "Authorization: Bearer abcdef.ghijkl-mnop": "abcdef.ghijkl-mnop",
    f"cookie {JWT} end": JWT,
    f"file:\n{PEM}\n": "MC4CAQAwBQYDK2VwBCIEIK",
    "cut -----BEGIN RSA PRIVATE KEY-----\nMIIEow": "MIIEow",
    "AKIAIOSFODNN7EXAMPLE": "AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "postgresql://desk:hunter2!@db:5432/x": "hunter2!",
    "redis://:p4ss@localhost/0": "p4ss",
    "dsn: host=db password=hunter22 user=x": "hunter22",
    '{"api_key": "0123456789abcdef"}': "0123456789abcdef",
    "token=rb_AbCdEfGhIjKlMnOpQrStUv": "rb_AbCdEfGhIjKlMnOpQrStUv",
    "rb_AbCdEfGhIjKlMnOpQrStUv": "rb_AbCdEfGhIjKlMnOpQrStUv",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-123456789012-abcdefghijkl": "xoxb-123456789012-abcdefghijkl",
    "sk_live_abcdefghijklmnop1234": "sk_live_abcdefghijklmnop1234",
}
HARMLESS = [
    "var_pct{symbol=\"BTC-USD\"} 1.9",
    "the key param.reload expires in 60 s",
    "http://127.0.0.1:8080/health?x=1",
    "2026-11-20T10:00:00Z key: value, tokens 12",
    "a model switch, momentum -> mean-reversion, confidence 0.61",
]  # fmt: skip


@pytest.fixture
def redact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Redactor:
    monkeypatch.setenv("DESK_PASSWORD", "correct-horse-battery")
    monkeypatch.setenv("DESK_URL", "redis://:from%20address@localhost/0")
    return Redactor(Settings(home=tmp_path))


@pytest.mark.parametrize("text", SHAPES)
def test_shapes_are_found(redact: Redactor, text: str) -> None:
    done = redact(text)
    assert SHAPES[text] not in done
    assert "«redacted:" in done
    assert redact(done) == done  # what is redacted stays as it is


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_stays(redact: Redactor, text: str) -> None:
    assert redact(text) == text


def test_known_values_are_found_everywhere(redact: Redactor) -> None:
    redaction.learn("redis://u:learnt-word@h/0", "another-secret", None, "x")
    secrets = ["correct-horse-battery", "from address", "from%20address", "learnt-word", "another-secret"]
    text = " / ".join(secrets)
    value = {"a": [text, {"b": text}], text: 1, "n": 1.5, "none": None, "bytes": text.encode()}
    written = repr(redact(value))
    frame = redact(pd.DataFrame({"text": [text, "fine"], "number": [1, 2]}))
    table = redact(pa.table({"text": [text, None], "token": ["opaque", "x"], "number": [1, 2]}))
    for secret in secrets:
        assert secret not in written
        assert secret not in frame.to_csv()
        assert secret not in repr(table.to_pydict())
    assert frame["number"].tolist() == [1, 2]
    assert "opaque" not in table.column("token").to_pylist()
    assert table.column("text").to_pylist()[1] is None


def test_tokens_are_stable_and_keyed_by_the_home(tmp_path: Path) -> None:
    one, again = Redactor(Settings(home=tmp_path / "a")), Redactor(Settings(home=tmp_path / "a"))
    other = Redactor(Settings(home=tmp_path / "b"))
    text = "Bearer abcdefghijklmnop"
    assert one(text) == again(text)
    assert one(text) != other(text)
    assert (one.replaced, other.replaced) == (2, 1)
    assert (tmp_path / "a" / ".state" / "keys" / "redaction").stat().st_mode & 0o777 == 0o600


def test_fields_named_like_secrets_are_cut_whatever_they_hold(redact: Redactor) -> None:
    found = redact({"password": "a b", "auth_token": "12", "X-Api-Key": "k", "key": "param.reload", "token_count": "7"})
    assert found["key"] == "param.reload"
    assert found["token_count"] == "7"
    assert all(found[name].startswith("«redacted:") for name in ("password", "auth_token", "X-Api-Key"))


def test_long_text_takes_no_unreasonable_time(redact: Redactor) -> None:
    for text in ("a" * 1_000_000, "://" * 300_000, "password" * 100_000, "eyJ" * 300_000, "x:" * 500_000):
        assert isinstance(redact(text), str)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(value=json_values)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_value_stays_json_and_is_redacted_once(redact: Redactor, value: object) -> None:
    done = redact(value)
    json.dumps(done)
    assert redact(done) == done
