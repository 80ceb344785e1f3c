"""How one part asks another through Redis: a list of questions, a list of answers, both as JSON.

Neither list has a lifetime: a store whose memory is full evicts what has the shortest one first.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import redis

from sandbox.errors import SandboxError

__all__ = ["ANSWERS", "QUESTIONS", "Asker", "NoAnswer", "answer_one"]

QUESTIONS = "risk.questions"
ANSWERS = "risk.answers"
_KEPT = 8  # answers that nobody fetched
_CONNECT_S = 1.0

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class NoAnswer(SandboxError):
    """Another part of the platform does not answer. `runbook sandbox heal --platform crypto` puts it back."""


class Asker:
    """The asking side. It has one question under way at a time.

    Parameters
    ----------
    address : callable
        Where the store is at this moment, with the full identity.
    name : str
        As `CLIENT LIST` shows the connection.
    """

    def __init__(self, address: Callable[[], str], name: str) -> None:
        self._address, self._name = address, name
        self._at = ""
        self._client: redis.Redis | None = None

    def __call__(self, question: dict[str, Any], within_s: float) -> dict[str, Any]:
        """Ask, and wait for the answer at most so long [s].

        Raises
        ------
        NoAnswer
            The store is away, nobody answers in time, or the question was refused.
        """
        mark = secrets.token_hex(8)
        text = json.dumps({"mark": mark, **question})
        deadline = time.monotonic() + within_s
        try:
            client = self._connected(within_s)
            client.rpush(QUESTIONS, text)
            while (left := deadline - time.monotonic()) > 0.0:
                found = client.blpop([ANSWERS], timeout=left)
                answer = json.loads(found[1]) if found else {}
                if answer.get("mark") == mark:
                    if "refused" in answer:
                        raise NoAnswer(f"a question was refused: {answer['refused']}")
                    return dict(answer)
            client.lrem(QUESTIONS, 1, text)
        except (redis.RedisError, ValueError) as problem:
            self.close()
            raise NoAnswer(f"the store does not take questions ({problem})") from problem
        raise NoAnswer(f"no answer within {within_s:g} s")

    def close(self) -> None:
        """Hang up; the next question connects again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self, within_s: float) -> redis.Redis:
        at = self._address()
        if self._client is None or at != self._at:
            self.close()
            self._at = at
            self._client = redis.Redis.from_url(
                at,
                decode_responses=True,
                socket_connect_timeout=_CONNECT_S,
                socket_timeout=within_s + _CONNECT_S,
                client_name=self._name,
            )
        return self._client


def answer_one(client: redis.Redis, answer: Answer, within_s: float) -> bool:
    """Answer the next question; False where none came within so long [s].

    Raises
    ------
    redis.RedisError
    """
    found = client.blpop([QUESTIONS], timeout=within_s)
    if not found:
        return False
    mark = None
    try:
        question = json.loads(found[1])
        mark = question.pop("mark")
        told = answer(question)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        told = {"refused": f"{type(problem).__name__}: {problem}"[:500]}
    with client.pipeline(transaction=True) as batch:
        batch.rpush(ANSWERS, json.dumps({**told, "mark": mark}))
        batch.ltrim(ANSWERS, -_KEPT, -1)
        batch.execute()
    return True
