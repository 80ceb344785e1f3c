"""The queue's own tables, as the pinned procrastinate ships them."""

from importlib.resources import files
from typing import Any

from yoyo import step


def _create(connection: Any) -> None:
    schema = files("procrastinate").joinpath("sql/schema.sql").read_text("utf-8")
    connection.cursor().execute(schema)


__depends__ = {"0001-initial"}
steps = [step(_create)]
