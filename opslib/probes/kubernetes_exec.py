"""Commands in containers: only those that the runbook declares, as words, never through a shell.

A runbook's metadata declares `commands`: a name, and the words of it, some of them `{placeholders}` that stand for
one plain value each. What is run is on the record with the rest of the call.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import urlsplit

from opslib.clusters import Cluster, objects
from opslib.errors import ProbeError
from opslib.probes.kubernetes import reading, workload_selector
from opslib.probes.registry import Target, probe
from opslib.runs.declaration import PLACEHOLDER

BUDGET_S = 20.0
LARGEST = 1024 * 1024
_WRAPS = "unable to start container process: "  # what stands before the reason in the words of a container runtime
_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,=][A-Za-z0-9_./:@%+,=-]{0,199}")


@probe("kubernetes.run")
def run(
    target: Target,
    command: str,
    pod: str = "",
    workload: str = "",
    container: str = "",
    values: dict[str, str | int | float] | None = None,
) -> dict[str, Any]:
    """Run a declared command in a container: `words`, `pod`, `container`, `output`, `errors`, `exit_code`, `complete`.

    Parameters
    ----------
    target : Target
    command : str
        Its name in the runbook's metadata.
    pod, workload : str
        Which pod; of a workload, a running one, ready ones first.
    container : str
        The pod's first where it is left out.
    values : dict, optional
        What the command's placeholders stand for.
    """
    words = filled(target, command, values or {})
    with reading(target) as cluster:
        chosen = _pod(cluster, pod, workload)
        name = container or chosen["spec"]["containers"][0]["name"]
        return {"words": words, **execute(cluster, chosen["metadata"]["name"], name, words)}


def filled(target: Target, command: str, values: dict[str, str | int | float]) -> list[str]:
    """The words of a declared command, its placeholders filled.

    Raises
    ------
    ProbeError
        When the runbook declares no such command, or a value is missing, unknown or not plain.
    """
    if command not in target.commands:
        there = ", ".join(sorted(target.commands)) or "none"
        raise target.error(f"this runbook declares no command {command!r} that it runs in pods; it declares {there}")
    words = target.commands[command]
    wanted = {name for word in words for name in PLACEHOLDER.findall(word)}
    if wanted != values.keys():
        raise target.error(f"{command!r} takes {', '.join(sorted(wanted)) or 'no values'}, not {', '.join(values)}")
    for name, value in values.items():
        if isinstance(value, bool) or not _VALUE.fullmatch(str(value)):
            raise target.error(f"{name} of {command!r} must be one plain word (letters, digits, ./_:@%+,=-)")
    return [PLACEHOLDER.sub(lambda found: str(values[found[1]]), word) for word in words]


def _pod(cluster: Cluster, pod: str, workload: str) -> dict[str, Any]:
    """The pod that is named, or a running one of the workload, ready ones first."""
    if pod:
        return cluster.one("pods", pod)
    found = cluster.all("pods", selector=workload_selector(cluster, workload), fields="status.phase=Running")
    found = [one for one in found if objects.workload(one) == workload]
    if not found:
        raise ProbeError(f"no pod of {workload} runs")
    return min(found, key=lambda one: (not objects.ready(one), one["metadata"]["name"]))


def execute(cluster: Cluster, pod: str, container: str, words: list[str], within_s: float = BUDGET_S) -> dict[str, Any]:
    """Run words in a container over a WebSocket, within a time [s] and a size.

    Raises
    ------
    ProbeError
        When it cannot be run; a command that fails is no such case: its exit code tells.
    """
    from kubernetes import client, stream
    from kubernetes.client.exceptions import ApiException
    from websocket import WebSocketException

    core, until = client.CoreV1Api(cluster.api), time.monotonic() + within_s
    try:
        socket = stream.stream(
            core.connect_get_namespaced_pod_exec,
            pod,
            cluster.namespace,
            container=container,
            command=words,
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
            _request_timeout=within_s,
        )
    except (ApiException, WebSocketException, OSError) as error:
        raise ProbeError(_why(error, cluster, pod, container)) from error
    output, errors, complete = "", "", True
    try:
        while socket.is_open():
            socket.update(timeout=0.5)
            output += socket.read_stdout(timeout=0) if socket.peek_stdout(timeout=0) else ""
            errors += socket.read_stderr(timeout=0) if socket.peek_stderr(timeout=0) else ""
            if len(output) + len(errors) > LARGEST or time.monotonic() > until:
                complete = False
                break
        closing = socket.read_channel(3) if complete else ""
    except (WebSocketException, OSError) as error:
        raise ProbeError(f"the command in {pod} was cut off: {error}") from error
    finally:
        socket.close()
        socket.sock.shutdown()  # also where the other side has closed first
    code, said = ended(closing)
    if complete and code is None:
        raise ProbeError(f"{words[0]} could not be run in {pod}/{container}: {said or 'it gave no exit code'}")
    return {
        "pod": pod,
        "container": container,
        "output": output[:LARGEST],
        "errors": errors[:LARGEST],
        "exit_code": code,
        "complete": complete,
    }


def ended(told: str) -> tuple[int | None, str]:
    """The exit code out of the status that ends an exec, or why there is none: only the last of what wraps that."""
    try:
        status = json.loads(told)
    except ValueError:
        return None, told[:300]
    if status.get("status") == "Success":
        return 0, ""
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
            return int(cause["message"]), ""
    return None, " ".join(str(status.get("message") or "").split()).rpartition(_WRAPS)[2][:300]


def _why(error: Exception, cluster: Cluster, pod: str, container: str) -> str:
    """Why a command was not started, in words."""
    text = " ".join(str(getattr(error, "reason", None) or error).split())
    if "403" in text or "orbidden" in text:
        return f"our identity may not run commands in pods of {cluster.namespace} (403); see `runbook rbac NAME`"
    if "404" in text:
        return f"there is no pod {pod} with a container {container}"
    if "onnection refused" in text:
        return "the API server refuses connections (connection refused)"
    host = urlsplit(cluster.api.configuration.host).hostname or ""
    return f"no command can be run in {pod}/{container}: {text.replace(host, 'the API server')[:300]}"
