"""Pictures without what is written beside them: comments, camera and program data, and anything behind their end.

PNG and JPEG keep what is needed to draw them, and nothing else. A picture of another kind, or one that cannot be read,
is shown only where its bytes hold no secret.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

_PNG = b"\x89PNG\r\n\x1a\n"
_DRAWN = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT", b"bKGD"})
_LARGEST_TEXT = 2**20


def cleaned(kind: str, data: str, redact: Callable[[Any], Any]) -> str | None:
    """A picture as a notebook holds it (base64), without metadata; None where it must not be shown.

    Parameters
    ----------
    kind : str
        Its media type: `image/png`, `image/jpeg`, ...
    data : str
    redact : callable
        Is given what is left out, so that the secrets in it are counted.
    """
    try:
        raw = base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        return None
    try:
        if kind == "image/png":
            kept = _png(raw, redact)
        elif kind in ("image/jpeg", "image/jpg"):
            kept = _jpeg(raw, redact)
        else:
            kept = raw
    except (ValueError, struct.error, IndexError):
        return None
    if kept is raw and redact(raw) != raw:
        return None
    return data if kept == raw else base64.b64encode(kept).decode("ascii")


def _png(raw: bytes, redact: Callable[[Any], Any]) -> bytes:
    """The chunks that draw it."""
    if not raw.startswith(_PNG):
        raise ValueError("no PNG")
    kept = [_PNG]
    for kind, content, whole in _chunks(raw):
        if kind in _DRAWN:
            kept.append(whole)
        else:
            redact(_text(kind, content))
        if kind == b"IEND":
            break
    return b"".join(kept)


def _chunks(raw: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    at = len(_PNG)
    while at < len(raw):
        (length,) = struct.unpack_from(">I", raw, at)
        end = at + 12 + length
        if end > len(raw):
            raise ValueError("cut short")
        yield raw[at + 4 : at + 8], raw[at + 8 : end - 4], raw[at:end]
        at = end


def _text(kind: bytes, content: bytes) -> bytes:
    """What a chunk says, unpacked where it is packed."""
    name, _, rest = content.partition(b"\0")
    packed = rest[1:] if kind in (b"zTXt", b"iCCP") else b""
    if kind == b"iTXt" and rest[:1] == b"\x01":
        packed = rest[2:].split(b"\0", 2)[-1]
    if packed:
        try:
            return name + b" " + zlib.decompressobj().decompress(packed, _LARGEST_TEXT)
        except zlib.error:
            return content
    return content.replace(b"\0", b" ")


def _jpeg(raw: bytes, redact: Callable[[Any], Any]) -> bytes:
    """The segments that draw it; of those of applications, JFIF's and Adobe's colours alone."""
    if not raw.startswith(b"\xff\xd8"):
        raise ValueError("no JPEG")
    kept, at = [b"\xff\xd8"], 2
    while at < len(raw):
        if raw[at] != 0xFF:
            raise ValueError("no marker")
        marker = raw[at + 1]
        if marker == 0xDA:  # the picture itself, up to its end
            end = raw.rfind(b"\xff\xd9")
            stop = end + 2 if end > at else len(raw)
            kept.append(raw[at:stop])
            redact(raw[stop:])
            break
        (length,) = struct.unpack_from(">H", raw, at + 2)
        segment = raw[at : at + 2 + length]
        colours = (marker == 0xE0 and segment[4:8] == b"JFIF") or (marker == 0xEE and segment[4:9] == b"Adobe")
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            if colours and len(segment) <= 20:
                kept.append(segment)
            else:
                redact(segment)
        else:
            kept.append(segment)
        at += 2 + length
    return b"".join(kept)
