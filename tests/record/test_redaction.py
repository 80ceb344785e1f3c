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
from opslib.record.stream_redaction import StreamRedactor
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
    "MYSQL_PWD=hunter2-hunter3": "hunter2-hunter3",
    "Server=y;Uid=desk;Pwd=hunter2-hunter3;": "hunter2-hunter3",
    "DB_PASS: hunter2-hunter3": "hunter2-hunter3",
    "{'password': b'hunter2-hunter3'}": "hunter2-hunter3",
    "password: |\n    hunter2-hunter3\n": "hunter2-hunter3",
    "password=&quot;hunter2-hunter3&quot;": "hunter2-hunter3",
    "to ?password%3Dhunter2-hunter3": "hunter2-hunter3",
    "postgresql%3A%2F%2Fdesk%3Ahunter2-hunter3%40db": "hunter2-hunter3",
    "- name: DB_PASSWORD\n  value: hunter2-hunter3": "hunter2-hunter3",
    '{"name": "VENUE_API_KEY", "value": "hunter2-hunter3"}': "hunter2-hunter3",
    '<add key="password" value="hunter2-hunter3"/>': "hunter2-hunter3",
    "<db:password>hunter2-hunter3</db:password>": "hunter2-hunter3",
    "curl -s -u desk:hunter2-hunter3 https://venue.example/": "hunter2-hunter3",
    "redis-cli -h cache -a hunter2-hunter3 ping": "hunter2-hunter3",
    "mysql -h db -udesk -phunter2-hunter3 trades": "hunter2-hunter3",
    "mysqldump --single-transaction -phunter2-hunter3 trades": "hunter2-hunter3",
    "db.desk:5432:*:desk:hunter2-hunter3": "hunter2-hunter3",
    "*:*:trades:desk:hunter2-hunter3": "hunter2-hunter3",
    "the password is hunter2-hunter3, tell nobody": "hunter2-hunter3",
    "the desk's passphrase was changed to 'hunter2-hunter3'": "hunter2-hunter3",
    "ACL SETUSER desk on >hunter2-hunter3 ~*": "hunter2-hunter3",
    "md5c4ca4238a0b923820dcc509a6f75849b": "c4ca4238a0b923820dcc509a6f75849b",
}
# As a terminal, a log or the traceback of a notebook colours them.
COLOURED = {
    'connect(password\x1b[38;5;241m=\x1b[39m\x1b[38;5;124m"\x1b[39mhunter2-hunter3\x1b[39m")': "hunter2-hunter3",
    "\x1b[36mpassword\x1b[0m = \x1b[35mhunter2-hunter3\x1b[0m": "hunter2-hunter3",
    "Authorization: \x1b[1mBearer\x1b[0m \x1b[2mhunter2-hunter3\x1b[0m": "hunter2-hunter3",
    "\x1b[1mcorrect-horse\x1b[0m-battery": "correct-horse",
}
HARMLESS = [
    "var_pct{symbol=\"BTC-USD\"} 1.9",
    "the key param.reload expires in 60 s",
    "http://127.0.0.1:8080/health?x=1",
    "2026-11-20T10:00:00Z key: value, tokens 12",
    "a model switch, momentum -> mean-reversion, confidence 0.61",
    "PWD=/home/desk OLDPWD=/srv, first_pass: complete, 12 tests pass: 12345678",
    "- name: LOG_LEVEL\n  value: information",
    '{"name": "var_pct", "value": "1.9234567"}',
    "curl -s -u $USER https://venue.example/api, md5 of it: c4ca4238",
    "the password is required, the passphrase was changed by ana, -p 5432, mysql -h db -P 3306",
    "at 10:5432:3:x it was, [::1]:5432 and db.desk:5432 answer, 12:30:54:06:0123",
    "<keys>BTC-USD</keys>, the user >set, redis-cli -h cache info",
    "\x1b[31mVaR of BTC-USD\x1b[0m is \x1b[1m1.92 %\x1b[0m",
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


@pytest.mark.parametrize("text", COLOURED)
def test_colours_hide_none(redact: Redactor, text: str) -> None:
    done = redact(text)
    assert COLOURED[text] not in done
    assert "«redacted:" in done
    assert redact(done) == done


@pytest.mark.parametrize(("text", "secret"), [*SHAPES.items(), *COLOURED.items()])
def test_a_stream_hides_as_much_wherever_it_is_cut(redact: Redactor, text: str, secret: str) -> None:
    text = f"first, {text}\n"
    for at in range(1, len(text)):
        stream = StreamRedactor(redact)
        done = stream.take(text[:at]) + stream.take(text[at:]) + stream.end()
        assert secret not in done, at
        assert "«redacted:" in done
    stream = StreamRedactor(redact)
    assert secret not in "".join([stream.take(letter) for letter in text]) + stream.end()


@pytest.mark.parametrize("text", HARMLESS)
def test_a_stream_loses_nothing(redact: Redactor, text: str) -> None:
    stream = StreamRedactor(redact)
    assert "".join([stream.take(letter) for letter in text]) + stream.end() == text


def test_a_value_is_hidden_that_has_its_name_beside_it(redact: Redactor) -> None:
    told = redact([{"name": "DB_PASSWORD", "value": "opaque"}, {"name": "LOG_LEVEL", "value": "info"}])
    assert told[0]["name"] == "DB_PASSWORD"
    assert told[0]["value"].startswith("«redacted:")
    assert told[1] == {"name": "LOG_LEVEL", "value": "info"}


def test_a_known_one_is_found_in_hexadecimal(redact: Redactor) -> None:
    coded = b"correct-horse-battery".hex()
    for text in (f"bytes {coded} here", f"\\x{coded.upper()}"):
        assert coded not in redact(text).lower()


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
