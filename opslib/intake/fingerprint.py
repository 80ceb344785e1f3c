"""The identity of an alert: its fingerprint as Prometheus computes it, and the key of its episodes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from opslib.canonical import canonical, digest

_OFFSET = 14695981039346656037
_PRIME = 1099511628211
_MASK = 2**64 - 1
_SANE = re.compile(r"[0-9a-f]{16}")


def fingerprint(labels: Mapping[str, str]) -> str:
    """The fingerprint of a label set: 16 hexadecimal digits.

    FNV-1a, 64 bit, over each name and value in the order of the names, each followed by a byte 255.

    References
    ----------
    Prometheus, `model/signature.go`: `labelSetToFingerprint`.
    """
    total = _OFFSET
    for name in sorted(labels, key=lambda name: name.encode("utf-8", "replace")):
        for part in (name, labels[name]):
            for byte in part.encode("utf-8", "replace"):
                total = ((total ^ byte) * _PRIME) & _MASK
            total = ((total ^ 255) * _PRIME) & _MASK
    return f"{total:016x}"


def identity(labels: Mapping[str, str], given: object = None) -> tuple[str, str]:
    """Fingerprint and episode key of a label set.

    Parameters
    ----------
    labels : Mapping
        All labels, uncut.
    given : object
        The fingerprint that came with the alert; used where it is one.

    Returns
    -------
    tuple of str
        The fingerprint, and the SHA-256 over fingerprint and labels. Both enter the key, so that neither a
        sender that makes up fingerprints nor two label sets with one fingerprint confuse two alerts.
    """
    own = given if isinstance(given, str) and _SANE.fullmatch(given) else fingerprint(labels)
    return own, digest(own.encode() + b"\n" + canonical(dict(labels)))
