"""Who is signed in: sessions of one server process, and a brake on guessing tokens.

A session is a random number in a cookie that no script can read; what it means is kept here. Sessions end with
the server, after twelve hours, or when the person's token is taken away.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from opslib.canonical import digest
from opslib.errors import RunbookError
from opslib.people import Person

LIFETIME_S = 12 * 3600.0
_MOST_SESSIONS = 4096


class TooManyAttempts(RunbookError):
    """Too many wrong tokens from this address; wait a minute and try again."""


@dataclass
class Session:
    """One person signed in with one browser.

    Attributes
    ----------
    person : Person
    form_key : str
        What every form sent in this session has to carry.
    expires : float
        `time.monotonic()` at which it ends [s].
    notices : list of (str, str)
        What to tell on the next page: kind ("done" or "refused") and sentence.
    """

    person: Person
    form_key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    expires: float = field(default_factory=lambda: time.monotonic() + LIFETIME_S)
    notices: list[tuple[str, str]] = field(default_factory=list)

    def take_notices(self) -> list[tuple[str, str]]:
        """The notices, which are told once."""
        told, self.notices = self.notices, []
        return told


class Sessions:
    """The sessions of one server.

    Methods are safe to call from several threads.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._sign_in_key = secrets.token_bytes(32)

    def open(self, person: Person) -> tuple[str, Session]:
        """Begin a session; returns the cookie's value and the session."""
        identifier, session = secrets.token_urlsafe(32), Session(person)
        with self._lock:
            self._drop_ended()
            while len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[digest(identifier.encode())] = session
        return identifier, session

    def find(self, identifier: str | None) -> Session | None:
        """The session that a cookie names, unless it has ended."""
        if not identifier:
            return None
        with self._lock:
            session = self._sessions.get(digest(identifier.encode("utf-8", "replace")))
        return session if session is not None and session.expires > time.monotonic() else None

    def close(self, identifier: str | None) -> None:
        """End the session that a cookie names."""
        with self._lock:
            self._sessions.pop(digest((identifier or "").encode("utf-8", "replace")), None)

    def sign_in_key(self, browser: str) -> str:
        """What the sign-in form of the browser with this cookie has to carry."""
        return hmac.new(self._sign_in_key, browser.encode("utf-8", "replace"), "sha256").hexdigest()

    def _drop_ended(self) -> None:
        now = time.monotonic()
        self._sessions = {key: one for key, one in self._sessions.items() if one.expires > now}


class SignInBrake:
    """At most `most` wrong tokens within `window_s` seconds from one address, and ten times that from all.

    Parameters
    ----------
    most : int
    window_s : float
        [s]
    """

    def __init__(self, most: int = 10, window_s: float = 60.0) -> None:
        self._most, self._window_s = most, window_s
        self._wrong: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Let an attempt pass.

        Raises
        ------
        TooManyAttempts
            When the address, or all together, have failed too often.
        """
        with self._lock:
            while self._wrong and self._wrong[0][0] < time.monotonic() - self._window_s:
                self._wrong.popleft()
            mine = sum(1 for _, one in self._wrong if one == address)
            if mine >= self._most or len(self._wrong) >= 10 * self._most:
                raise TooManyAttempts

    def wrong(self, address: str) -> None:
        """Count a wrong token."""
        with self._lock:
            self._wrong.append((time.monotonic(), address))
