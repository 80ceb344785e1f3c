"""What a notebook calls: `ops.files` and `ops.certificates`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opslib.probes.calls import Asks
from opslib.probes.seen import Seen, SeenText

if TYPE_CHECKING:
    import pandas as pd


class Files:
    """The files below the platform's folder; paths are relative to it and never lead out of it."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def text(self, path: str) -> SeenText:
        """The text of a file."""
        seen: SeenText = self._ops.probe("files.text", path=path)
        return seen

    def json(self, path: str) -> Any:
        """The JSON in a file: a `Seen` or `SeenList`."""
        return self._ops.probe("files.json", path=path)

    def lines(self, path: str, last: int = 1000) -> pd.DataFrame:
        """The last lines of a file of JSON lines, one column a field."""
        return self._ops.probe("files.lines", path=path, last=last)

    def tail(self, path: str, lines: int = 100) -> SeenText:
        """The last lines of a file, however long it is."""
        seen: SeenText = self._ops.probe("files.tail", path=path, lines=lines)
        return seen

    def stat(self, path: str) -> Seen:
        """Whether a file is there (`exists`), its `size` [bytes], `changed_at` (UTC), `age_s` [s], `kind`."""
        seen: Seen = self._ops.probe("files.stat", path=path)
        return seen

    def list(self, folder: str = ".", pattern: str = "*", deep: bool = False) -> pd.DataFrame:
        """Files and folders, newest first: index `path`; `kind`, `size` [bytes], `changed_at` (UTC), `age_s` [s]."""
        return self._ops.probe("files.list", folder=folder, pattern=pattern, deep=deep)


class Certificates:
    """The certificates that the platform's servers serve, and those on its disk."""

    def __init__(self, ops: Asks) -> None:
        self._ops = ops

    def served(self, system: str = "api", host: str | None = None, port: int | None = None) -> Seen:
        """The certificate that a system serves, by a real handshake: `not_after`, `days_left`, `names`, `chain`, ..."""
        seen: Seen = self._ops.probe("certificates.served", system=system, host=host, port=port)
        return seen

    def file(self, path: str) -> Seen:
        """The certificates in a PEM file below the platform's folder."""
        seen: Seen = self._ops.probe("certificates.file", path=path, system="files")
        return seen

    def compared(self, path: str, system: str = "api", host: str | None = None, port: int | None = None) -> Seen:
        """The certificate on the disk beside the one served.

        Returns
        -------
        Seen
            `served`, `on_disk`, `same`, and `not_reloaded`: the one on the disk is newer, so it was renewed and the
            server was not told. `evidence` is that of the handshake, `on_disk.evidence` that of the file.
        """
        now, disk = self.served(system, host, port), self.file(path)
        same = now["fingerprint"] == disk["fingerprint"]
        newer = disk["not_after"] > now["not_after"] or disk["not_before"] > now["not_before"]
        both = Seen(served=now, on_disk=disk, same=same, not_reloaded=not same and newer)
        both.evidence = now.evidence
        return both
