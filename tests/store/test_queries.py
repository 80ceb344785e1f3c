"""The SQL in files: what explains a block is for its readers, and reaches no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from opslib import sql
from opslib.sql import blocks, queries

FILES = sorted(path.stem for path in Path(sql.__file__).parent.glob("*.sql"))


@pytest.mark.parametrize("name", FILES)
def test_no_block_keeps_its_comment(name: str) -> None:
    for block, text in vars(queries(name)).items():
        assert text, block
        assert "--" not in text, block


def test_only_the_comment_at_the_beginning_is_taken_away() -> None:
    text = "-- About the file.\n\n-- name: one\n-- Why.\n-- And why not.\nSELECT 1 -- here\n-- name: two\nSELECT '--'\n"
    assert vars(blocks(text, "x.sql")) == {"one": "SELECT 1 -- here", "two": "SELECT '--'"}
    with pytest.raises(ValueError, match=r"x\.sql names a block twice"):
        blocks("-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n", "x.sql")
