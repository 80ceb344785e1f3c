"""The catalogue: which notebooks are runbooks, and what is said of those that are not."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from opslib.errors import ConfigurationError, UnknownRunbook
from opslib.runs import catalogue
from opslib.settings import Settings
from tests.runs.conftest import write_runbook

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def test_runbooks_are_read_from_their_notebooks(offline: Settings) -> None:
    found = catalogue.runbooks(offline)
    assert list(found) == ["breach", "dies", "exits", "healthy", "raises", "sleeps"]
    assert found["breach"].parameters[2].unit == "pieces"
    schema = json.loads((SCHEMAS / "catalogue.json").read_text())
    jsonschema.validate({"runbooks": [one.document() for one in found.values()]}, schema)


def test_every_mistake_of_every_notebook_is_named(offline: Settings) -> None:
    folder = offline.notebooks / "alerts"
    (folder / "broken.ipynb").write_text("{")
    write_runbook(folder / "wrong.ipynb", kind="thing", colour="red")
    write_runbook(folder / "Loud.ipynb")
    with pytest.raises(ConfigurationError, match="notebooks that are not runbooks") as caught:
        catalogue.runbooks(offline)
    told = str(caught.value)
    for part in (
        "alerts/broken.ipynb: cannot be read as a notebook",
        "alerts/wrong.ipynb: metadata.runbook.kind: Input should be",
        "alerts/wrong.ipynb: metadata.runbook.colour: Extra inputs are not permitted",
        "alerts/Loud.ipynb: the file's name must be of small letters",
    ):
        assert part in told
    assert catalogue.find(offline, "healthy").title == "Test"


@pytest.mark.parametrize("name", ["../healthy", "healthy.ipynb", "alerts/healthy", "", "{}", "/etc/passwd", "a" * 5000])
def test_name_that_is_none_is_refused(offline: Settings, name: str) -> None:
    with pytest.raises(UnknownRunbook, match="there is no runbook"):
        catalogue.find(offline, name)


def test_near_names_are_offered(offline: Settings) -> None:
    with pytest.raises(UnknownRunbook, match="perhaps healthy"):
        catalogue.find(offline, "helthy")
