"""`runbook lab` in a real browser: the launcher shows the runbook, Run All runs it, shutting down seals it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from opslib import web
from opslib.settings import Settings
from tests.chromium import choose, chromium, eventually, kernel_waits, needed, says

pytestmark = [pytest.mark.slow, needed]


@pytest.fixture
def address(lab_settings: Settings, tmp_path: Path) -> Iterator[str]:
    """Where `runbook lab` says it is."""
    log = tmp_path / "lab.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from opslib.cli import main; main()", "lab", "--no-browser"],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
            env={**os.environ, "RUNBOOK_HOME": str(lab_settings.home)},
        )
        assert process.stdout is not None
        try:
            found = next((m for line in process.stdout if (m := re.search(r"http://127\.0\.0\.1:\S+", line))), None)
            assert found is not None, log.read_text()
            eventually(lambda: _answers(found.group(0)), "JupyterLab")
            yield found.group(0)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                process.stdout.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    with chromium(tmp_path / "profile") as browser:
        yield browser


def _answers(url: str) -> bool:
    try:
        return web.get(url).status_code < 500
    except httpx.TransportError:
        return False


def test_run_all_in_jupyterlab(
    address: str, browser: WebDriver, lab_settings: Settings, rows: Any, tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("PICTURES", tmp_path / "pictures"))
    pictures.mkdir(parents=True, exist_ok=True)
    browser.get(address)
    card = '.jp-LauncherCard[title^="status"]'
    found = eventually(lambda: browser.find_elements(By.CSS_SELECTOR, card), "the runbook in the launcher")
    browser.save_screenshot(str(pictures / "lab-launcher.png"))
    browser.execute_script("arguments[0].click()", found[0])
    eventually(lambda: rows("SELECT 1 FROM runs WHERE state = 'running'"), "the run")
    eventually(lambda: kernel_waits(browser, address), "a kernel that waits")
    choose(browser, "Run", "Run All Cells")
    says(browser, "kelly 0.25 1.5", ".jp-Notebook")
    eventually(lambda: rows("SELECT 1 FROM runs WHERE verdict IS NOT NULL"), "the verdict")
    browser.save_screenshot(str(pictures / "lab-run-all.png"))
    choose(browser, "File", "Save Notebook")
    copy = next(path for path in (lab_settings.state / "lab" / "notebooks").rglob("status.ipynb"))
    not_run = '"execution_count": null'
    eventually(lambda: "kelly 0.25" in copy.read_text() and not_run not in copy.read_text(), "the copy as saved")
    choose(browser, "Kernel", "Shut Down Kernel")
    (run,) = eventually(lambda: rows("SELECT * FROM runs WHERE state <> 'running'"), "the end of the run")
    assert run["state"] == "succeeded"
    record = lab_settings.home / run["record"]
    eventually(lambda: list(record.parent.glob("seal-*.json")), "the seal")
    assert "kelly 0.25" in record.read_text()
