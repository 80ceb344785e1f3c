"""Debian packages, fetched with the machine's own apt sources and unpacked beside the system, never installed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.cluster.steps import Steps
from sandbox.errors import BuildFailed

__all__ = ["Sources", "with_sources"]

_APT = Path("/etc/apt")
_DOWNLOAD_S = 900.0


@dataclass(frozen=True)
class Sources:
    """apt with lists and a cache of its own; the system's stay as they are.

    Attributes
    ----------
    steps : Steps
        Runs its commands.
    configuration : Path
        `apt.conf` of this apt.
    folder : Path
        Where packages are downloaded to.
    """

    steps: Steps
    configuration: Path
    folder: Path

    @classmethod
    def prepare(cls, steps: Steps) -> Sources:
        """Read the machine's sources, source packages added, and fetch the lists."""
        apt = steps.work / "apt"
        downloads = steps.work / "packages"
        for needed in (apt / "lists/partial", apt / "cache/archives/partial", apt / "sources", downloads):
            needed.mkdir(parents=True)
        _copy_sources(apt / "sources")
        configuration = apt / "apt.conf"
        configuration.write_text(
            f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{apt / "sources"}";\n'
            f'Dir::State::lists "{apt / "lists"}";\nDir::Cache "{apt / "cache"}";\n'
            'APT::Sandbox::User "root";\nAcquire::Retries "3";\nAcquire::http::Timeout "30";\n',
            encoding="utf-8",
        )
        sources = cls(steps, configuration, downloads)
        # Another vendor's source may fail, or have no source packages; whether Debian's answered, the next step tells.
        with contextlib.suppress(BuildFailed):
            sources._apt("fetching the lists of Debian's packages", ["update"])
        return sources

    def download(self, names: Sequence[str]) -> None:
        """Fetch binary packages, without what they depend on."""
        self._apt(f"downloading {len(names)} packages", ["download", *names])

    def source(self, name: str) -> Path:
        """Fetch a source package and unpack it, its patches applied; return its folder.

        apt has checked it against the signed lists; dpkg-source has no keyring of Debian's maintainers to check again.
        """
        self._apt(f"downloading the source of {name}", ["source", "--download-only", name])
        described = self._only(f"{name}_*.dsc")
        target = self.steps.work / name
        self.steps.run(
            f"unpacking the source of {name}",
            ["dpkg-source", "--no-check", "-x", described, target],
            folder=self.steps.work,
        )
        return target

    def unpack(self, name: str, target: Path) -> None:
        """Unpack a downloaded package into a folder."""
        target.mkdir(exist_ok=True)
        package = self._only(f"{name}_*.deb")
        self.steps.run(f"unpacking {name}", ["dpkg-deb", "-x", package, target], folder=self.steps.work)

    def versions(self) -> dict[str, str]:
        """Version of every downloaded package by name."""
        names = [path.name for path in sorted(self.folder.iterdir()) if path.suffix in (".deb", ".dsc")]
        return {name.split("_")[0]: re.sub(r"%3a", ":", name.split("_")[1]) for name in names}

    def _apt(self, what: str, words: Sequence[str]) -> None:
        environment = {"APT_CONFIG": str(self.configuration), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.steps.run(
            what, ["apt-get", "-q", *words], folder=self.folder, environment=environment, limit_s=_DOWNLOAD_S
        )

    def _only(self, pattern: str) -> Path:
        found = sorted(self.folder.glob(pattern))
        if not found:
            raise BuildFailed(f"apt downloaded no {pattern}; what it said is in {self.steps.log}")
        return found[-1]


def _copy_sources(target: Path) -> None:
    """Copy the machine's apt sources, with source packages asked for too."""
    for path in sorted((_APT / "sources.list.d").glob("*")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".sources":
            text = re.sub(r"(?m)^Types:.*$", "Types: deb deb-src", text)
        elif path.suffix == ".list":
            text = with_sources(text)
        (target / path.name).write_text(text, encoding="utf-8")
    main = _APT / "sources.list"
    if main.is_file() and main.stat().st_size:
        (target / "machine.list").write_text(with_sources(main.read_text(encoding="utf-8")), encoding="utf-8")


def with_sources(text: str) -> str:
    """Lines of the one-line style, each `deb` followed by its `deb-src`."""
    lines = []
    for line in text.splitlines():
        if not line.lstrip().startswith("deb-src"):
            lines.append(line)
        if line.startswith(("deb ", "deb\t")):
            lines.append(f"deb-src{line[3:]}")
    return "\n".join(lines) + "\n"
