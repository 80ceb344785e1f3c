"""Evidence: one file a probe call, with what was asked, when, how long it took, and the redacted answer.

A table is kept as Parquet, with everything but the answer as canonical JSON under the key `runbook` of its
schema's metadata; every other answer, and every error, as canonical JSON. What a notebook gets is read back
from the bytes that were written. A call is known again by (probe, canonical arguments, ordinal).
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opslib.canonical import canonical, digest, plain
from opslib.errors import ProbeError
from opslib.probes.registry import LARGEST, Frame
from opslib.record import archive
from opslib.record.redaction import Redactor

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = b"runbook"
_NUMBER = re.compile(r"E(\d{3,})-")


@dataclass(frozen=True)
class Call:
    """One call of a probe by a run.

    Attributes
    ----------
    incident, run, probe, arguments, ordinal
        Who asked what, and for the how many-th time within the run; the arguments are redacted.
    at : datetime
        When the probe began, UTC.
    took_ms : float
        How long it took [ms].
    redacted : int
        How many secrets were taken out of the arguments.
    """

    incident: str
    run: int
    probe: str
    arguments: dict[str, Any]
    ordinal: int
    at: dt.datetime
    took_ms: float
    redacted: int = 0


@dataclass(frozen=True)
class Evidence:
    """A piece of evidence as it lies in the record.

    Attributes
    ----------
    entry : dict
        The body of its journal entry: id, file, sha256, run, probe, arguments, ordinal, at, took_ms, ok, error, and
        `redacted`, how many secrets were taken out, where there were any.
    result : Any
        The answer, out of the file's bytes; None for a table or an error.
    arrow : bytes
        The table, out of the file's bytes, as an Arrow stream.
    """

    entry: dict[str, Any]
    result: Any
    arrow: bytes


def write(folder: Path, call: Call, outcome: Frame | ProbeError | object, redact: Redactor, least: int = 0) -> Evidence:
    """Redact an outcome and put it into the record.

    Parameters
    ----------
    folder : Path
        The incident's folder.
    call : Call
    outcome : Frame, ProbeError, or a value of JSON types
    redact : Redactor
    least : int
        The number is above this one and above those of the files there.

    Raises
    ------
    RecordError
        When the file cannot be written.
    """
    place = folder / archive.EVIDENCE
    place.mkdir(exist_ok=True)
    with archive.locked(place):
        number = max(least, *(numbers(place) or [0])) + 1
        head: dict[str, Any] = {
            "id": f"E{number:03d}",
            "incident": call.incident,
            "run": call.run,
            "probe": call.probe,
            "arguments": call.arguments,
            "ordinal": call.ordinal,
            "at": call.at,
            "took_ms": round(call.took_ms, 3),
            "ok": True,
        }
        suffix, data = _bytes(head, outcome, redact, call.redacted)
        name = f"{head['id']}-{call.probe.replace('.', '-')}.{suffix}"
        archive.write_atomic(place / name, data)
    entry = {**head, "file": f"{archive.EVIDENCE}/{name}", "sha256": digest(data)}
    del entry["incident"]
    return opened(entry, data)


def opened(entry: dict[str, Any], data: bytes) -> Evidence:
    """The evidence in the bytes of a file, whose journal entry this is."""
    if entry["file"].endswith(".parquet"):
        return Evidence(entry, None, _stream(read_table(data)))
    return Evidence(entry, json.loads(data).get("result"), b"")


def numbers(place: Path) -> list[int]:
    """The numbers of the evidence that lies in a folder."""
    return [int(found[1]) for path in place.iterdir() if (found := _NUMBER.match(path.name))]


def read_table(data: bytes) -> pa.Table:
    """The table in the bytes of a Parquet file."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data))


def read_head(data: bytes, name: str) -> dict[str, Any]:
    """What a piece of evidence says of itself, without its answer.

    Raises
    ------
    ValueError
        When the bytes are no evidence.
    """
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_schema(io.BytesIO(data)).metadata or {}
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error
        head: dict[str, Any] = json.loads(metadata.get(METADATA, b"null"))
        return head
    document: dict[str, Any] = json.loads(data)
    document.pop("result", None)
    return document


def _bytes(head: dict[str, Any], outcome: Any, redact: Redactor, redacted: int) -> tuple[str, bytes]:
    """The suffix and bytes of the file; `head` learns of an error, and how many secrets were taken out."""
    if isinstance(outcome, Frame):
        (table, note), cut = redact.counted((outcome.table, outcome.note))
        data = _parquet({**head, **_counted(redacted + cut)}, Frame(table, outcome.index, note))
        if len(data) <= LARGEST:
            head |= _counted(redacted + cut)
            return "parquet", data
        outcome = ProbeError(f"{head['probe']}: the answer is more than {LARGEST:,} bytes")
    if not isinstance(outcome, ProbeError):
        result, cut = redact.counted(plain(outcome))
        data = canonical({**head, **_counted(redacted + cut), "result": result})
        if len(data) <= LARGEST:
            head |= _counted(redacted + cut)
            return "json", data
        outcome = ProbeError(f"{head['probe']}: the answer is more than {LARGEST:,} bytes")
    head["ok"] = False
    head["error"], cut = redact.counted(str(outcome))
    head |= _counted(redacted + cut)
    return "json", canonical(head)


def _counted(redacted: int) -> dict[str, int]:
    """What a head says of secrets that were taken out: their number, nothing where there were none."""
    return {"redacted": redacted} if redacted else {}


def _parquet(head: dict[str, Any], frame: Frame) -> bytes:
    """The bytes of a table that holds no secrets."""
    import pyarrow.parquet as pq

    told = {**head, "index": frame.index, **({"note": frame.note} if frame.note else {})}
    table = frame.table.replace_schema_metadata({METADATA: canonical(told)})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _stream(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
