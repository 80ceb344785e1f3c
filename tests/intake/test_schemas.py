"""The published schemas are those of the code, and the documents keep to them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from opslib.canonical import plain
from opslib.incidents import list_
from opslib.intake.routes import RoutesFile
from opslib.platforms import PlatformFile
from opslib.settings import PROJECT, Settings
from opslib.store import transaction
from tests.intake.bodies import NOON, alert, ledger, send


def published(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((PROJECT / "docs" / "schemas" / f"{name}.json").read_text("utf-8"))
    return document


@pytest.mark.parametrize(("name", "model"), [("routes", RoutesFile), ("platform", PlatformFile)])
def test_schemas_of_the_files_are_those_of_the_models(name: str, model: Any) -> None:
    assert {key: value for key, value in published(name).items() if key != "$schema"} == model.model_json_schema()


def test_documents_keep_to_their_schemas(settings: Settings) -> None:
    send(settings, alert(), {"labels": {}}, alert("gone", ends=NOON))
    with transaction(settings) as connection:
        shown = plain({"incidents": list_(connection)})
    book = plain(ledger(settings))
    jsonschema.validate(shown, published("incidents"))
    jsonschema.validate(book, published("alerts"))
    assert len(shown["incidents"]) == 2
    told = {(one["fingerprint"], one["starts_at"]) for row in shown["incidents"] for one in row["alerts"]}
    assert told <= {(one["fingerprint"], one["starts_at"]) for one in book["alerts"]}
