"""Where the API server of a kubeconfig's context is, and as whom one asks it: for Prometheus and for httpx."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from sandbox.errors import CannotRun

__all__ = ["Identity"]

_FILES = {
    "ca_file": "certificate-authority",
    "cert_file": "client-certificate",
    "key_file": "client-key",
}
_PROGRAMS = ("exec", "auth-provider")  # of a user: something has to be run, or asked, for each token


@dataclass(frozen=True)
class Identity:
    """One context of a kubeconfig, read.

    Attributes
    ----------
    scheme, server, path : str
        The parts of the API server's address; `path` is what every path begins with.
    tls : dict
        The members of Prometheus' `tls_config`.
    token : Path or None
        File of the bearer token.
    """

    scheme: str
    server: str
    path: str
    tls: dict[str, Any]
    token: Path | None

    @classmethod
    def read(cls, kubeconfig: Path, context: str, folder: Path) -> Identity:
        """Read a context; what the kubeconfig holds itself is put into files of `folder`.

        Raises
        ------
        CannotRun
            The context is not there, or its user's token comes from a program.
        """
        document = yaml.safe_load(kubeconfig.read_bytes())
        chosen = _named(document, "contexts", context, kubeconfig)["context"]
        cluster = _named(document, "clusters", chosen["cluster"], kubeconfig)["cluster"]
        user = _named(document, "users", chosen["user"], kubeconfig)["user"] or {}
        for kind in _PROGRAMS:
            if kind in user:
                raise CannotRun(
                    f"the user {chosen['user']} of {kubeconfig} gets its tokens by {kind}, which Prometheus cannot: "
                    "give a context whose user has a client certificate, a token or a token file (for example that "
                    "of a service account), or start without Prometheus (--no-monitoring)"
                )
        tls: dict[str, Any] = {}
        for name, member in _FILES.items():
            part = cluster if name == "ca_file" else user
            if f"{member}-data" in part:
                tls[name] = str(_kept(folder / f"{name}.pem", base64.b64decode(part[f"{member}-data"])))
            elif member in part:
                tls[name] = str((kubeconfig.parent / part[member]).absolute())
        if cluster.get("tls-server-name"):
            tls["server_name"] = cluster["tls-server-name"]
        if cluster.get("insecure-skip-tls-verify"):
            tls["insecure_skip_verify"] = True
        token = None
        if "tokenFile" in user:
            token = (kubeconfig.parent / user["tokenFile"]).absolute()
        elif "token" in user:
            token = _kept(folder / "token", user["token"].encode())
        address = urlsplit(cluster["server"])
        return cls(address.scheme, address.netloc, address.path.rstrip("/"), tls, token)

    @property
    def scraped(self) -> dict[str, Any]:
        """The members of a scrape configuration that reach the API server."""
        found: dict[str, Any] = {"scheme": self.scheme}
        if self.tls:
            found["tls_config"] = self.tls
        if self.token is not None:
            found["authorization"] = {"credentials_file": str(self.token)}
        return found

    def client(self) -> httpx.Client:
        """A client of the API server; a token is read anew for each request, for it may be renewed."""
        base = f"{self.scheme}://{self.server}{self.path}"
        return httpx.Client(base_url=base, verify=self._trusted(), auth=self._signed, timeout=5.0, trust_env=False)

    def _trusted(self) -> ssl.SSLContext:
        trusted = ssl.create_default_context(cafile=self.tls.get("ca_file"))
        if "cert_file" in self.tls:
            trusted.load_cert_chain(self.tls["cert_file"], self.tls["key_file"])
        if self.tls.get("insecure_skip_verify"):
            trusted.check_hostname = False
            trusted.verify_mode = ssl.CERT_NONE
        return trusted

    def _signed(self, request: httpx.Request) -> httpx.Request:
        if self.token is not None:
            request.headers["authorization"] = f"Bearer {self.token.read_text('utf-8').strip()}"
        if "server_name" in self.tls:
            request.extensions = {**request.extensions, "sni_hostname": self.tls["server_name"]}
        return request


def _named(document: dict[str, Any], what: str, name: str, kubeconfig: Path) -> dict[str, Any]:
    for one in document.get(what) or []:
        if one["name"] == name:
            return dict(one)
    raise CannotRun(f"{kubeconfig} has no {name} among its {what}: see `kubectl config get-contexts`")


def _kept(path: Path, content: bytes) -> Path:
    """The file with that content, for the owner alone."""
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
