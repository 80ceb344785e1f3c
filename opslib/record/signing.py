"""Signatures: Ed25519, DSSE envelopes around in-toto statements, and signed checkpoints.

References
----------
DSSE: Dead Simple Signing Envelope, protocol 1.0.2 (https://github.com/secure-systems-lab/dsse).
in-toto Attestation Framework, Statement v1 (https://github.com/in-toto/attestation).
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from opslib.canonical import canonical, digest

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:runbooks:seal:v1"
_CHECKPOINT = b"runbook-checkpoint-v1\n"


class OtherKey(ValueError):
    """It is signed by another key."""

    def __init__(self) -> None:
        super().__init__("it is signed by another key")


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key: SHA-256 of its DER."""
    return digest(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def read_public(data: bytes) -> Ed25519PublicKey:
    """A public key out of PEM bytes, which must be spelt exactly as we spell them.

    Raises
    ------
    ValueError
        When they are no such key.
    """
    try:
        key = serialization.load_pem_public_key(data)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, Ed25519PublicKey) or public_pem(key) != data:
        raise ValueError("it is no Ed25519 key as the signer writes it")
    return key


def _framed(payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(statement: dict[str, Any], key: Ed25519PrivateKey) -> bytes:
    """The canonical bytes of a signed envelope around a statement."""
    payload = canonical(statement)
    return canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": key_id(key.public_key()), "sig": base64.b64encode(key.sign(_framed(payload))).decode()}
            ],
        }
    )


def open_envelope(data: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """The statement in an envelope, if every byte of it is as the key's owner signed it.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    document = strict_json(data)
    if set(document) != {"payload", "payloadType", "signatures"} or document["payloadType"] != PAYLOAD_TYPE:
        raise ValueError("it is no envelope of ours")
    try:
        [signature] = document["signatures"]
        payload, signed = _exact(document["payload"]), _exact(signature["sig"])
        name = signature["keyid"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError("its signature cannot be read") from error
    if set(signature) != {"keyid", "sig"} or name != key_id(key):
        raise OtherKey
    try:
        key.verify(signed, _framed(payload))
    except InvalidSignature:
        raise ValueError("its signature does not hold") from None
    return strict_json(payload)


def sign_checkpoint(facts: dict[str, Any], key: Ed25519PrivateKey) -> bytes:
    """The canonical bytes of a checkpoint: the facts, the key's name and the signature."""
    named = {**facts, "key": key_id(key.public_key())}
    signature = base64.b64encode(key.sign(_CHECKPOINT + canonical(named))).decode()
    return canonical({**named, "signature": signature})


def open_checkpoint(data: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """The facts of a checkpoint, if every byte of it is as the key's owner signed it.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    facts = strict_json(data)
    if set(facts) != {"size", "root", "at", "previous", "home", "key", "signature"}:
        raise ValueError("it is no checkpoint of ours")
    if facts["key"] != key_id(key):
        raise OtherKey
    signature = facts.pop("signature")
    try:
        key.verify(_exact(signature), _CHECKPOINT + canonical(facts))
    except (InvalidSignature, TypeError, ValueError):
        raise ValueError("its signature does not hold") from None
    home, before = facts["home"], facts["previous"]
    if not (isinstance(home, dict) and _is_size(facts) and (before is None or _is_size(before))):
        raise ValueError("it is no checkpoint of ours")
    return facts


def _is_size(told: Any) -> bool:
    """Whether it says how large a log is, and its root."""
    named = isinstance(told, dict) and {"size", "root"} <= set(told) and isinstance(told["root"], str)
    return named and isinstance(told["size"], int) and told["size"] >= 0


def strict_json(data: bytes) -> dict[str, Any]:
    """A JSON object spelt canonically.

    Raises
    ------
    ValueError
        When it is none, or spelt otherwise.
    """
    try:
        document = json.loads(data)
        same = isinstance(document, dict) and canonical(document) == data
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    if not same:
        raise ValueError("it is not spelt canonically")
    found: dict[str, Any] = document
    return found


def _exact(text: str) -> bytes:
    """The bytes of a base64 text that has exactly one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError("it is no base64") from error
    if base64.b64encode(data).decode() != text:
        raise ValueError("it is no canonical base64")
    return data


def read_private(path: Path) -> Ed25519PrivateKey:
    """The signer's private key.

    Raises
    ------
    ValueError
        When the file holds none.
    """
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 key")
    return key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """A private key as PEM; it protects itself by the file's permissions alone."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
