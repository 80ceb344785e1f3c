"""The API server, asked from inside the cluster's namespaces with nothing but the standard library."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Api", "ApiRefused"]

_TIMEOUT_S = 10.0
_AT_MOST = 64 * 1024 * 1024


class ApiRefused(Exception):
    """The API server, or a kubelet, answered with an error or not at all."""


@dataclass(frozen=True)
class Api:
    """A client with one identity.

    Attributes
    ----------
    server : str
        Its address; a path alone is asked there, a whole address elsewhere.
    tls : SSLContext
        Trusts the cluster's authority alone, and shows the identity's certificate.
    """

    server: str
    tls: ssl.SSLContext

    @classmethod
    def as_(cls, name: str, keys: Path, server: str) -> Api:
        """Be the identity whose certificate is `NAME.crt` in the folder `keys`."""
        tls = ssl.create_default_context(cafile=keys / "ca.crt")
        tls.load_cert_chain(keys / f"{name}.crt", keys / f"{name}.key")
        return cls(server, tls)

    def text(self, path: str, method: str = "GET", body: bytes | None = None, kind: str = "application/json") -> str:
        """Send a request and return the answer's text.

        Raises
        ------
        ApiRefused
            With what it answered.
        """
        address = path if path.startswith("https://") else self.server + path
        request = urllib.request.Request(address, body, {"Content-Type": kind}, method=method)  # noqa: S310 - ours
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls)
        )
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                return str(answer.read(_AT_MOST).decode("utf-8", errors="replace"))
        except urllib.error.HTTPError as problem:
            raise ApiRefused(
                f"{method} {path}: {problem.code} {problem.read(2000).decode(errors='replace')}"
            ) from problem
        except OSError as problem:
            raise ApiRefused(f"{method} {path}: {problem}") from problem

    def get(self, path: str) -> Any:
        """Read one document."""
        return json.loads(self.text(path))

    def create(self, path: str, document: dict[str, Any]) -> None:
        """Create one document in the collection at `path`."""
        self.text(path, "POST", json.dumps(document).encode())

    def patch(self, path: str, changes: list[dict[str, Any]]) -> None:
        """Change a document by JSON patch."""
        self.text(path, "PATCH", json.dumps(changes).encode(), "application/json-patch+json")
