"""Two hundred made-up secrets in twenty shapes, each in the text that it would stand in."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable

_WORD = string.ascii_letters + string.digits
_MADE: dict[str, Callable[[random.Random], tuple[str, str]]] = {}


def _kind(name: str) -> Callable[[Callable[[random.Random], tuple[str, str]]], None]:
    def add(make: Callable[[random.Random], tuple[str, str]]) -> None:
        _MADE[name] = make

    return add


def word(rng: random.Random, length: int, letters: str = _WORD) -> str:
    return "".join(rng.choice(letters) for _ in range(length))


def _simple(name: str, text: str, secret: str, length: int, letters: str = _WORD) -> None:
    """A shape whose secret is a beginning and so many letters, in a text with one place for it."""

    @_kind(name)
    def make(rng: random.Random) -> tuple[str, str]:
        made = secret + word(rng, length, letters)
        return text.format(made), made


_simple("bearer", "Authorization: Bearer {}", "", 32)
_simple("AWS key id", "using {} now", "AKIA", 16, string.ascii_uppercase + string.digits)
_simple("AWS secret", "aws_secret_access_key = {}", "", 40)
_simple("GitHub", "remote {} refused", "ghp_", 36)
_simple("Slack token", "posting with {}", "xoxb-", 30, string.digits + string.ascii_lowercase)
_simple("Slack webhook", "to https://hooks.slack.com/services/{}", "T0", 24)
_simple("Stripe", "charge {} failed", "sk_live_", 24)
_simple("Google", "maps?x=1 {}", "AIza", 35)
_simple("GitLab", "clone with {}", "glpat-", 20)
_simple("our own", "approve as {}", "rb_", 32)
_simple("password assigned", "dsn: host=db user=desk password={} port=5432", "", 14)
_simple("JSON key", '{{"api_key": "{}", "venue": "x"}}', "", 24)
_simple("SQL", "ALTER ROLE desk PASSWORD '{}'", "", 12)
_simple("command line", "mysqldump --password {} trades", "", 12)
_simple("npm", "registry {}", "npm_", 36)
_simple("cookie", "Cookie: session={}; path=/", "", 26)


@_kind("JWT")
def _jwt(rng: random.Random) -> tuple[str, str]:
    parts = [base64.urlsafe_b64encode(word(rng, 30).encode()).decode().rstrip("=") for _ in range(3)]
    made = "eyJ" + ".eyJ".join(parts[:2]) + "." + parts[2]
    return f"the ticket {made} is over", made


@_kind("PEM")
def _pem(rng: random.Random) -> tuple[str, str]:
    lines = [word(rng, 64) for _ in range(6)]
    text = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END PRIVATE KEY-----"
    return f"key file:\n{text}\nread", lines[3]


@_kind("DSN")
def _dsn(rng: random.Random) -> tuple[str, str]:
    made = word(rng, 16)
    return f"connecting to postgresql://desk:{made}@db.internal:5432/trades failed", made


@_kind("phrase")
def _phrase(rng: random.Random) -> tuple[str, str]:
    made = " ".join(word(rng, 7, string.ascii_lowercase) for _ in range(4))
    return f'{{"passphrase": "{made}"}}', made


def all_of_them(seed: int = 7, each: int = 10) -> list[tuple[str, str, str]]:
    """Kind, text and the secret in it."""
    rng = random.Random(seed)
    return [(kind, *make(rng)) for kind, make in _MADE.items() for _ in range(each)]
