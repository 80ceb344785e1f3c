"""What one running platform is made of: its names, its secrets, its folder on the machine."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["DATABASE", "EARLIER", "NAMESPACE", "RELEASE", "Setup"]

NAMESPACE = "derivatives"
DATABASE = "axiom_derivatives"
EARLIER = ("2.2.0", "2.3.1")  # releases, before the one that runs
RELEASE = "2.4.0"


@dataclass(frozen=True, slots=True)
class Setup:
    """The facts that manifests, connections and faults need.

    Attributes
    ----------
    folder : Path
        The platform's own on the machine; pods see parts of it.
    sandbox_id : str
    passwords : dict
        By identity: `postgres`, `axiom_prod`, `recorder`, `redis`, `redis_recorder`.
    volume : str
        Name of the database's volume on its node; another one each time the platform is made.
    """

    folder: Path
    sandbox_id: str
    passwords: dict[str, str]
    volume: str

    @classmethod
    def new(cls, folder: Path, sandbox_id: str) -> Setup:
        """A platform to be."""
        names = ("postgres", "axiom_prod", "recorder", "redis", "redis_recorder")
        return cls(folder, sandbox_id, {name: secrets.token_urlsafe(18) for name in names}, secrets.token_hex(6))

    @classmethod
    def read(cls, folder: Path) -> Setup | None:
        """The platform whose facts lie in a folder, or None."""
        try:
            document = json.loads((folder / "setup.json").read_bytes())
            return cls(folder, document["sandbox_id"], document["passwords"], document["volume"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self) -> None:
        """Keep the facts, for the owner alone."""
        path = self.folder / "setup.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({**asdict(self), "folder": str(self.folder)}), "utf-8")

    @property
    def releases(self) -> Path:
        """What releases bring, `NAME.json`."""
        return self.folder / "shared" / "releases"

    @property
    def models(self) -> Path:
        """The model store."""
        return self.folder / "shared" / "models"

    @property
    def exchange(self) -> Path:
        """What the exchanges do (`sandbox.derivatives.feed`)."""
        return self.folder / "outside" / "exchange.json"

    @property
    def demand(self) -> Path:
        """What the clients want (`sandbox.derivatives.load`)."""
        return self.folder / "outside" / "demand.json"

    @property
    def numba(self) -> Path:
        """Compiled kernels of the engine."""
        return self.folder / "shared" / "numba"

    def postgres_url(self, user: str, host: str, port: int) -> str:
        """Address of the database for an identity."""
        return f"postgresql://{user}:{self.passwords[user]}@{host}:{port}/{DATABASE}"

    def redis_url(self, host: str, port: int, *, reader: bool = False) -> str:
        """Address of Redis, for the full identity or the read-only one."""
        who = f"recorder:{self.passwords['redis_recorder']}" if reader else f":{self.passwords['redis']}"
        return f"redis://{who}@{host}:{port}/0"
