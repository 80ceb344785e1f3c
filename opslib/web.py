"""HTTP as this project speaks it: past any proxy of the environment, with the trusted authorities read only once."""

from __future__ import annotations

import functools
import ssl
from typing import Any

import httpx

__all__ = ["authorities", "client", "delete", "get", "post", "put", "request"]


@functools.cache
def authorities() -> ssl.SSLContext:
    """The certificate authorities that are trusted; read once in a process, since that takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)


def client(**how: Any) -> httpx.Client:
    """A client that keeps its connections; `how` as `httpx.Client` takes it."""
    return httpx.Client(**{"verify": authorities(), "trust_env": False, **how})


def request(method: str, url: str, **how: Any) -> httpx.Response:
    """One request; `how` as `httpx.request` takes it.

    Raises
    ------
    httpx.HTTPError
        When there is no answer.
    """
    return httpx.request(method, url, **{"verify": authorities(), "trust_env": False, **how})


delete, get = functools.partial(request, "DELETE"), functools.partial(request, "GET")
post, put = functools.partial(request, "POST"), functools.partial(request, "PUT")
