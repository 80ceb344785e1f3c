"""Who is connected to PostgreSQL and who waits for whom: connections, sessions, blockers, long transactions, locks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opslib.probes.postgres_reading import checked, frame, partly, reading, rows
from opslib.probes.registry import Frame, Target, probe

_SESSION = {"pid": "whole", "backend_start": "time", "state": "text", "user": "text", "application": "text"}


@probe("postgres.usage")
def usage(target: Target) -> dict[str, Any]:
    """Connections `used` of the `connections_limit`: `used_pct` [%], by state, `reserved`, and how many are `free`.

    Also: `active`, `idle`, `idle_in_transaction`, `waiting_for_locks`, `not_shown`, and `unseen` in words.
    """
    with reading(target) as connection:
        found, unseen = rows(connection, "usage")[0], partly(connection)
    ordinary = found["connections_limit"] - found["reserved"]
    found |= {"free": max(0, ordinary - found["used"]), "used_pct": round(100 * found["used"] / ordinary, 2)}
    return {**found, "unseen": [unseen] if unseen else []}


@probe("postgres.connections")
def connections(target: Target, limit: int = 200) -> Frame:
    """Connections by `state`, `application`, `user`, `database`, `client`; most first.

    Columns also: `connections`, `longest_in_state_s`, `longest_transaction_s` [s], `connections_limit`.
    """
    with reading(target) as connection:
        found, note = rows(connection, "connections", limit=checked(target, limit)), partly(connection)
    kinds = {
        "state": "text",
        "application": "text",
        "user": "text",
        "database": "text",
        "client": "text",
        "connections": "whole",
        "longest_in_state_s": "number",
        "longest_transaction_s": "number",
        "connections_limit": "whole",
    }
    return frame(found, kinds, note=note)


@probe("postgres.activity")
def activity(target: Target, limit: int = 200) -> Frame:
    """Sessions, those longest in a transaction first: what each runs, how long, and what it waits for.

    Columns: `pid`, `backend_start` (UTC), `state`, `user`, `application`, `database`, `client`, `wait_event_type`,
    `wait_event`, `transaction_start` (UTC), `transaction_s`, `query_s`, `in_state_s` [s], `query`.
    """
    with reading(target) as connection:
        found, note = rows(connection, "activity", limit=checked(target, limit)), partly(connection)
    kinds = {
        **_SESSION,
        "database": "text",
        "client": "text",
        "wait_event_type": "text",
        "wait_event": "text",
        "transaction_start": "time",
        "transaction_s": "number",
        "query_s": "number",
        "in_state_s": "number",
        "query": "text",
    }
    return frame(found, kinds, note=note)


@probe("postgres.long_transactions")
def long_transactions(target: Target, over_s: float = 60.0, limit: int = 100) -> Frame:
    """Transactions older than `over_s` [s], oldest first, prepared ones too.

    Columns: `pid`, `backend_start` (UTC), `state`, `user`, `application`, `database`, `client`, `transaction_start`
    (UTC), `transaction_s`, `in_state_s` [s], `snapshot_age` (what they hold back [transactions]), `relations_locked`,
    `blocks` (sessions that wait for it), `query`.
    """
    with reading(target) as connection:
        found = rows(connection, "long_transactions", over_s=float(over_s), limit=checked(target, limit))
        note = partly(connection)
    kinds = {
        **_SESSION,
        "database": "text",
        "client": "text",
        "transaction_start": "time",
        "transaction_s": "number",
        "in_state_s": "number",
        "snapshot_age": "whole",
        "relations_locked": "whole",
        "blocks": "whole",
        "query": "text",
    }
    return frame(found, kinds, note=note)


@probe("postgres.locks")
def locks(target: Target, limit: int = 200) -> Frame:
    """Locks on relations by mode, those waited for first: `relation`, `mode`, `granted`, `sessions`, `pids`."""
    with reading(target) as connection:
        found = rows(connection, "locks", limit=checked(target, limit))
    kinds = {"relation": "text", "mode": "text", "granted": "flag", "sessions": "whole", "pids": "text"}
    return frame(found, kinds)


@probe("postgres.blockers")
def blockers(target: Target, limit: int = 500) -> Frame:
    """Who waits for whom, as a tree: each session that blocks without waiting, and under it those that wait for it.

    Columns: `tree` (the pid, indented), `pid`, `depth`, `root`, `waiting_behind` (sessions that wait for it, also
    through others), `blocked_by`, `waits_s` [s], `wants`, `wants_of`, and the session. The pid 0 is a prepared
    transaction.
    """
    with reading(target) as connection:
        found, note = rows(connection, "blocked", limit=checked(target, limit)), partly(connection)
    kinds = {
        "tree": "text",
        **_SESSION,
        "depth": "whole",
        "root": "whole",
        "waiting_behind": "whole",
        "blocked_by": "text",
        "wants": "text",
        "wants_of": "text",
        "waits_s": "number",
        "transaction_start": "time",
        "transaction_s": "number",
        "in_state_s": "number",
        "client": "text",
        "query": "text",
    }
    return frame(list(_tree(found)), kinds, note=note)


def _tree(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The sessions in the order of the tree, each once, under the first of those that it waits for."""
    sessions = {row["pid"]: row for row in found}
    waits = {pid: [other for other in row["blocked_by"] if other in sessions] for pid, row in sessions.items()}
    behind: dict[int, list[int]] = {pid: [] for pid in sessions}
    for pid, others in waits.items():
        for other in dict.fromkeys(others):
            behind[other].append(pid)
    seen: set[int] = set()
    roots = sorted((pid for pid in sessions if not waits[pid]), key=lambda pid: -len(_all_behind(pid, behind)))
    for root in [*roots, *sessions]:  # a ring, that is a deadlock not yet detected, has no root
        if root not in seen:
            yield from _below(root, root, 0, sessions, behind, seen)


def _below(
    pid: int, root: int, depth: int, sessions: dict[int, dict[str, Any]], behind: dict[int, list[int]], seen: set[int]
) -> Iterator[dict[str, Any]]:
    """A session and those that wait for it."""
    stack = [(pid, depth)]
    while stack:
        at, deep = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        row = sessions[at]
        yield {
            **row,
            "tree": f"{'   ' * (deep - 1)}└─ {at}" if deep else str(at),
            "depth": deep,
            "root": root,
            "waiting_behind": len(_all_behind(at, behind)),
            "blocked_by": ", ".join(str(other) for other in dict.fromkeys(row["blocked_by"])),
        }
        waiting = sorted(behind[at], key=lambda other: sessions[other]["waits_s"] or 0.0)
        stack += [(other, deep + 1) for other in waiting]


def _all_behind(pid: int, behind: dict[int, list[int]]) -> set[int]:
    """Every session that waits for one, directly or through others."""
    found: set[int] = set()
    stack = [pid]
    while stack:
        for other in behind[stack.pop()]:
            if other not in found and other != pid:
                found.add(other)
                stack.append(other)
    return found
