"""What went wrong between us and a cluster, in words."""

from __future__ import annotations

import json

from opslib.errors import ProbeError


def unreached(error: Exception, connect_s: float, read_s: float) -> ProbeError:
    """A transport error in words; the fact `sent` is False where the request cannot have arrived."""
    import urllib3

    told = str(error)
    if "onnection refused" in told:
        return ProbeError("the API server refuses connections (connection refused)", sent=False)
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return ProbeError(f"the API server cannot be reached: {told[-200:]}", sent=False)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return ProbeError(f"no connection to the API server within {connect_s:g} s", sent=False)
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return ProbeError(f"the API server did not answer within {read_s:g} s", sent=True)
    if isinstance(error, urllib3.exceptions.SSLError):
        return ProbeError(f"the API server's certificate or ours is not accepted: {told[-200:]}", sent=False)
    return ProbeError(f"the connection to the API server broke: {told[-200:]}", sent=True)


def refused(path: str, status: int, body: bytes) -> ProbeError:
    """An answer of 400 and above in words; the fact `status` is its number."""
    try:
        said = json.loads(body).get("message") or ""
    except (ValueError, AttributeError):
        said = body[:300].decode("utf-8", "replace")
    said = " ".join(said.split())[:500]
    if status == 401:
        what = "it refuses our identity: the token or certificate in the kubeconfig is not valid (any more)"
    elif status == 403:
        what = f"our identity may not do that ({said}); `runbook rbac NAME` prints the role that a runbook needs"
    elif status == 404:
        what = said or f"there is no {path}"
    elif status == 503:
        what = f"{path} is not served at the moment (503{': ' + said if said else ''})"
    else:
        what = f"{path} answered {status}{': ' + said if said else ''}"
    return ProbeError(what, status=status)
