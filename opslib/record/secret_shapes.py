"""What secrets look like: tokens, keys, passwords in addresses, assignments, statements and command lines.

A shape is a pattern with the words of which any match holds one, in small letters: a text without them is not searched.
The pattern's groups `secret`, `quoted` and `single` are what is replaced; without a group, the whole match.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DONE = "«redacted:"
_NOT = f"(?!{DONE})"
# A value as it is assigned: up to a space or a sign that ends it; a backslash belongs to it unless it hides a quote.
_VALUE = r"(?:\\(?![\"'nrt])|[^\s\"'&;,{}\[\]()<>\\])"
_IS = r"\\*[\"']?\s*(?:[=:]>?|%3[AD])\s*"
# Before a value: a quote as a page spells it, or a block of YAML.
_BEFORE = r"(?:&(?:quot|#34|#39|#x22|#x27);|[|>][-+]?[ \t]*\n[ \t]*)?"
_NAMES = r"(?:secret(?:[_-]?key)?|(?:api|access|private|account|signing|encryption|shared)[_-]?key|token|credentials?)"
_PHRASE = r"pass(?:word|wd|phrase)"
# Short for one; a folder is none, as in `PWD=/home/desk`.
_SHORT = (
    r"(?<![A-Za-z])(?:(?:\w{1,40}_)?pwd|(?:db|pg|sql|redis|smtp|mail|proxy|admin|root|user|login|auth)[_-]pass)"
    r"(?!\\*[\"']?\s*[=:]\s*\\*[\"']?[/.~$])"
)
_SAID = r"is(?:\s+now)?|was|to|(?:(?:is|was)\s+)?(?:set|changed|reset)\s+to"
_VALUE_BESIDE = r"\s*,?\s*\\*[\"']?value"
_KEY = r"PRIVATE KEY(?: BLOCK)?-----"


@dataclass(frozen=True)
class Shape:
    """One kind of secret: the words that it cannot be without, and its pattern."""

    words: tuple[str, ...]
    pattern: re.Pattern[str]


def _shape(words: str, pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Shape:
    return Shape(tuple(words.split()), re.compile(pattern, flags))


def _assigned(words: str, name: str, shortest: int) -> Shape:
    """A value behind a name: in quotes, where it may have spaces, or bare."""
    quoted = rf"b?\\*\"{_NOT}(?P<quoted>[^\"\\\n]{{4,200}})\\*\"|b?'{_NOT}(?P<single>[^'\n]{{4,200}})'"
    bare = rf"{_BEFORE}\\*[\"']?{_NOT}(?P<secret>{_VALUE}{{{shortest},}})"
    return _shape(words, rf"{name}{_IS}(?:{quoted}|{bare})", re.IGNORECASE)


SHAPES = [
    _shape("private", rf"-----BEGIN [A-Z0-9 ]*{_KEY}.*?(?:-----END [A-Z0-9 ]*{_KEY}|\Z)", re.DOTALL),
    _shape("eyj", r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"),  # JWT
    _shape("bearer basic", rf"\b(?:Bearer|Basic)\s+{_NOT}(?P<secret>[A-Za-z0-9._~+/-]{{8,}}=*)", re.IGNORECASE),
    _shape(
        "authorization",
        rf"\bauthorization{_IS}\\*[\"']?(?:[a-z-]+\s+)?{_NOT}(?P<secret>[A-Za-z0-9._~+/:-]{{8,}}=*)",
        re.IGNORECASE,
    ),
    _shape("akia asia agpa aroa", r"\b(?:AKIA|ASIA|AGPA|AROA)[0-9A-Z]{16}\b"),
    _shape("gh", r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    _shape("github_pat_ glpat-", r"\b(?:github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,})"),
    _shape("xox xapp-", r"\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    _shape(
        "hooks.slack.com",
        r"\bhooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/_-]{12,})",
        re.IGNORECASE,
    ),
    _shape("/webhooks/", r"\bdiscord(?:app)?\.com/api/webhooks/(?P<secret>[0-9]+/[A-Za-z0-9_-]{20,})", re.IGNORECASE),
    _shape("k_live_ k_test_ whsec_", r"\b(?:[srp]k_(?:live|test)_|whsec_)[A-Za-z0-9]{16,}"),
    _shape("sk-", r"\bsk-[A-Za-z0-9_-]{20,}"),
    _shape("aiza ya29.", r"\b(?:AIza[0-9A-Za-z_-]{30,}|ya29\.[0-9A-Za-z_-]{20,})"),
    _shape("sg.", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _shape("npm_ pypi- dop_v1_", r"\b(?:npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}|dop_v1_[a-f0-9]{40,})"),
    _shape("hvs. hvb.", r"\bhv[sb]\.[A-Za-z0-9_-]{20,}"),
    _shape("age-secret-key-1", r"\bAGE-SECRET-KEY-1[0-9A-Z]{40,}"),
    _shape(":aa", r"\b\d{8,10}:AA[A-Za-z0-9_-]{30,}"),  # a Telegram bot
    _shape("scram-sha-256", r"\bSCRAM-SHA-256\$\d+:[A-Za-z0-9+/=$:]{20,}"),
    _shape("$2 $5$ $6$ $y$ $argon2", r"\$(?:2[abxy]|5|6|y|argon2id?)\$[./A-Za-z0-9$=,+]{20,}"),
    _shape("rb_", r"\brb_[A-Za-z0-9_-]{16,}"),
    _shape(
        "://", rf"\b[a-z][a-z0-9+.-]{{1,30}}://[^\s/:@\"'<>]{{0,200}}:{_NOT}(?P<secret>[^\s/@\"'<>]+)@", re.IGNORECASE
    ),
    _shape("://", rf"\b[a-z][a-z0-9+.-]{{1,30}}://{_NOT}(?P<secret>[A-Za-z0-9_~-]{{20,200}})@", re.IGNORECASE),
    _assigned("passw passp", _PHRASE, 4),
    _assigned("secret key token credential", _NAMES, 6),
    _assigned("pwd _pass -pass", _SHORT, 4),
    # A name in one place and its value in the next, as a pod's environment has them, or an element of XML.
    _shape(
        "value",
        rf"\b(?:name|key){_IS}\\*[\"']?[\w.-]*(?:{_PHRASE}|{_NAMES})\\*[\"']?{_VALUE_BESIDE}"
        rf"{_IS}\\*[\"']?{_NOT}(?P<secret>{_VALUE}{{4,}})",
        re.IGNORECASE,
    ),
    _shape(
        "<",
        rf"<[\w:.-]*(?:{_PHRASE}|{_NAMES})>\s*{_NOT}(?P<secret>[^<\s]{{4,}})",
        re.IGNORECASE,
    ),
    _shape(
        "curl",
        rf"\bcurl\b[^\n]{{0,300}}?\s(?:-u|--user)[\s=]*\\*[\"']?[^\s:\"']{{1,80}}:{_NOT}(?P<secret>[^\s\"']{{4,}})",
    ),
    _shape("redis-cli", rf"\bredis-cli\b[^\n]{{0,300}}?\s(?:-a|--pass)\s+[\"']?{_NOT}(?P<secret>[^\s\"']{{4,}})"),
    _shape("mysql mariadb", rf"\b(?:mysql|mariadb)[\w-]*\b[^\n]{{0,300}}?\s-p{_NOT}(?P<secret>[^\s\"']{{4,}})"),
    _shape("setuser", rf"\bsetuser\b[^\n]{{0,300}}?[\s\"']>{_NOT}(?P<secret>[^\s\"']{{4,}})", re.IGNORECASE),
    _shape("%3a%2f%2f", rf"%3A%2F%2F[^\s%]{{0,200}}%3A{_NOT}(?P<secret>\S{{1,200}}?)%40", re.IGNORECASE),
    _shape("md5", r"\bmd5[0-9a-f]{32}\b"),  # what PostgreSQL keeps of a password
    _shape(
        "password identified", rf"\b(?:password|identified\s+by)\s+'{_NOT}(?P<secret>[^'\n]{{1,200}})'", re.IGNORECASE
    ),
    _shape(
        "-passw -passp -token -secret -api",
        rf"(?<!\w)--?(?:\w+-)?(?:{_PHRASE}|token|secret|api-?key)\s+{_NOT}(?P<secret>[^\s\"'-][^\s\"']{{3,}})",
        re.IGNORECASE,
    ),
    _shape(
        "requirepass masterauth",
        rf"\b(?:requirepass|masterauth)[\"']?[\s=:]+[\"']?{_NOT}(?P<secret>[^\s\"']{{4,}})",
        re.IGNORECASE,
    ),
    # In a sentence, where only what has a digit or a sign is taken for one.
    _shape(
        "passw passp",
        rf"\b{_PHRASE}\s+(?:{_SAID})\s+[\"'`]?{_NOT}"
        r"(?P<secret>(?=[^\s\"'`]*[\d!@#$%^&*+=])[^\s\"'`]{6,}?)(?=[\"'`.,;:!?)]*(?:\s|\Z))",
        re.IGNORECASE,
    ),
    # A line of `.pgpass`.
    _shape(
        ":*: :54 :64",
        rf"(?<!\S)[^\s:#]+:(?:\*|54\d\d|64\d\d):[^\s:]+:[^\s:]+:{_NOT}(?P<secret>\S{{4,}})",
    ),
    _shape("cookie", rf"\bcookie{_IS}\\*[\"']?[^=;\s\"']{{1,80}}={_NOT}(?P<secret>[^;\s\"']{{8,}})", re.IGNORECASE),
    _shape("sig= signature=", rf"[?&;](?:sig|signature)={_NOT}(?P<secret>[A-Za-z0-9%+/=_-]{{16,}})", re.IGNORECASE),
]
_WORDS = tuple({word: None for shape in SHAPES for word in shape.words})
# The end of a text behind which a secret may follow, or of which one may have begun, across spaces and lines.
_GAP = r"(?:\s|\x1b\[[0-9;]*m)*"
OPEN_END = re.compile(
    r"(?:-----BEGIN[A-Z0-9 ]*(?:-----)?"
    rf"|\b(?:bearer|basic|identified(?:{_GAP}by)?|requirepass|masterauth)[\"']?(?:[=:]|{_GAP})*[\"']?"
    rf"|\b(?:authorization|cookie)\\*[\"']?{_GAP}(?:[=:]{_GAP}\\*[\"']?(?:[a-z-]+{_GAP})?)?"
    rf"|\b(?:name|key)\\*[\"']?{_GAP}[=:]{_GAP}\\*[\"']?"
    rf"|(?:\b(?:name|key)\\*[\"']?{_GAP}[=:]{_GAP}\\*[\"']?[\w.-]*)?(?:{_PHRASE}|{_NAMES}|{_SHORT})\\*[\"']?{_GAP}"
    rf"(?:(?:[=:]>?|,?{_GAP}\\*[\"']?value\\*[\"']?{_GAP}[=:]?){_GAP}(?:[|>][-+]?{_GAP})?|,{_GAP})?"
    rf"(?:b?\\*[\"'][^\"'\n]{{0,200}})?"
    rf"|<[\w:.-]*(?:{_PHRASE}|{_NAMES})>{_GAP}"
    rf"|\bcurl\b[^\n]{{0,300}}|\bredis-cli\b[^\n]{{0,300}}|\bsetuser\b[^\n]{{0,300}}"
    rf"|\b(?:mysql|mariadb)[\w-]*\b[^\n]{{0,300}}|\b{_PHRASE}{_GAP}(?:\w+{_GAP}){{0,3}}[\"'`]?)\Z",
    re.IGNORECASE,
)
BEGIN_OF_KEY = re.compile(rf"-----BEGIN [A-Z0-9 ]*{_KEY}")
END_OF_KEY = re.compile(rf"-----END [A-Z0-9 ]*{_KEY}")


def shapes_in(text: str) -> list[Shape]:
    """The shapes of which a text holds a word: none for most texts, so that they cost little."""
    small = text.lower()
    there = {word for word in _WORDS if word in small}
    return [shape for shape in SHAPES if not there.isdisjoint(shape.words)] if there else []
