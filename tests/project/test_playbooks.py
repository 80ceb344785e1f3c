"""Every playbook has its page and its alerts, and every alert of a platform its playbook and the page of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from opslib.intake import routes
from opslib.runs import catalogue, pages
from opslib.settings import PROJECT, Settings

SETTINGS = Settings(params=PROJECT / "params", notebooks=PROJECT / "notebooks")
FILES = sorted((PROJECT / pages.RULES).glob("**/*.rules.y*ml"))
RULES = {
    f"{path.relative_to(PROJECT / pages.RULES)}:{rule['alert']}": rule
    for path in FILES
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
ALERTS = {name: rule for name, rule in RULES.items() if not name.startswith("runbooks.rules.yaml:")}


def test_the_pages_are_those_that_are_printed() -> None:
    folder = PROJECT / pages.FOLDER
    written = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    made = pages.pages(SETTINGS)
    assert set(written) == set(made), "run: python -m opslib.runs.pages"
    for name, text in made.items():
        assert written[name] == text, f"{name}: run: python -m opslib.runs.pages"


@pytest.mark.parametrize("name", catalogue.runbooks(SETTINGS))
def test_a_page_tells_all_that_its_notebook_declares(name: str) -> None:
    runbook = catalogue.find(SETTINGS, name)
    text = pages.pages(SETTINGS)[f"{name}.md"]
    assert text.startswith(f"# {runbook.title} ({runbook.id})\n")
    told = [f"| `{one.name}` | `{one.type}` |" for one in runbook.parameters]
    told += [f"`{one}`" for one in (*runbook.reads, *runbook.proposes)]
    assert [one for one in told if one not in text] == []
    headings = {heading for heading in catalogue.headings(runbook.path).values() if heading.endswith("?")}
    assert headings
    assert [one for one in headings if f"# {one}\n" not in text] == []
    if name != routes.TRIAGE:
        assert "\n## Causes\n" in text
        assert all(f"`{trigger}`" in text.partition("\n## Alerts\n")[2] for trigger in runbook.triggers)


def test_a_page_shows_the_causes_with_their_fix() -> None:
    text = pages.pages(SETTINGS)["postgres-down.md"]
    from opslib.diagnosis import postgres_down

    for cause in postgres_down.CAUSES:
        assert f"| `{cause.key}` | {cause.question} | {cause.fix} |" in text


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_starts_a_playbook_of_its_own_and_names_its_page(rule: dict[str, Any]) -> None:
    ways, there = routes.load(SETTINGS), catalogue.runbooks(SETTINGS)
    labels = {**rule["labels"], "alertname": rule["alert"]}
    taken = ways.route(labels)
    assert taken.platform == labels["platform"], taken.why
    assert taken.runbook in there
    assert taken.runbook != ways.default.runbook, taken.why
    assert rule["alert"] in there[taken.runbook].triggers
    assert taken.platform in there[taken.runbook].platforms
    assert rule["annotations"]["runbook_url"] == f"docs/playbooks/{taken.runbook}.md"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_an_alert_names_is_there(rule: dict[str, Any]) -> None:
    assert (PROJECT / rule["annotations"]["runbook_url"].partition("#")[0]).is_file()


@pytest.mark.parametrize("folder", ["", "sandbox/"])
def test_every_playbook_but_triage_has_an_alert(folder: str) -> None:
    ways = routes.load(SETTINGS)
    own = [rule for name, rule in ALERTS.items() if name.rpartition("/")[0] == folder.rstrip("/")]
    started = {ways.route({**rule["labels"], "alertname": rule["alert"]}).runbook for rule in own}
    assert started == set(catalogue.runbooks(SETTINGS)) - {routes.TRIAGE}
