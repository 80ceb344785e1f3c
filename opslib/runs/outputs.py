"""What a cell prints and shows: merged as it comes, capped in the notebook, whole in a compressed file beside it."""

# nbformat and nbconvert have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from opslib.record.picture_metadata import cleaned
from opslib.record.stream_redaction import StreamRedactor
from opslib.runs.formats import NotebookNode, v4
from opslib.runs.notebook import not_saved

CELL_BYTES = 2**20
SIDE_BYTES = 2**30
_SHOWN = ("display_data", "execute_result")


class CellOutputs:
    """The outputs of one cell.

    Parameters
    ----------
    cell : NotebookNode
        Its `outputs` are kept.
    side_file : Path or None
        Where the whole goes, gzip, once the notebook's share is full; None: what is cut is lost.
    tell : callable
        Gets each piece of text as it comes, for the journal.
    redact : callable
        Takes secrets out of a text or document before anything is kept.
    limit, side_limit : int
        The notebook's share, and the most that the side file takes [bytes].
    """

    def __init__(
        self,
        cell: NotebookNode,
        side_file: Path | None,
        *,
        tell: Callable[[str], None],
        redact: Callable[[Any], Any],
        limit: int = CELL_BYTES,
        side_limit: int = SIDE_BYTES,
    ) -> None:
        self.cell = cell
        cell.outputs = []
        self._side_file = side_file
        self._tell = tell
        self._redact = redact
        self._limit = limit
        self._kept = 0
        self._cut = 0
        self._clear_next = False
        self._streams: dict[str, StreamRedactor] = {}
        self._stream: NotebookNode | None = None
        self._pieces: list[str] = []
        self._side: TextIO | None = None
        self._side_limit = self._side_left = side_limit
        self._not_shown: set[str] = set()  # the display ids of outputs that only the side file has

    def take(self, message: dict[str, Any]) -> None:
        """Take one message of the kernel; those that show nothing are passed over."""
        kind, content = message["msg_type"], message["content"]
        if kind == "clear_output":
            self._clear_next = True
            if not content.get("wait"):
                self._clear()
        elif kind == "stream":
            self._clear_if_due()
            name = str(content["name"])
            self._add_text(
                name, self._streams.setdefault(name, StreamRedactor(self._redact)).take(str(content["text"]))
            )
        elif kind in (*_SHOWN, "error"):
            self._clear_if_due()
            self._add(self._redacted(v4.output_from_msg(message)), (content.get("transient") or {}).get("display_id"))
        elif kind == "update_display_data":
            self._update(content)

    def say(self, name: str, text: str) -> None:
        """Add a remark of the engine's own, whatever the caps."""
        self._let_go()
        self._finish_stream()
        self.cell.outputs.append(v4.new_output("stream", name=name, text=text))

    def settle(self) -> None:
        """Bring `cell.outputs` up to date; before the notebook is saved."""
        if self._stream is not None:
            self._pieces = ["".join(self._pieces)]
            self._stream["text"] = self._pieces[0]

    def close(self) -> None:
        """End the outputs: say what was cut and where the whole is."""
        self._let_go()
        self._finish_stream()
        for output in self.cell.outputs:
            output.get("metadata", {}).pop("display_id", None)
        if not self._cut:
            return
        where = "it is lost"
        if self._side is not None and self._side_file is not None:
            with self._saving():
                self._side.close()
            whole = self._side_left >= 0
            where = f"the whole is in {self._side_file.name}"
            if not whole:
                where = f"the first {self._side_limit:,} bytes are in {self._side_file.name}, the rest is lost"
        self.say("stderr", f"\n[{self._cut:,} bytes of output cut here; {where}]\n")

    def _let_go(self) -> None:
        """Add what was held back of the streams, since it might have been the beginning of a secret."""
        for name, stream in self._streams.items():
            self._add_text(name, stream.end())

    def _add_text(self, name: str, text: str) -> None:
        if not text:
            return
        self._tell(text)
        room = self._limit - self._kept
        kept = text if len(text.encode()) <= room else text.encode()[: max(room, 0)].decode("utf-8", "ignore")
        if kept:
            if self._stream is None or self._stream["name"] != name:
                self._finish_stream()
                self._stream = v4.new_output("stream", name=name, text="")
                self.cell.outputs.append(self._stream)
            self._pieces.append(kept)
            self._kept += len(kept.encode())
        if len(kept) < len(text):
            self._side_write(kept)
            self._aside(text[len(kept) :])
        else:
            self._side_write(text)

    def _add(self, output: NotebookNode, display_id: str | None) -> None:
        self._let_go()
        self._finish_stream()
        size = len(json.dumps(output).encode())
        text = "\n".join(output.get("traceback") or []) or str(output.get("data", {}).get("text/plain", ""))
        self._tell(text + "\n")
        if size > self._limit - self._kept:
            self._aside(json.dumps(output) + "\n", size)
            if display_id:
                self._not_shown.add(display_id)
            return
        self._side_write(json.dumps(output) + "\n")
        if display_id:
            output.setdefault("metadata", {})["display_id"] = display_id
        self.cell.outputs.append(output)
        self._kept += size

    def _update(self, content: dict[str, Any]) -> None:
        """Replace what was shown under a display id; only what it is longer by counts."""
        wanted = (content.get("transient") or {}).get("display_id")
        shown = [one for one in self.cell.outputs if wanted and one.get("metadata", {}).get("display_id") == wanted]
        if not shown and wanted not in self._not_shown:
            return
        fresh = self._redacted(v4.new_output("display_data", data=content["data"]))
        text = json.dumps(fresh) + "\n"
        longer = sum(len(json.dumps(fresh["data"])) - len(json.dumps(output["data"])) for output in shown)
        if not shown or longer > max(0, self._limit - self._kept):
            self._aside(text, len(text) - 1)
            return
        self._side_write(text)
        for output in shown:
            output["data"] = copy.deepcopy(fresh["data"])
        self._kept += longer

    def _clear_if_due(self) -> None:
        if self._clear_next:
            self._clear()

    def _clear(self) -> None:
        self._streams.clear()
        self._finish_stream()
        self._clear_next = False
        self.cell.outputs.clear()
        self._kept = 0
        self._not_shown.clear()

    def _finish_stream(self) -> None:
        self.settle()
        self._stream, self._pieces = None, []

    def _aside(self, text: str, size: int | None = None) -> None:
        """Keep in the side file what the notebook has no room for; the first time, all that came before too."""
        self._cut += size if size is not None else len(text.encode())
        if self._side is None and self._side_file is not None:
            with self._saving():
                self._side = gzip.open(self._side_file, "wt", encoding="utf-8", compresslevel=1)  # noqa: SIM115  (closed by `close`)
            self.settle()
            for output in self.cell.outputs:
                self._side_write(output["text"] if output.output_type == "stream" else json.dumps(output) + "\n")
        self._side_write(text)

    def _side_write(self, text: str) -> None:
        """Write to the side file, where there is one; once it is full, nothing more."""
        if self._side is not None and self._side_left >= 0:
            data = text.encode()
            fits = data[: self._side_left].decode("utf-8", "ignore") if len(data) > self._side_left else text
            with self._saving():
                self._side.write(fits)
            self._side_left -= len(data)  # below 0: something is lost

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Say of what fails in writing the side file that it was the record which could not be saved."""
        try:
            yield
        except OSError as error:
            raise not_saved(error, self._side_file or Path()) from error

    def _redacted(self, output: NotebookNode) -> NotebookNode:
        """The output with secrets taken out of every text in it, and pictures without what is written beside them."""
        for name, data in list(output.get("data", {}).items()):
            if name.startswith("image/") and name != "image/svg+xml" and isinstance(data, str):
                clean = cleaned(name, data, self._redact)
                if clean is None:
                    del output["data"][name]
                    output["data"].setdefault("text/plain", f"[{name}: not shown, it may hold a secret]")
                else:
                    output["data"][name] = clean
            else:
                output["data"][name] = self._redact(data)
        if output.get("metadata"):
            output["metadata"] = self._redact(output["metadata"])
        if "traceback" in output:
            whole = self._redact("\n".join(output["traceback"]))
            output["traceback"] = whole.split("\n")
            output["ename"], output["evalue"] = self._redact(output["ename"]), self._redact(output["evalue"])
        return output
