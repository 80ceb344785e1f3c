"""A headless Chromium for tests that look at pages as a person does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from opslib import web

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
WAIT_S = 90.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--hide-scrollbars",
)
needed = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Chromium is not installed: apt-get install chromium chromium-driver"
)


@contextmanager
def chromium(profile: Path, width: int = 1280, height: int = 900) -> Iterator[WebDriver]:
    """A browser with a profile of its own; its last page is kept beside the profile as `last.png`."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    browser.set_page_load_timeout(WAIT_S)
    try:
        yield browser
    finally:
        browser.save_screenshot(str(profile.with_name("last.png")))
        browser.quit()


def eventually(seen: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    """Ask again until there is an answer; a part of the page that is not there, or was just replaced, is none."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = seen()
        except (NoSuchElementException, StaleElementReferenceException):
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not seen in {timeout_s:.0f} s: {what}"
        time.sleep(0.2)


def text(browser: WebDriver, place: str = "body") -> str:
    """What a person reads in a part of the page."""
    return str(browser.find_element(By.CSS_SELECTOR, place).text)


def says(browser: WebDriver, words: str, place: str = "body") -> None:
    """Wait until a part of the page says something."""
    eventually(lambda: words in text(browser, place), f"{words!r} in {place}")


def press(browser: WebDriver, label: str) -> None:
    """Press the button of that label; found anew when the page has just replaced it."""

    def pressed() -> bool:
        found = [one for one in browser.find_elements(By.TAG_NAME, "button") if one.text == label]
        for button in found[:1]:
            button.click()
        return bool(found)

    eventually(pressed, f"the button {label}")


def complaints(browser: WebDriver) -> list[str]:
    """What the browser complains of: policy violations, scripts that failed."""
    return [str(entry["message"]) for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def choose(browser: WebDriver, menu: str, entry: str) -> None:
    """Choose from JupyterLab's menu."""
    bar = browser.find_elements(By.CSS_SELECTOR, ".lm-MenuBar-item")
    next(one for one in bar if one.text == menu).click()

    def there() -> Any:
        found = browser.find_elements(By.CSS_SELECTOR, ".lm-Menu-item .lm-Menu-itemLabel")
        return next((one for one in found if one.text == entry), None)

    eventually(there, f"{menu} > {entry}").click()


def kernel_waits(browser: WebDriver, address: str) -> bool:
    """Whether the one kernel of a JupyterLab is idle, and the page that is open is connected to it."""
    place = urlsplit(address)
    answer = web.get(f"http://{place.netloc}/api/kernels?{place.query}", timeout=10).json()
    there = [one for one in answer if one["execution_state"] == "idle" and one["connections"]]
    names = [one.text for one in browser.find_elements(By.CSS_SELECTOR, ".jp-Toolbar-kernelName")]
    idle = browser.find_elements(By.CSS_SELECTOR, '.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    return bool(there and idle and names and "No Kernel" not in names[0])
