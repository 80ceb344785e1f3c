"""What a person sees: the console from sign-in to the sealed record, and the same playbook in JupyterLab."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from opslib import web
from tests.acceptance.conftest import RUNBOOK, Installation, firing, free_port
from tests.chromium import choose, chromium, complaints, eventually, kernel_waits, needed, press, says, text

pytestmark = [pytest.mark.acceptance, needed]
PAGE = (1280, 1350)  # the window [px]: down to the picture in the notebook
ALERT_PCT = 1.8


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures are kept."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    with chromium(tmp_path / "profile", *PAGE) as browser:
        yield browser


def test_person_signs_in_watches_approves_and_finds_it_sealed(
    serving: Installation, browser: WebDriver, pictures: Path
) -> None:
    serving.runbook("sandbox", "break", "var-breach/single-symbol", "--seed", "2")
    browser.get(serving.url)
    browser.find_element(By.ID, "token").send_keys(serving.token("demo-l1"))
    browser.find_element(By.CSS_SELECTOR, "main button").click()
    says(browser, "No incident yet")
    _mark(browser)
    assert serving.deliver(firing("XRP-USD")).is_success
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, ".incidents a.id"), "the incident in the list")
    incident = text(browser, ".incidents a.id")
    assert _unloaded(browser), "the list was loaded again"
    browser.find_element(By.LINK_TEXT, incident).click()
    says(browser, "live", "#link")
    _mark(browser)
    says(browser, "cause single-symbol", "#part-verdict")
    says(browser, "waits for a decision", "#part-plans")
    says(browser, "All ", "#part-record")
    assert _unloaded(browser), "the incident was loaded again"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#part-plans .change tbody tr")) == 5
    _show_picture_of_notebook(browser)
    picture = pictures / "incident.png"
    assert browser.save_screenshot(str(picture))
    if folder := os.environ.get("PICTURES"):  # docs/images: the README shows it
        shutil.copy(picture, folder)

    press(browser, "Approve and apply")
    says(browser, "Approved by demo-l1 (L1)", "#part-plans")
    _mark(browser)
    says(browser, "applied, effect verified", "#part-plans")
    before, after = (float(text(browser, f"#part-plans .result .{name}")) for name in ("from", "to"))
    assert before > ALERT_PCT >= after
    says(browser, "02-apply", "#part-notebook")
    eventually(lambda: _sealed(browser), "a sealed record")
    assert _unloaded(browser), "the incident was loaded again"
    browser.save_screenshot(str(pictures / "incident-applied.png"))
    assert complaints(browser) == []
    assert serving.verified(incident)


def test_playbook_runs_by_hand_in_jupyterlab(installation: Installation, browser: WebDriver, pictures: Path) -> None:
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    installation.runbook("sandbox", "break", "var-breach/all-symbols", "--seed", "4")
    with lab(installation) as address:
        browser.get(address)
        card = '.jp-LauncherCard[title*="var-breach"]'
        found = eventually(lambda: browser.find_elements(By.CSS_SELECTOR, card), "the runbook in the launcher")
        browser.save_screenshot(str(pictures / "lab-launcher.png"))
        browser.execute_script("arguments[0].click()", found[0])
        incident = installation.wait("the run", installation.incidents)[0]["id"]
        eventually(lambda: kernel_waits(browser, address), "a kernel that waits")
        choose(browser, "Run", "Run All Cells")
        verdict = eventually(lambda: _run(installation, incident)["verdict"], "the verdict")
        assert verdict["cause"] == "all-symbols"
        plan = eventually(lambda: installation.show(incident)["plans"], "the plan")[0]
        assert (plan["state"], plan["document"]["initiator"]) == ("proposed", "demo-l1")
        eventually(lambda: kernel_waits(browser, address), "the end of the last cell")
        _bring(browser, "Verdict")
        eventually(lambda: "all-symbols (" in text(browser, ".jp-Notebook"), "the verdict in its cell")
        browser.save_screenshot(str(pictures / "lab-verdict.png"))
        choose(browser, "File", "Save Notebook")
        copy = next((installation.settings.state / "lab" / "notebooks").rglob("var-breach.ipynb"))
        eventually(lambda: plan["hash"][:12] in copy.read_text("utf-8"), "the notebook as saved")
        choose(browser, "Kernel", "Shut Down Kernel")
        eventually(lambda: _run(installation, incident)["state"] != "running", "the end of the run")
    run = _run(installation, incident)
    assert (run["state"], run["mode"], run["requested_by"]) == ("succeeded", "interactive", "demo-l1"), run["error"]
    installation.wait("the seal", lambda: installation.verified(incident))
    assert "all-symbols" in (installation.home / run["record"]).with_suffix(".html").read_text("utf-8")
    installation.runbook("verify")


@contextmanager
def lab(installation: Installation) -> Iterator[str]:
    """`runbook lab` as demo-l1; where it is. It ends with the block."""
    log = installation.home.parent / "lab.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [RUNBOOK, "lab", "--no-browser", "--as", "demo-l1", "--port", str(free_port())],
            env=installation.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = installation.wait("the address of JupyterLab", lambda: _address(log))
        installation.wait("JupyterLab", lambda: _answers(found))
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _address(log: Path) -> str | None:
    found = re.search(r"http://127\.0\.0\.1:\S+", log.read_text("utf-8", "replace"))
    return found[0] if found else None


def _answers(url: str) -> bool:
    try:
        return web.get(url, timeout=10).status_code < 500
    except httpx.TransportError:
        return False


def _run(installation: Installation, incident: str) -> dict[str, Any]:
    return dict(installation.show(incident)["runs"][0])


def _mark(browser: WebDriver) -> None:
    """Leave a mark on the page that a reload would take away."""
    browser.execute_script("document.documentElement.dataset.mark = 'here'")


def _unloaded(browser: WebDriver) -> bool:
    return browser.execute_script("return document.documentElement.dataset.mark") == "here"


def _sealed(browser: WebDriver) -> bool:
    return bool(browser.find_elements(By.CSS_SELECTOR, "#part-record .badge.good"))


def _show_picture_of_notebook(browser: WebDriver) -> None:
    """Scroll the notebook in its frame to where it asks whether the alert is real."""

    def in_its_frame() -> bool:
        browser.switch_to.default_content()  # the page may have shown a newer one, in a frame that is another's then
        browser.switch_to.frame(browser.find_element(By.ID, "notebook"))
        return "Is it real?" in text(browser)

    eventually(in_its_frame, "the notebook in its frame")
    heading = next(one for one in browser.find_elements(By.TAG_NAME, "h2") if one.text == "Is it real?")
    browser.execute_script("arguments[0].scrollIntoView()", heading)
    browser.switch_to.default_content()
    browser.execute_script("scrollTo(0, 0)")


def _bring(browser: WebDriver, heading: str) -> None:
    """Scroll JupyterLab's notebook to a heading; it draws only what is near."""
    found = eventually(
        lambda: [one for one in browser.find_elements(By.CSS_SELECTOR, ".jp-Notebook h2") if heading in one.text],
        f"the heading {heading}",
    )
    browser.execute_script("arguments[0].scrollIntoView()", found[0])
