"""The console in a real browser: sign in, open the incident, see it change by itself, approve."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from opslib import store
from opslib.record import journal
from tests.chromium import chromium, complaints, eventually, needed, press, says

pytestmark = [pytest.mark.slow, needed]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    with chromium(tmp_path / "profile", height=800) as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots are kept: the folder named in `PICTURES`, else the test's own."""
    folder = Path(os.environ.get("PICTURES", tmp_path / "pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sign_in(browser: WebDriver, desk: Any, name: str) -> None:
    """Sign in by hand."""
    browser.get(desk.url)
    browser.find_element(By.ID, "token").send_keys(desk.tokens[name])
    browser.find_element(By.CSS_SELECTOR, "main button").click()
    says(browser, name, ".who")


def test_person_signs_in_reads_and_approves(browser: WebDriver, desk: Any, scene: Any, pictures: Path) -> None:
    browser.get(desk.url)
    browser.save_screenshot(str(pictures / "console-sign-in.png"))
    sign_in(browser, desk, "lena")
    browser.save_screenshot(str(pictures / "console-incidents.png"))
    browser.find_element(By.LINK_TEXT, scene.incident).click()
    says(browser, "BTC-USD alone carries the breach")
    says(browser, "live", "#link")
    browser.save_screenshot(str(pictures / "console-incident.png"))
    browser.switch_to.frame("notebook")
    assert "VaR breach (A11)" in browser.find_element(By.TAG_NAME, "body").text
    browser.switch_to.default_content()
    press(browser, "Approve only")
    says(browser, "is approved", ".notice")
    says(browser, "Approved by lena (L1)", "#part-plans")
    browser.save_screenshot(str(pictures / "console-approved.png"))
    with store.connect(desk.settings, role="reader") as connection:
        row = connection.execute("SELECT state FROM plans WHERE hash = %s", [scene.plan]).fetchone()
    assert row == {"state": "approved"}
    assert complaints(browser) == []


def test_page_changes_by_itself_and_keeps_what_is_typed(browser: WebDriver, desk: Any, scenes: Any, scene: Any) -> None:
    sign_in(browser, desk, "lena")
    browser.get(f"{desk.url}/incidents/{scene.incident}")
    says(browser, "live", "#link")
    browser.find_element(By.CSS_SELECTOR, "#fold-note summary").click()
    field = browser.find_element(By.CSS_SELECTOR, "#fold-note textarea")
    field.send_keys("half a sen")
    with store.transaction(desk.settings) as connection:
        journal.append(connection, scene.incident, "note", {"text": "from a colleague"}, actor="luis")
    says(browser, "from a colleague", "#part-timeline")
    field.send_keys("tence")
    assert field.get_attribute("value") == "half a sentence"
    scenes.write_notebook(scene.incident, ["# A newer cell"])
    eventually(lambda: _frame_says(browser, "A newer cell"), "the newer cell in the frame")
    assert complaints(browser) == []


def _frame_says(browser: WebDriver, text: str) -> bool:
    browser.switch_to.frame("notebook")
    try:
        return text in browser.find_element(By.TAG_NAME, "body").text
    finally:
        browser.switch_to.default_content()


def test_phone_needs_no_sideways_scrolling(browser: WebDriver, desk: Any, scene: Any, pictures: Path) -> None:
    sign_in(browser, desk, "lena")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    for path, name in (("/", "console-phone-list"), (f"/incidents/{scene.incident}", "console-phone-incident")):
        browser.get(desk.url + path)
        says(browser, "BTC-USD")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
        browser.save_screenshot(str(pictures / f"{name}.png"))


def test_nothing_runs_from_hostile_text(browser: WebDriver, desk: Any, scenes: Any) -> None:
    hostile = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    scene = scenes.make(title=hostile, labels={"alertname": hostile, hostile: hostile})
    scenes.write_notebook(scene.incident, [hostile])
    sign_in(browser, desk, "lena")
    browser.get(f"{desk.url}/incidents/{scene.incident}")
    says(browser, hostile, "h1")
    assert "owned" not in browser.title.split("·")[-1]
    assert browser.title.endswith("Runbooks")
    assert complaints(browser) == []
