"""A platform that is not there: it notes what is done to it, and answers as little as faults need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.derivatives.service.models import write_store
from sandbox.derivatives.service.release import Release, write
from sandbox.derivatives.setup import RELEASE, Setup

__all__ = ["Recording"]

_DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\ntmpfs 229376 229376 0 100% /data\n"


@dataclass
class Recording:
    """Stands for an `Access`, for its `kube`, for a database and for a cache.

    Attributes
    ----------
    setup : Setup
    done : list
        Every call, in order.
    """

    setup: Setup
    done: list[Any] = field(default_factory=list)
    api: str = "http://127.0.0.1:1"

    @classmethod
    def at(cls, folder: Path) -> Recording:
        """A platform whose files are in a folder that is not there yet."""
        setup = Setup(folder, "abc", {}, "volume")
        setup.demand.parent.mkdir(parents=True)
        write(setup.releases, Release(RELEASE))
        write_store(setup.models)
        return cls(setup)

    @property
    def kube(self) -> Recording:
        return self

    def __call__(self, *words: str, allowed_to_fail: bool = False) -> str:
        self.done.append(words)
        return _DF if "df" in words else ""

    def patch(self, *facts: Any) -> None:
        self.done.append(("patch", *facts))

    def send(self, verb: str, documents: list[Any], *words: str) -> None:
        self.done.append((verb, documents, words))

    def document(self, *words: str) -> dict[str, Any]:
        self.done.append(words)
        return self.pods("")[0]

    def pods(self, app: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": f"{app}-{node}"}, "spec": {"nodeName": node}} for node in ("a", "b", "c")]

    def cordon(self, *words: str) -> None:
        self.done.append(("cordon", *words))

    def uncordon(self, *words: str) -> None:
        self.done.append(("uncordon", *words))

    @contextmanager
    def database(self, *_identity: str, timeout_s: float = 0.0) -> Iterator[Recording]:
        yield self

    cache = database

    def pipeline(self, **_facts: Any) -> Any:
        return self.database()

    def info(self, _section: str) -> dict[str, int]:
        return {"used_memory_startup": 0}

    def scan_iter(self, *_words: Any, **_facts: Any) -> list[str]:
        return ["greeks:a", "greeks:b"]

    def __getattr__(self, name: str) -> Any:
        if name not in ("execute", "set", "config_set", "expire", "keys"):
            raise AttributeError(name)
        return lambda *words, **facts: self.done.append((name, *words, facts))

    def trace(self) -> str:
        """Everything that was done, with what lies in the platform's files."""
        files = sorted(path for path in self.setup.folder.rglob("*.json") if path.parent != self.setup.models)
        return repr(self.done).replace(str(self.setup.folder), "") + "".join(path.read_text("utf-8") for path in files)
