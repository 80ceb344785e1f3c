"""Certificates by a real handshake with a real server, and those in files."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target
from opslib.probes.calls_files import Certificates

NOW = dt.datetime.now(dt.UTC)


def issue(folder: Path, name: str, days: float, *, began: float = 90) -> Path:
    """A certificate for localhost, signed by itself, valid for so many days more; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.DNSName("*.desk.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=began))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@contextmanager
def serving(path: Path, *, postgres: bool = False) -> Iterator[int]:
    """A server that presents a certificate, after PostgreSQL's question where asked for; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with connection:
                    if postgres and len(connection.recv(8)) == 8:
                        connection.sendall(b"S")
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(1)
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_served_certificate_is_told_whole(tmp_path: Path) -> None:
    with serving(issue(tmp_path, "web", 20)) as port:
        seen = probes.call("certificates.served", Target("api", f"https://localhost:{port}"), {})
    assert seen["subject"] == seen["issuer"] == "CN=web"
    assert 19.9 < seen["days_left"] <= 20
    assert (seen["expired"], seen["self_signed"], seen["matches_name"], seen["trusted"]) == (False, True, True, False)
    assert "self-signed" in seen["problem"] or "self signed" in seen["problem"]
    assert seen["names"] == ["localhost", "*.desk.test", "127.0.0.1"]
    assert seen["chain"][0]["fingerprint"] == seen["fingerprint"]
    assert seen["protocol"].startswith("TLS")


def test_an_expired_certificate_is_an_answer_too(tmp_path: Path) -> None:
    with serving(issue(tmp_path, "old", -1)) as port:
        target = Target("api", f"https://127.0.0.1:{port}")
        seen = probes.call("certificates.served", target, {"host": "api.desk.test"})
        assert (seen["expired"], seen["matches_name"]) == (True, True)
        assert probes.call("certificates.served", target, {"host": "a.b.desk.test"})["matches_name"] is False


def test_postgresql_is_asked_in_its_own_way(tmp_path: Path) -> None:
    with serving(issue(tmp_path, "db", 5), postgres=True) as port:
        seen = probes.call("certificates.served", Target("postgres", f"postgresql://u:p@localhost:{port}/x"), {})
    assert seen["subject"] == "CN=db"


class Asks:
    """What stands for `ops`: probes called straight, on two targets."""

    def __init__(self, targets: dict[str, Target]) -> None:
        self._targets = targets

    def probe(self, name: str, /, **arguments: object) -> object:
        from opslib.probes.calls import seen

        return seen(probes.call(name, self._targets[str(arguments["system"])], arguments), name)


def test_renewed_on_the_disk_and_not_reloaded_is_told(tmp_path: Path) -> None:
    old, new = issue(tmp_path, "before", 3), issue(tmp_path, "after", 90, began=0.5)
    with serving(old) as port:
        ask = Certificates(
            Asks({"api": Target("api", f"https://localhost:{port}"), "files": Target("files", tmp_path.as_uri())})
        )
        seen = ask.compared("after.pem")
        same = ask.compared("before.pem")
    assert (seen["same"], seen["not_reloaded"]) == (False, True)
    assert (same["same"], same["not_reloaded"]) == (True, False)
    assert seen["on_disk"]["subject"] == "CN=after"
    assert new.exists()


def test_what_cannot_be_seen_is_said(tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeError, match="connection refused"):
        probes.call("certificates.served", Target("api", f"https://127.0.0.1:{free_port}"), {})
    monkeypatch.setattr("opslib.probes.certificates.READ_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target("api", f"https://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ProbeError, match=r"no handshake within 0\.2 s"):
            probes.call("certificates.served", target, {})
    (tmp_path / "empty.pem").write_text("nothing here", "utf-8")
    files = Target("files", tmp_path.as_uri())
    with pytest.raises(ProbeError, match=r"empty\.pem holds no certificate"):
        probes.call("certificates.file", files, {"path": "empty.pem", "system": "files"})


def test_a_server_without_tls_is_told(api: Target) -> None:
    with pytest.raises(ProbeError, match=r"speaks no TLS|no handshake"):
        probes.call("certificates.served", api, {})
