"""Redaction: secrets become stable keyed tokens before anything is written.

Two kinds are found: values known to this process (of environment variables that are named like secrets,
passwords inside addresses, what `learn` was told), and shapes (bearer tokens, JWT, PEM keys, cloud keys,
passwords in addresses and assignments, our own `rb_` tokens). The same secret always gives the same token
`«redacted:ab12cd34»` within one home, so that two places which held the same one can still be told.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from opslib.record import archive
from opslib.settings import Settings

_NAMED_LIKE_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|credential|api_?key|private_?key|access_?key|_key$|^key$|dsn", re.IGNORECASE
)
_KEY_OF_SECRET = re.compile(
    r"(^|[_\-.\s])(pass(word|wd|phrase)|secret|(auth|access|refresh|bearer|api|session|id)?[_-]?token|credentials?|"
    r"(api|private|access|secret)[_-]?key|authorization|cookie)$",
    re.IGNORECASE,
)
_SHORTEST = 6
_SHORTEST_OF_ENVIRONMENT = 8  # a shorter word may stand in any text
_DONE = "«redacted:"
_NOT_DONE = f"(?!{_DONE})"

# Each shape's group `secret` is what is replaced; without the group, the whole match.
_SHAPES = [
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"),
    re.compile(r"\b(?:Bearer|Basic)\s+" + _NOT_DONE + r"(?P<secret>[A-Za-z0-9._~+/-]{8,}=*)", re.IGNORECASE),
    re.compile(r"\b(?:AKIA|ASIA|AGPA|AROA)[0-9A-Z]{16}\b"),
    re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,})"),
    re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}"),
    re.compile(r"\brb_[A-Za-z0-9_-]{16,}"),
    re.compile(r"\b[a-z][a-z0-9+.-]{1,30}://[^\s/:@\"'<>]{0,200}:" + _NOT_DONE + r"(?P<secret>[^\s/@\"'<>]+)@", re.I),
    re.compile(
        r"(?:pass(?:word|wd|phrase)|secret(?:[_-]?access)?(?:[_-]?key)?|(?:api|access|private)[_-]?key|"
        r"(?:auth|access|refresh|api|session)?[_-]?token)"
        r"[\"']?\s*[=:]\s*[\"']?" + _NOT_DONE + r"(?P<secret>[^\s\"'&;,{}\[\]()<>]{6,})",
        re.IGNORECASE,
    ),
]
# Most text holds no secret: one search for what every shape must hold spares the rest.
_HINT = re.compile(
    r"PRIVATE KEY-----|eyJ|bearer|basic|AKIA|ASIA|AGPA|AROA|gh[pousr]_|github_pat_|glpat-|xox|_live_|_test_|rb_|://|"
    r"pass(?:word|wd|phrase)|secret|token|key",
    re.IGNORECASE,
)
_learnt: set[str] = set()


def learn(*secrets: str | None) -> None:
    """Remember secrets of this process, so that no Redactor lets them through.

    An address is taken apart: its password is the secret.
    """
    for secret in secrets:
        if not secret:
            continue
        value = password(secret) if "://" in secret else secret
        if value is not None and len(value) >= _SHORTEST:
            _learnt.update({value, unquote(value)})


def password(address: str) -> str | None:
    """The password inside an address, as it is written there."""
    try:
        return urlsplit(address).password
    except ValueError:
        return None


def _of_environment() -> set[str]:
    """The values of the variables that are named like secrets."""
    found = set()
    for name, value in os.environ.items():
        inside = password(value) if "://" in value else None
        if inside:
            found.update({inside, unquote(inside)})
        elif _NAMED_LIKE_SECRET.search(name) and "://" not in value and not value.startswith(("/", "./")):
            found.add(value)
    return {value for value in found if len(value) >= _SHORTEST_OF_ENVIRONMENT}


class Redactor:
    """Replaces secrets in text, bytes, JSON values, Arrow tables and DataFrames.

    Parameters
    ----------
    settings : Settings, optional
        Its home holds the key of the tokens, which is made when the first secret is met.
    secrets : tuple of str
        Further known secrets.

    Attributes
    ----------
    replaced : int
        How many secrets were replaced so far: what was cut is counted, not shown.
    """

    def __init__(self, settings: Settings | None = None, secrets: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._own = {secret for secret in secrets if len(secret) >= _SHORTEST}
        self._environment = _of_environment()
        self._key: bytes | None = None
        self._known: tuple[frozenset[str], re.Pattern[str] | None] = (frozenset(), None)
        self.replaced = 0

    def __call__(self, value: Any) -> Any:
        """`value` without its secrets; of the same kind."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if isinstance(value, Mapping):
            return {self._name(name): self._field(name, item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        if hasattr(value, "schema") and hasattr(value, "to_pydict"):
            return self._table(value)
        if hasattr(value, "columns") and hasattr(value, "map"):
            return value.map(lambda item: self(item) if isinstance(item, str | bytes | dict | list) else item)
        return value

    def text(self, text: str) -> str:
        """A text without its secrets."""
        known = self._known_pattern()
        if known is not None:
            text = known.sub(self._whole, text)
        if _HINT.search(text):
            for shape in _SHAPES:
                text = shape.sub(self._part if "secret" in shape.groupindex else self._whole, text)
        return text

    def token(self, secret: str) -> str:
        """The token that stands for a secret."""
        if self._key is None:
            self._key = archive.key(self._settings or Settings(), "redaction")
        self.replaced += 1
        mark = hmac.new(self._key, secret.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:8]
        return f"{_DONE}{mark}»"

    def _name(self, name: Any) -> Any:
        return self.text(name) if isinstance(name, str) else name

    def _field(self, name: Any, item: Any) -> Any:
        secret = isinstance(name, str) and _KEY_OF_SECRET.search(name) is not None
        if secret and isinstance(item, str) and item and not item.startswith(_DONE):
            return self.token(item)
        return self(item)

    def _table(self, table: Any) -> Any:
        """An Arrow table whose text columns, and whose columns named like secrets, were gone over."""
        import pyarrow as pa

        for index, field in enumerate(table.schema):
            if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
                values = [
                    None if item is None else self._field(field.name, item) for item in table.column(index).to_pylist()
                ]
                table = table.set_column(index, field, pa.array(values, type=field.type))
        return table

    def _known_pattern(self) -> re.Pattern[str] | None:
        values = frozenset(self._own | self._environment | _learnt)
        if values != self._known[0]:
            longest_first = sorted(values, key=len, reverse=True)
            self._known = (values, re.compile("|".join(map(re.escape, longest_first))) if values else None)
        return self._known[1]

    def _whole(self, match: re.Match[str]) -> str:
        return self.token(match.group())

    def _part(self, match: re.Match[str]) -> str:
        start, end = match.span("secret")
        text, first = match.group(), match.start()
        return text[: start - first] + self.token(match.group("secret")) + text[end - first :]


_default: dict[str, Redactor] = {}


def default(settings: Settings | None = None) -> Callable[[Any], Any]:
    """The Redactor of this process for a home; that of the current settings where none is given."""
    settings = settings or Settings()
    return _default.setdefault(str(settings.home), Redactor(settings))
