"""The Merkle tree of the log, hashed as RFC 6962 section 2.1 says.

References
----------
B. Laurie, A. Langley, E. Kasper: Certificate Transparency. RFC 6962, 2013, section 2.1. doi:10.17487/RFC6962
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256 of a zero byte and the leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of a one byte and both children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over leaves that are hashed already; SHA-256 of nothing where there are none.

    Complete subtrees are joined as they fill, so that memory grows with the logarithm of the leaves.
    """
    complete: list[tuple[int, bytes]] = []  # (size, hash), sizes falling
    for digest in leaf_hashes:
        size = 1
        while complete and complete[-1][0] == size:
            digest = node_hash(complete.pop()[1], digest)
            size *= 2
        complete.append((size, digest))
    if not complete:
        return hashlib.sha256(b"").digest()
    result = complete.pop()[1]
    while complete:
        result = node_hash(complete.pop()[1], result)
    return result
