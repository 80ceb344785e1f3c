"""Why a command was not run in a container: the reason itself, not the words that a container runtime wraps it in."""

from __future__ import annotations

import json

import pytest

from opslib.probes.kubernetes_exec import ended

NOT_THERE = 'exec: "nvidia-smi": executable file not found in $PATH'
WRAPPED = (
    "Internal error occurred: error executing command in container: failed to exec in container: failed to start "
    f'exec "78e3": OCI runtime exec failed: exec failed: unable to start container process: {NOT_THERE}'
)


@pytest.mark.parametrize(("message", "told"), [(WRAPPED, NOT_THERE), ("the pod is gone", "the pod is gone"), ("", "")])
def test_the_reason_is_the_last_of_what_is_said(message: str, told: str) -> None:
    assert ended(json.dumps({"status": "Failure", "message": message})) == (None, told)
