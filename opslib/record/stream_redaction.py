"""Redaction of a text that comes in pieces: a secret is found wherever the pieces were cut.

What may be the beginning of a secret is held back until more comes: an unfinished word, an open key, a name behind
which its value follows, the beginning of a known secret that has spaces in it. Lines that hold none of these go on at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opslib.record.secret_shapes import BEGIN_OF_KEY, END_OF_KEY, OPEN_END

LONGEST = 65_536  # more is not held back [characters]
_LOOK_BACK = 400


class StreamRedactor:
    """Takes secrets out of one stream.

    Parameters
    ----------
    redact : callable
        Takes secrets out of a text; its `spaced`, where it has one, gives the known secrets that have spaces.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._spaced: Callable[[], Iterable[str]] = getattr(redact, "spaced", tuple)
        self._held = ""

    def take(self, piece: str) -> str:
        """What may be shown now that this piece has come, without its secrets."""
        self._held += piece
        cut = self._cut()
        ready, self._held = self._held[:cut], self._held[cut:]
        return str(self._redact(ready)) if ready else ""

    def end(self) -> str:
        """The rest, without its secrets."""
        ready, self._held = self._held, ""
        return str(self._redact(ready)) if ready else ""

    def _cut(self) -> int:
        """Up to where the text holds no unfinished secret."""
        text = self._held
        if len(text) > LONGEST:
            return len(text)
        for found in BEGIN_OF_KEY.finditer(text):
            if END_OF_KEY.search(text, found.end()) is None:
                return min(found.start(), self._before_open_end(text, found.start()))
        cut = _beginning(text, len(text))
        return self._before_open_end(text, cut)

    def _before_open_end(self, text: str, cut: int) -> int:
        """The same, or earlier: before a name whose value may follow, or a known secret that has begun."""
        start = max(0, cut - _LOOK_BACK)
        open_end = OPEN_END.search(text, start, cut)
        earliest = cut if open_end is None else _beginning(text, open_end.start())
        for secret in self._spaced():
            for length in range(min(len(secret) - 1, cut), 0, -1):
                if text.startswith(secret[:length], cut - length):
                    earliest = min(earliest, cut - length)
                    break
        return earliest


def _beginning(text: str, at: int) -> int:
    """Where the word begins that goes on at a place."""
    return max(text.rfind(space, 0, at) + 1 for space in " \n\r\t")
