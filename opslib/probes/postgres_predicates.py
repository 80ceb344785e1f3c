"""Which columns a statement asks a table for: a reading of its text, good enough to point at a missing index.

No parser of the whole language: comments and texts are taken out, the table's names and aliases are found, and every
comparison, IN, BETWEEN, LIKE or IS NULL counts its column, qualified by one of the names or by none.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_NOISE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_WORD = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)'
_NAMED = re.compile(
    rf"\b(?:FROM|JOIN|UPDATE|INTO|,)\s+(?:ONLY\s+)?((?:{_WORD}\s*\.\s*)?{_WORD})(?:\s+(?:AS\s+)?({_WORD}))?",
    re.IGNORECASE,
)
_LIST = re.compile(
    rf",\s*((?:{_WORD}\s*\.\s*)?{_WORD})(?:\s+(?:AS\s+)?({_WORD}))?(?=\s*(?:,|\bWHERE\b|\bJOIN\b|\bGROUP\b|\bORDER\b|$))",
    re.IGNORECASE,
)
_COMPARED = re.compile(
    rf"(?:({_WORD})\s*\.\s*)?({_WORD})\s*(?:::\s*{_WORD}\s*)?"
    r"(?:=|<>|!=|<=|>=|<|>|\bIN\b|\bBETWEEN\b|\bI?LIKE\b|\bIS\s+(?:NOT\s+)?NULL\b|@>|&&)",
    re.IGNORECASE,
)
_AFTER = re.compile(rf"(?:=|<=|>=|<|>)\s*({_WORD})\s*\.\s*({_WORD})", re.IGNORECASE)
_CLAUSE = re.compile(r"\b(?:WHERE|ON|HAVING|AND|OR)\b", re.IGNORECASE)
_END = re.compile(r"\b(?:GROUP\s+BY|ORDER\s+BY|LIMIT|RETURNING|SET|VALUES|UNION|WINDOW|FOR\s+UPDATE)\b", re.IGNORECASE)
_NO_ALIAS = frozenset(
    [
        "where",
        "on",
        "join",
        "inner",
        "left",
        "right",
        "full",
        "cross",
        "natural",
        "using",
        "set",
        "group",
        "order",
        "limit",
        "offset",
        "having",
        "union",
        "for",
        "values",
        "returning",
        "as",
        "select",
        "lateral",
        "window",
    ]
)


def asked_columns(query: str | None, schema: str, table: str, columns: Collection[str]) -> list[str]:
    """The columns of a table that a statement compares, in the order of its text.

    Parameters
    ----------
    query : str or None
    schema, table : str
    columns : collection of str
        Those of the table; other words are passed over.

    Returns
    -------
    list of str
        Empty where the statement does not name the table.
    """
    text = _NOISE.sub(" ' ' ", query or "")
    names = _names(text, schema, table)
    if not names:
        return []
    found: list[str] = []
    for part in _conditions(text):
        for match in [*_COMPARED.finditer(part), *_AFTER.finditer(part)]:
            qualifier, column = _plain(match[1]), _plain(match[2])
            if column in columns and (qualifier in names or not qualifier) and column not in found:
                found.append(column)
    return found


def _names(text: str, schema: str, table: str) -> set[str]:
    """What the table is called in a statement: its own name and its aliases; empty where it is not there."""
    found = set()
    for match in [*_NAMED.finditer(text), *_LIST.finditer(text)]:
        parts = [_plain(part) for part in re.findall(_WORD, match[1])]
        if parts[-1] == table and (len(parts) == 1 or parts[0] == schema):
            found.add(table)
            alias = _plain(match[2])
            if alias and alias not in _NO_ALIAS:
                found.add(alias)
    return found


def _conditions(text: str) -> list[str]:
    """The pieces of a statement that are conditions: after WHERE, ON, HAVING, AND, OR, as far as the next clause."""
    return [_END.split(piece, maxsplit=1)[0] for piece in _CLAUSE.split(text)[1:]]


def _plain(word: str | None) -> str:
    """A name as the catalogue spells it."""
    if not word:
        return ""
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
