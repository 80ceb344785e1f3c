"""What an HTTP system answers: GET alone, its own host alone, within a time and a size."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from opslib import web
from opslib.probes.json_shape import differences
from opslib.probes.registry import CONNECT_S, LARGEST, READ_S, Frame, Target, probe

BUDGET_S = 10.0
_REDIRECTS = 3


def get(target: Target, path: str, parameters: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """Status and body of a GET; redirects are followed on the same host only.

    Raises
    ------
    ProbeError
        When it cannot be reached, takes too long, answers too much, or sends us to another host.
    """
    if not path.startswith("/") or path.startswith("//"):
        raise target.error(f"{path!r} is no path: it must begin with one /")
    base = urlsplit(target.url)
    url = target.url.rstrip("/") + path
    try:
        with web.client(
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            headers={"User-Agent": "runbook-recorder", "Accept-Encoding": "identity"},  # each piece is seen as it comes
        ) as client:
            until = time.monotonic() + BUDGET_S
            for _ in range(_REDIRECTS + 1):
                status, body, location = _once(client, target, url, parameters, until)
                if location is None:
                    return status, body
                url, parameters = urljoin(url, location), None
                if urlsplit(url)[:2] != base[:2]:
                    raise target.error(f"{path} sends us to another host ({urlsplit(url).hostname}); not followed")
    except httpx.TimeoutException as error:
        raise target.error(f"no answer to {path} within {READ_S:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise target.error(_reason(error)) from error
    raise target.error(f"{path} is redirected more than {_REDIRECTS} times")


def _once(
    client: httpx.Client, target: Target, url: str, parameters: dict[str, Any] | None, until: float
) -> tuple[int, bytes, str | None]:
    """One request, read piece by piece as it comes so that neither a large nor a slow answer goes beyond its budget."""
    with client.stream("GET", url, params=parameters) as answer:
        if answer.has_redirect_location:
            return answer.status_code, b"", answer.headers["location"]
        body = bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > LARGEST:
                raise target.error(f"the answer is more than {LARGEST:,} bytes")
            if time.monotonic() > until:
                raise target.error(f"the answer took more than {BUDGET_S:g} s")
        return answer.status_code, bytes(body), None


def _reason(error: Exception) -> str:
    text = str(error)
    return "connection refused" if "onnection refused" in text else (text or type(error).__name__)


def _good(target: Target, path: str, parameters: dict[str, Any] | None = None) -> bytes:
    status, body = get(target, path, parameters)
    if status >= 400:
        start = " ".join(body[:300].decode("utf-8", "replace").split())
        raise target.error(f"GET {path} answered {status}" + (f": {start}" if start else ""))
    return body


def parsed(target: Target, path: str, body: bytes) -> Any:
    """The JSON of a body.

    Raises
    ------
    ProbeError
        When it is none.
    """
    try:
        return json.loads(body)
    except ValueError as error:
        start = " ".join(body[:120].decode("utf-8", "replace").split())
        raise target.error(f"GET {path} did not answer JSON but: {start}") from error


@probe("http.json")
def json_(target: Target, path: str, system: str = "api", shape: Any = None) -> Any:
    """The JSON that a path answers, of the declared shape where one is given; 4xx and 5xx are errors."""
    del system  # chose the target
    answer = parsed(target, path, _good(target, path))
    try:
        wrong = [] if shape is None else differences(answer, shape)
    except ValueError as error:
        raise target.error(str(error)) from error
    if wrong:
        raise target.error(f"GET {path} is not as declared: {'; '.join(wrong)}")
    return answer


@probe("http.text")
def text(target: Target, path: str, system: str = "api") -> str:
    """The text that a path answers; 4xx and 5xx are errors."""
    del system
    return _good(target, path).decode("utf-8", "replace")


@probe("http.health")
def health(target: Target, path: str = "/health", system: str = "api") -> dict[str, Any]:
    """What the health page says, whatever its status: `http_status`, `took_ms`, and the fields of its JSON."""
    del system
    start = time.perf_counter()
    status, body = get(target, path)
    took = round((time.perf_counter() - start) * 1000, 1)
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    fields = said if isinstance(said, dict) else {"text": body[:2000].decode("utf-8", "replace")}
    return {**fields, "http_status": status, "took_ms": took}


@probe("http.metrics")
def metrics(target: Target, path: str = "/metrics", system: str = "api") -> Frame:
    """The samples of a metrics page: `name`, one column a label, `value`.

    A label called `name` or `value` becomes `label_name` or `label_value`.
    """
    import pyarrow as pa
    from prometheus_client.parser import text_string_to_metric_families

    del system
    page = _good(target, path).decode("utf-8", "replace")
    try:
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    except ValueError as error:
        raise target.error(f"GET {path} did not answer metrics: {error}") from error
    labels = sorted({label for sample in samples for label in sample.labels})
    columns: dict[str, Any] = {"name": pa.array([sample.name for sample in samples], pa.string())}
    for label in labels:
        column = f"label_{label}" if label in ("name", "value") else label
        columns[column] = pa.array([sample.labels.get(label) for sample in samples], pa.string())
    columns["value"] = pa.array([float(sample.value) for sample in samples], pa.float64())
    return Frame(pa.table(columns))
