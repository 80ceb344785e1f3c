"""Which keys Redis holds: found by SCAN within a budget, counted and capped; never KEYS."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opslib.probes.redis_client import TYPE_OF_COUNT, connected, permitted, table, text_of
from opslib.probes.registry import Frame, Target, probe

if TYPE_CHECKING:
    from redis import Redis

_SCAN_CALLS = 400
_BATCH = 500
_LONGEST_S = 5.0
_SAMPLED = 20  # keys of a group whose size is asked
_GROUPS = 500
_MOST_SAMPLED = 5000
_GONE = -2  # what TTL answers of a key that is not there any more
_LAST_PART = re.compile(r"[^:.]+$")


@probe("redis.keys")
def keys(target: Target, pattern: str = "*", limit: int = 1000) -> Frame:
    """Keys by pattern, found by SCAN within a budget: `key`, `type`; the column `complete` says whether all were seen.

    At most 400 calls of SCAN are made and `limit` keys are listed.
    """
    found: dict[str, str] = {}
    with connected(target) as client:
        cursor, calls = 0, 0
        while calls < _SCAN_CALLS and len(found) < limit:
            cursor, names = client.scan(cursor, match=pattern, count=_BATCH)
            calls += 1
            kinds = client.pipeline(transaction=False)
            for name in names:
                kinds.type(name)
            found.update((text_of(name), text_of(kind)) for name, kind in zip(names, kinds.execute(), strict=True))
            if cursor == 0:
                break
    complete = cursor == 0 and len(found) <= limit
    listed = sorted(found.items())[:limit]
    rows = [{"key": name, "type": kind, "complete": complete} for name, kind in listed]
    return table(rows, key="string", type="string", complete="bool")


@probe("redis.census")
def census(target: Target, pattern: str = "*", budget_s: float = 1.5) -> Frame:
    """Keys counted by pattern: the last part of a name, after the last `:` or `.`, stands as `*`.

    Columns `pattern`, `type`, `keys`, `bytes` (estimated from up to 20 keys of each), `largest`, `largest_elements`,
    `without_ttl` (of those looked at), `complete` (whether the budget sufficed for all keys). Largest bytes first.
    """
    if not 0 < budget_s <= _LONGEST_S:
        raise target.error(f"budget_s must be above 0 and at most {_LONGEST_S:g} s")
    ends = time.monotonic() + budget_s
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    complete = True
    with connected(target) as client:
        for names, kinds, last in _scan(client, pattern):
            for name, kind in zip(names, kinds, strict=True):
                key = (_LAST_PART.sub("*", name) if re.search(r"[:.]", name) else name, kind)
                key = key if key in groups or len(groups) < _GROUPS else ("(others)", "")
                group = groups.setdefault(key, {"keys": 0, "sample": []})
                group["keys"] += 1
                if len(group["sample"]) < _SAMPLED:
                    group["sample"].append(name)
            if time.monotonic() > ends and not last:
                complete = False
                break
        rows = [
            {"pattern": name, "type": kind, "keys": group["keys"], "complete": complete}
            | _sizes(client, group["sample"], kind, group["keys"])
            for (name, kind), group in groups.items()
        ]
    rows.sort(key=lambda row: (-(row["bytes"] or 0), row["pattern"]))
    types = {"pattern": "string", "type": "string", "keys": "int64", "bytes": "int64", "largest": "string"}
    return table(rows, **types, largest_elements="int64", without_ttl="int64", complete="bool")


def _scan(client: Redis, pattern: str) -> Iterator[tuple[list[str], list[str], bool]]:
    """Names and types, batch by batch, each key once, and whether the batch is the last."""
    cursor, seen = 0, set()
    while True:
        cursor, found = client.scan(cursor, match=pattern, count=_BATCH)
        names = [name for name in map(text_of, found) if name not in seen]
        seen.update(names)
        kinds = client.pipeline(transaction=False)
        for name in names:
            kinds.type(name)
        yield names, [text_of(kind) for kind in kinds.execute()], cursor == 0
        if cursor == 0:
            return


def _sizes(client: Redis, sample: list[str], kind: str, keys: int) -> dict[str, Any]:
    """Bytes of a group, estimated, its largest key with its elements, and how many have no end of life."""
    sizes = [(permitted(client, "MEMORY", "USAGE", name, "SAMPLES", "5"), name) for name in sample]
    known = [(int(size), name) for size, name in sizes if size is not None]
    count = getattr(client, TYPE_OF_COUNT.get(kind, ""), None)
    elements = [(int(count(name)), name) for name in sample] if count else []
    lives = client.pipeline(transaction=False)
    for name in sample:
        lives.ttl(name)
    largest = max(elements or known, default=(0, ""))
    return {
        "bytes": round(sum(size for size, _ in known) / len(known) * keys) if known else None,
        "largest": largest[1],
        "largest_elements": largest[0] if elements else None,
        "without_ttl": sum(life == -1 for life in lives.execute()),
    }


@probe("redis.lives")
def lives(target: Target, pattern: str = "*", sample: int = 2000) -> Frame:
    """A sample of the keys, how long each still lives, and how long ago it was used.

    Columns `key`, `type`, `life_s` (what is left of its life [s], none where it is kept for ever), `idle_s` (since it
    was read or written last [s], none where the server does not keep that), `of` (keys in all). The sample is what SCAN
    finds first, which follows no order of names or ages; looking does not count as using.

    Parameters
    ----------
    target : Target
    pattern : str
    sample : int
        So many keys, at most 5,000.
    """
    if not 0 < sample <= _MOST_SAMPLED:
        raise target.error(f"sample must be from 1 to {_MOST_SAMPLED:,}")
    rows: list[dict[str, Any]] = []
    with connected(target) as client:
        of = int(client.dbsize())
        for calls, (names, kinds, _) in enumerate(_scan(client, pattern), start=1):
            told = client.pipeline(transaction=False)
            for name in names:
                told.ttl(name)
                told.object("IDLETIME", name)
            answers = told.execute(raise_on_error=False)
            pairs = zip(names, kinds, answers[::2], answers[1::2], strict=True)
            rows += [
                {"key": name, "type": kind, "life_s": life if life >= 0 else None, "idle_s": _whole(idle), "of": of}
                for name, kind, life, idle in pairs
                if isinstance(life, int) and life != _GONE
            ]
            if len(rows) >= sample or calls >= _SCAN_CALLS:
                break
    return table(rows[:sample], key="string", type="string", life_s="int64", idle_s="int64", of="int64")


def _whole(answer: Any) -> int | None:
    """A number of seconds; None for an error, such as that of a server that counts uses and keeps no times."""
    return int(answer) if isinstance(answer, int) else None


@probe("redis.streams")
def streams(target: Target, pattern: str = "*") -> Frame:
    """The streams: `key`, `length`, `first` and `last` entry (UTC), `groups` that read it; within 400 calls of SCAN."""
    rows: list[dict[str, Any]] = []
    with connected(target) as client:
        cursor = 0
        for _ in range(_SCAN_CALLS):
            cursor, names = client.scan(cursor, match=pattern, count=_BATCH, _type="stream")
            rows += [_stream(client, text_of(name)) for name in names]
            if cursor == 0:
                break
    rows.sort(key=lambda row: str(row["key"]))
    return table(rows, key="string", length="int64", first="ms", last="ms", groups="int64")


def _stream(client: Redis, key: str) -> dict[str, Any]:
    told = client.xinfo_stream(key)
    ends = {name: told[f"{name}-entry"] for name in ("first", "last")}
    times = {name: int(text_of(entry[0]).partition("-")[0]) if entry else None for name, entry in ends.items()}
    return {"key": key, "length": int(told["length"]), "groups": int(told["groups"]), **times}
