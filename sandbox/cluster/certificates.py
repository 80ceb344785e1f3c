"""The certificates of a cluster: one authority of its own, one certificate an identity, kubeconfigs made of them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "kubeconfig", "private", "service_account_keys"]

_DAYS = 365.0
_USAGES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]

_SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Authority:
    """A certificate authority and the folder in which its certificates lie.

    Attributes
    ----------
    folder : Path
        Holds `ca.crt`, and `NAME.crt` and `NAME.key` for everyone it vouches for; its own key is in memory alone.
    certificate : Certificate
    key : EllipticCurvePrivateKey
    """

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Make a new authority in an empty folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("sandbox-authority")
        certificate = (
            _builder(name, name, key.public_key(), _DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        made = cls(folder, certificate, key)
        private(folder / "ca.crt", made.pem)
        return made

    @property
    def pem(self) -> bytes:
        """Its own certificate, as `ca.crt` holds it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, name: str, common: str, group: str | None = None, hosts: Sequence[str] = (), days: float = _DAYS
    ) -> None:
        """Write `NAME.crt` and `NAME.key`.

        Parameters
        ----------
        name : str
            Of the two files.
        common, group : str
            User and group as Kubernetes reads them: common name and organisation.
        hosts : sequence of str
            Addresses and names that the certificate is good for as a server.
        days : float
            How long it is valid from now on [days].
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(common, group), self.certificate.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        private(self.folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        private(self.folder / f"{name}.key", _pem(key))


def service_account_keys(folder: Path) -> None:
    """Write `sa.key` and `sa.pub`, with which tokens of service accounts are signed and read."""
    key = ec.generate_private_key(ec.SECP256R1())
    private(folder / "sa.key", _pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private(folder / "sa.pub", public)


def kubeconfig(
    path: Path, cluster: dict[str, Any], user: dict[str, Any], context: str, namespace: str = "default"
) -> None:
    """Write a kubeconfig of one cluster, one user and one context, readable by the owner alone.

    Parameters
    ----------
    path : Path
    cluster : dict
        As in a kubeconfig's `cluster`: where the API server is, and its authority.
    user : dict
        As in a kubeconfig's `user`: a token, or certificate and key.
    context : str
        Name of the context, the cluster and the user.
    namespace : str
        What the context means where none is named.
    """
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": namespace}}],
        "current-context": context,
    }
    private(path, yaml.safe_dump(document, sort_keys=False).encode())


def private(path: Path, content: bytes) -> None:
    """Write a file atomically, readable by the owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(content)
    temporary.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _name(common: str, group: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if group is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
