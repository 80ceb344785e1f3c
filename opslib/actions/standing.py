"""Standing approvals: given in advance, signed, expiring, bounded, for actions that reduce risk and for restarts.

`python -m opslib.actions.standing key FILE` makes a key pair (the private half stays in FILE);
`python -m opslib.actions.standing sign NAME --key FILE` prints the signature of an entry of `params/policy.yaml`.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import datetime as dt
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from opslib.actions import policy
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Document, PlannedAction
from opslib.actions.policy import Policy, StandingApproval
from opslib.errors import NotFound, UsageError
from opslib.settings import Settings


def sign(entry: StandingApproval, key: Ed25519PrivateKey) -> str:
    """The signature of an entry, base64."""
    return base64.b64encode(key.sign(entry.signed_bytes)).decode()


def public(key: Ed25519PrivateKey) -> str:
    """The public half of a key as `signers` of the policy lists it, base64."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def signed(entry: StandingApproval, signers: dict[str, str]) -> bool:
    """Whether the entry carries the signature of the signer it names."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signers[entry.signed_by], validate=True))
        key.verify(base64.b64decode(entry.signature, validate=True), entry.signed_bytes)
    except (KeyError, ValueError, binascii.Error, InvalidSignature):
        return False
    return True


def covering(
    rules: Policy, document: Document, *, firing: Sequence[str], held: bool, now: dt.datetime | None = None
) -> tuple[StandingApproval | None, list[str]]:
    """The standing approval that covers every action of a plan, and why the others for such actions here do not.

    Parameters
    ----------
    rules : Policy
    document : Document
    firing : sequence of str
        Names of the alerts of the incident that fire.
    held : bool
        Whether the platform is on hold.
    now : datetime, optional
    """
    now = now or dt.datetime.now(dt.UTC)
    refused: list[str] = []
    for entry in rules.standing_approvals:
        here = document.platform in entry.platforms and document.environment in entry.environments
        if not here or entry.action not in {action.action for action in document.actions}:
            continue
        problems = [problem for action in document.actions for problem in _lacking(entry, action)]
        if entry.trigger not in firing:
            problems.append(f"{entry.trigger} does not fire")
        if now >= entry.expires:
            problems.append(f"it expired at {entry.expires.isoformat()}")
        if not signed(entry, rules.signers):
            problems.append(f"it lacks a valid signature of {entry.signed_by}")
        if held and not all(action.stops_new_risk for action in document.actions):
            problems.append("the platform is on hold")
        if not problems:
            return entry, refused
        refused.append(f"{entry.name}: {'; '.join(dict.fromkeys(problems))}")
    return None, refused


def _lacking(entry: StandingApproval, action: PlannedAction) -> list[str]:
    """Why an entry does not cover one action of a plan."""
    if action.action != entry.action:
        return [f"it is not for {action.action}"]
    problems = []
    if not ACTIONS[action.action].may_stand():
        problems.append(f"{action.action} does not reduce risk")
    if action.approvers > 1:
        problems.append(f"{action.action} needs two persons")
    for name, bounds in entry.bounds.items():
        value = action.arguments.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not bounds.low <= value <= bounds.high:
            problems.append(f"{name} = {value} is not within {bounds.low:g}..{bounds.high:g}")
    return problems


def _make_key(path: Path) -> str:
    """Write a new private key for its owner alone; returns the public half."""
    key = Ed25519PrivateKey.generate()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public(key)


def _read_key(path: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} holds no Ed25519 key; make one with `python -m opslib.actions.standing key FILE`")
    return key


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m opslib.actions.standing", description=(__doc__ or "").split("\n")[0]
    )
    words = parser.add_subparsers(dest="word", required=True)
    making = words.add_parser("key", help="make a key pair; the private half goes into FILE")
    making.add_argument("file", type=Path)
    signing = words.add_parser("sign", help="print the signature of a standing approval")
    signing.add_argument("name")
    signing.add_argument("--key", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.word == "key":
        sys.stdout.write(f"{_make_key(given.file)}\n")
        return 0
    for entry in policy.load(Settings()).standing_approvals:
        if entry.name == given.name:
            sys.stdout.write(f"{sign(entry, _read_key(given.key))}\n")
            return 0
    raise NotFound(f"policy.yaml has no standing approval {given.name!r}")


if __name__ == "__main__":
    sys.exit(main())
