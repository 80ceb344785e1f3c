"""Certificates: the one that a server really serves, by a handshake of our own, and those in a file."""

from __future__ import annotations

import datetime as dt
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opslib.probes import files
from opslib.probes.registry import CONNECT_S, READ_S, Target, probe

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_PORTS = {"https": 443, "rediss": 6379, "postgresql": 5432, "postgres": 5432, "http": 443, "redis": 6379}
_ASK_POSTGRES = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@probe("certificates.served")
def served(target: Target, system: str = "api", host: str | None = None, port: int | None = None) -> dict[str, Any]:
    """The certificate that a system serves, found by a real handshake that accepts any, then judged.

    Parameters
    ----------
    target : Target
    system : str
        The endpoint whose host and port are asked.
    host : str, optional
        The name asked for and checked; the endpoint's own where left out. The connection goes to the endpoint.
    port : int, optional
        Another port of the endpoint's host.

    Returns
    -------
    dict
        `subject`, `issuer`, `names`, `not_before`, `not_after` (UTC), `days_left` [days], `expired`, `self_signed`,
        `matches_name`, `trusted` and `problem`, `fingerprint` (SHA-256), `serial`, `protocol`, `took_ms` [ms], `chain`.
    """
    del system  # chose the target
    parts = urlsplit(target.url)
    name = host or parts.hostname or ""
    where = (parts.hostname or "", port or parts.port or _PORTS.get(parts.scheme, 443))
    start = time.perf_counter()
    chain, protocol = _handshake(target, where, name, parts.scheme, _accepting())
    took_ms = round((time.perf_counter() - start) * 1000, 1)
    try:
        _handshake(target, where, name, parts.scheme, ssl.create_default_context(), judge=True)
        problem = None
    except ssl.SSLCertVerificationError as error:
        problem = error.verify_message
    except ssl.SSLError as error:
        problem = str(error.reason or error)
    told = _told(chain[0], name)
    return {
        "host": name,
        "port": where[1],
        **told,
        "trusted": problem is None,
        "problem": problem,
        "protocol": protocol,
        "took_ms": took_ms,
        "chain": [_told(one) for one in chain],
    }


@probe("certificates.file")
def file(target: Target, path: str, system: str = "files") -> dict[str, Any]:
    """The certificates in a PEM file below the platform's folder: the first one's facts, and all as `chain`."""
    from cryptography import x509

    del system
    data = files.whole(target, path)
    try:
        chain = [x509.load_pem_x509_certificate(found) for found in _PEM.findall(data)]
    except ValueError as error:
        raise target.error(f"{path} holds a certificate that cannot be read ({error})") from error
    if not chain:
        raise target.error(f"{path} holds no certificate")
    changed = files.stat_(target, path)
    return {
        "path": path,
        **_told(chain[0]),
        "changed_at": changed["changed_at"],
        "chain": [_told(one) for one in chain],
    }


def _accepting() -> ssl.SSLContext:
    """A context that takes any certificate, also an expired one: it is looked at, never relied on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _handshake(
    target: Target, where: tuple[str, int], name: str, scheme: str, context: ssl.SSLContext, judge: bool = False
) -> tuple[list[Certificate], str]:
    """The chain that is served, leaf first, and the protocol; where `judge`, what is wrong with it is raised."""
    try:
        with socket.create_connection(where, timeout=CONNECT_S) as plain:
            plain.settimeout(READ_S)
            if scheme.startswith("postgres"):
                plain.sendall(_ASK_POSTGRES)
                if plain.recv(1) != b"S":
                    raise target.error("it speaks no TLS")
            with context.wrap_socket(plain, server_hostname=name or None) as secure:
                return _chain(secure), secure.version() or ""
    except TimeoutError as error:
        raise target.error(f"no handshake within {READ_S:g} s") from error
    except ssl.SSLError as error:
        if judge:
            raise
        raise target.error(f"it speaks no TLS that we understand ({error.reason or error})") from error
    except ConnectionRefusedError as error:
        raise target.error("connection refused") from error
    except OSError as error:
        raise target.error(f"no handshake: {error.strerror or error}") from error


def _chain(secure: ssl.SSLSocket) -> list[Certificate]:
    """What the server sent, leaf first; the leaf alone where this Python tells no more."""
    from cryptography import x509

    inner: Any = getattr(secure, "_sslobj", None)
    ask = getattr(inner, "get_unverified_chain", None)
    sent = [one.public_bytes(2) for one in ask() or ()] if ask is not None else []  # 2: DER
    leaf = secure.getpeercert(binary_form=True)
    return [x509.load_der_x509_certificate(data) for data in (sent or ([leaf] if leaf else []))]


def _told(certificate: Certificate, host: str | None = None) -> dict[str, Any]:
    """A certificate in words and times."""
    from cryptography.hazmat.primitives.hashes import SHA256

    until = certificate.not_valid_after_utc
    left = until - dt.datetime.now(dt.UTC)
    names = _names(certificate)
    told = {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "names": names,
        "not_before": certificate.not_valid_before_utc,
        "not_after": until,
        "days_left": round(left.total_seconds() / 86400, 3),
        "expired": left.total_seconds() <= 0,
        "self_signed": certificate.subject == certificate.issuer,
        "serial": f"{certificate.serial_number:x}",
        "fingerprint": certificate.fingerprint(SHA256()).hex(),
    }
    return told if host is None else {**told, "matches_name": any(_matches(name, host) for name in names)}


def _names(certificate: Certificate) -> list[str]:
    """The names that a certificate is for (subject alternative names)."""
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    found = extension.value
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _matches(name: str, host: str) -> bool:
    """Whether a name of a certificate covers a host; a star stands for one label."""
    if name.startswith("*."):
        return host.partition(".")[2].lower() == name[2:].lower()
    return name.lower() == host.lower()
