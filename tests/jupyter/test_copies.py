"""Working copies: complete, runnable, and never written over."""

from __future__ import annotations

import nbformat
import pytest

from opslib.jupyter import copies, lab
from opslib.settings import Settings


def test_copy_has_the_platforms_parameters(lab_settings: Settings) -> None:
    today = copies.prepare(lab_settings)
    path = today / "crypto" / "status.ipynb"
    book = nbformat.read(path, as_version=4)
    injected = next(cell for cell in book.cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert 'platform = "crypto"' in injected.source
    assert book.metadata.kernelspec.name == "runbook"
    assert copies.of(path) == copies.CopyOf("status", "crypto")
    assert "[Look at the status](crypto/status.ipynb)" in (today / "index.md").read_text()


def test_edited_copy_stays_as_it_is(lab_settings: Settings) -> None:
    path = copies.prepare(lab_settings) / "crypto" / "status.ipynb"
    book = nbformat.read(path, as_version=4)
    book.cells[0].source = "# My own words"
    nbformat.write(book, path)
    copies.prepare(lab_settings)
    assert nbformat.read(path, as_version=4).cells[0].source == "# My own words"


def test_changed_runbook_is_copied_beside(lab_settings: Settings) -> None:
    path = copies.prepare(lab_settings) / "crypto" / "status.ipynb"
    before = path.read_bytes()
    reference = lab_settings.notebooks / "alerts" / "status.ipynb"
    reference.write_text(reference.read_text().replace("Look at the status (A99)", "Look closer (A99)"))
    copies.prepare(lab_settings)
    copies.prepare(lab_settings)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 2


def test_other_notebooks_are_no_copies(lab_settings: Settings) -> None:
    path = copies.prepare(lab_settings) / "own.ipynb"
    assert copies.of(path) is None
    path.write_text("not a notebook")
    assert copies.of(path) is None
    nbformat.write(nbformat.v4.new_notebook(), path)
    assert copies.of(path) is None


def test_taken_port_is_said(lab_settings: Settings) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(lab.NoPort, match="choose another with --port"):
        lab.ready(lab_settings, port=taken.getsockname()[1])


def test_token_is_on_no_command_line(lab_settings: Settings) -> None:
    ready = lab.ready(lab_settings, browser=False)
    assert ready.environment["JUPYTER_TOKEN"] not in " ".join(ready.command)
    assert ready.environment["JUPYTER_TOKEN"] in ready.url
