"""Answers as JSON: dates as RFC 3339, no NaN."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response

from opslib.canonical import plain


class Json(Response):
    """One JSON document of whatever the store returned."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The document, in UTF-8."""
        return json.dumps(plain(content), ensure_ascii=False).encode()
