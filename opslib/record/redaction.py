"""Redaction: secrets become stable keyed tokens before anything is written.

Two kinds are found: values known to this process (of environment variables that are named like secrets,
passwords inside addresses, what `learn` was told; also as they look in base64, JSON, HTML or an address), and shapes
(`secret_shapes.py`). The same secret always gives the same token
`«redacted:ab12cd34»` within one home, so that two places which held the same one can still be told.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import os
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from opslib.record import archive
from opslib.record.secret_shapes import DONE, shapes_in
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
_SHORTEST_OF_BASE64 = 9
_SHORTEST_OF_ENVIRONMENT = 8  # a shorter word may stand in any text
# A table of two columns, a name and its value, as `INFO` or a list of settings is.
_NAMES = ("field", "name", "key", "setting")
_VALUES = ("value", "setting", "text")
_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
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


def _looks(secret: str) -> set[str]:
    """A secret as it may look in an address, in JSON, in a page, in hexadecimal, or in base64 behind anything."""
    found = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], html.escape(secret)}
    data = secret.encode("utf-8", "replace")
    found |= {data.hex(), data.hex().upper()}
    if len(data) >= _SHORTEST_OF_BASE64:
        for before in range(3):
            coded = base64.b64encode(bytes(before) + data).decode("ascii").rstrip("=")
            sure = coded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
            found |= {sure, sure.replace("+", "-").replace("/", "_")}
    return found


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


def _holds_text(kind: Any) -> bool:
    """Whether values of an Arrow type may hold text."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    if types.is_nested(kind):
        return any(_holds_text(kind.field(number).type) for number in range(kind.num_fields))
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    )


class _Here(threading.local):
    """How many secrets this thread has replaced so far."""

    replaced = 0


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
        self._here = _Here()

    def __call__(self, value: Any) -> Any:
        """`value` without its secrets; of the same kind."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if isinstance(value, Mapping):
            called = next((value[name] for name in _NAMES if isinstance(value.get(name), str)), None)
            return {
                self._name(name): self._field(called if called and name == "value" else name, item)
                for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        if hasattr(value, "schema") and hasattr(value, "to_pydict"):
            return self._table(value)
        if hasattr(value, "columns") and hasattr(value, "map"):
            clean = value.map(lambda item: self(item) if isinstance(item, str | bytes | dict | list) else item)
            return clean.rename(columns=self._name)
        return value

    def counted(self, value: Any) -> tuple[Any, int]:
        """`value` without its secrets, and how many were replaced in it, whatever other threads replace meanwhile."""
        before = self._here.replaced
        return self(value), self._here.replaced - before

    def text(self, text: str) -> str:
        """A text without its secrets; where colours lie between a name and its value, without the colours too."""
        clean = self._text(text)
        if _COLOUR.search(clean) is None:
            return clean
        plain = _COLOUR.sub("", clean)
        found = self._text(plain)
        return clean if found == plain else found

    def _text(self, text: str) -> str:
        known = self._known_pattern()
        if known is not None:
            text = known.sub(self._whole, text)
        for shape in shapes_in(text):
            text = shape.pattern.sub(self._part if shape.pattern.groupindex else self._whole, text)
        return text

    def spaced(self) -> list[str]:
        """The known secrets that have spaces in them: those of which a word is only a part."""
        known = self._own | self._environment | _learnt
        return [value for value in known if any(character.isspace() for character in value)]

    def token(self, secret: str) -> str:
        """The token that stands for a secret."""
        if self._key is None:
            self._key = archive.key(self._settings or Settings(), "redaction")
        self.replaced += 1
        self._here.replaced += 1
        mark = hmac.new(self._key, secret.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:8]
        return f"{DONE}{mark}»"

    def _name(self, name: Any) -> Any:
        return self.text(name) if isinstance(name, str) else name

    def _field(self, name: Any, item: Any) -> Any:
        secret = isinstance(name, str) and _KEY_OF_SECRET.search(name) is not None
        if secret and isinstance(item, str) and item and not item.startswith(DONE):
            return self.token(item)
        return self(item)

    def _table(self, table: Any) -> Any:
        """An Arrow table without secrets: in texts however nested, in columns and fields named like secrets."""
        import pyarrow as pa

        for index, field in enumerate(table.schema):
            if not _holds_text(field.type):
                continue
            names = self._names_beside(table, field.name)
            values = [
                None if item is None else self._field(name, item)
                for name, item in zip(names, table.column(index).to_pylist(), strict=True)
            ]
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            table = table.set_column(index, pa.field(field.name, kind), pa.array(values, type=kind))
        return table.rename_columns([self._name(name) for name in table.column_names])

    def _names_beside(self, table: Any, column: str) -> list[Any]:
        """What each value of a column is called: by the column of names beside it, else by the column itself."""
        named = next((name for name in _NAMES if name in table.column_names), None)
        if column not in _VALUES or named is None:
            return [column] * table.num_rows
        return [column if name is None else name for name in table.column(named).to_pylist()]

    def _known_pattern(self) -> re.Pattern[str] | None:
        values = frozenset(self._own | self._environment | _learnt)
        if values != self._known[0]:
            longest_first = sorted({look for value in values for look in _looks(value)}, key=len, reverse=True)
            self._known = (values, re.compile("|".join(map(re.escape, longest_first))) if values else None)
        return self._known[1]

    def _whole(self, match: re.Match[str]) -> str:
        return self.token(match.group())

    def _part(self, match: re.Match[str]) -> str:
        group = match.lastgroup or "secret"
        start, end = match.span(group)
        text, first = match.group(), match.start()
        return text[: start - first] + self.token(match[group]) + text[end - first :]


_default: dict[str, Redactor] = {}


def default(settings: Settings | None = None) -> Redactor:
    """The Redactor of this process for a home; that of the current settings where none is given."""
    settings = settings or Settings()
    return _default.setdefault(str(settings.home), Redactor(settings))
