"""Which keys Redis holds: found by SCAN within a number of calls and a time, counted and capped; never KEYS."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opslib.probes.redis_client import TYPE_OF_COUNT, connected, table, text_of
from opslib.probes.registry import Frame, Target, probe

if TYPE_CHECKING:
    from redis import Redis

_SCAN_CALLS = 400
_BATCH = 500
_LONGEST_S = 5.0
_SIZES_S = 5.0
_SAMPLED = 20  # keys of a group whose size is asked
_GROUPS = 500
_MOST_SAMPLED = 5000
_GONE = -2  # what TTL answers of a key that is not there any more
_LAST_PART = re.compile(r"[^:.]+$")


@probe("redis.keys")
def keys(target: Target, pattern: str = "*", limit: int = 1000) -> Frame:
    """Keys by pattern, found by SCAN within a budget: `key`, `type`; the column `complete` says whether all were seen.

    At most 400 calls of SCAN within 5 s are made and `limit` keys are listed.
    """
    found: dict[str, str] = {}
    ends, whole, spent = time.monotonic() + _LONGEST_S, False, False
    with connected(target) as client:
        for calls, (names, kinds, last) in enumerate(_scan(client, pattern), start=1):
            found.update(zip(names, kinds, strict=True))
            whole, spent = last, calls >= _SCAN_CALLS or time.monotonic() > ends
            if len(found) >= limit or spent:
                break
    complete = whole and len(found) <= limit
    listed = sorted(found.items())[:limit]
    rows = [{"key": name, "type": kind, "complete": complete} for name, kind in listed]
    cut = spent and not whole and len(found) < limit  # by the budget, not by what was asked for
    note = f"{len(listed):,} keys of {pattern} within the budget of SCAN; there may be more" if cut else None
    return table(rows, note=note, key="string", type="string", complete="bool")


@probe("redis.census")
def census(target: Target, pattern: str = "*", budget_s: float = 1.5) -> Frame:
    """Keys counted by pattern: the last part of a name, after the last `:` or `.`, stands as `*`.

    Columns `pattern`, `type`, `keys`, `bytes` (estimated from up to 20 keys of each), `largest`, `largest_elements`,
    `without_ttl` (of those looked at), `complete` (whether the budget sufficed for all keys). Largest bytes first.
    Sizes are asked of the most frequent patterns first, for 5 s at most; what was not asked is empty.
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
        ends, asked = time.monotonic() + _SIZES_S, 0
        rows = []
        for (name, kind), group in sorted(groups.items(), key=lambda item: -item[1]["keys"]):
            row = {"pattern": name, "type": kind, "keys": group["keys"], "complete": complete}
            if time.monotonic() <= ends:
                row |= _sizes(client, group["sample"], kind, group["keys"])
                asked += 1
            rows.append(row)
    rows.sort(key=lambda row: (-(row.get("bytes") or 0), row["pattern"]))
    counted = sum(group["keys"] for group in groups.values())
    missing = [
        "" if complete else f"{counted:,} keys of {pattern} were counted within {budget_s:g} s; there are more",
        ""
        if asked == len(groups)
        else f"{len(groups) - asked:,} of {len(groups):,} patterns have no sizes: no time left",
    ]
    types = {"pattern": "string", "type": "string", "keys": "int64", "bytes": "int64", "largest": "string"}
    types |= {"largest_elements": "int64", "without_ttl": "int64", "complete": "bool"}
    return table(rows, note="; ".join(filter(None, missing)) or None, **types)


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
    """Bytes of a group, estimated, its largest key with its elements, and how many have no end of life; one round trip.

    None where our identity may not ask.
    """
    told = client.pipeline(transaction=False)
    for name in sample:
        told.memory_usage(name, samples=5)
        told.ttl(name)
        if kind in TYPE_OF_COUNT:
            getattr(told, TYPE_OF_COUNT[kind])(name)
    answers = told.execute(raise_on_error=False)
    step = len(answers) // len(sample)

    def named(place: int) -> list[tuple[int, str]]:
        pairs = zip(map(_whole, answers[place::step]), sample, strict=True)
        return [(value, name) for value, name in pairs if value is not None]

    known, lives = named(0), named(1)
    elements = named(2) if kind in TYPE_OF_COUNT else []
    largest = max(elements or known, default=(0, ""))
    return {
        "bytes": round(sum(size for size, _ in known) / len(known) * keys) if known else None,
        "largest": largest[1],
        "largest_elements": largest[0] if elements else None,
        "without_ttl": sum(life == -1 for life, _ in lives) if lives else None,
    }


@probe("redis.lives")
def lives(target: Target, pattern: str = "*", sample: int = 2000) -> Frame:
    """A sample of the keys, how long each still lives, and how long ago it was used.

    Columns `key`, `type`, `life_s` (what is left of its life [s], none where it is kept for ever), `idle_s` (since it
    was read or written last [s], none where the server does not keep that), `of` (keys in all). The sample is what SCAN
    finds first, within 400 calls and 5 s, which follows no order of names or ages; looking does not count as using.

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
    ends, whole = time.monotonic() + _LONGEST_S, False
    with connected(target) as client:
        of = int(client.dbsize())
        for calls, (names, kinds, last) in enumerate(_scan(client, pattern), start=1):
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
            whole = last or len(rows) >= sample
            if whole or calls >= _SCAN_CALLS or time.monotonic() > ends:
                break
    note = None if whole else f"{len(rows):,} keys of the {sample:,} asked for, within the budget of SCAN"
    return table(rows[:sample], note=note, key="string", type="string", life_s="int64", idle_s="int64", of="int64")


def _whole(answer: Any) -> int | None:
    """A whole number; None for an error, such as that of a server that may not be asked or keeps no times."""
    return int(answer) if isinstance(answer, int) else None


@probe("redis.streams")
def streams(target: Target, pattern: str = "*") -> Frame:
    """The streams: `key`, `length`, `first` and `last` entry (UTC), `groups` that read it.

    Found within 400 calls of SCAN and 5 s.
    """
    rows: list[dict[str, Any]] = []
    ends, cursor = time.monotonic() + _LONGEST_S, 0
    with connected(target) as client:
        for _ in range(_SCAN_CALLS):
            cursor, names = client.scan(cursor, match=pattern, count=_BATCH, _type="stream")
            rows += _streams(client, [text_of(name) for name in names])
            if cursor == 0 or time.monotonic() > ends:
                break
    rows.sort(key=lambda row: str(row["key"]))
    note = f"{len(rows):,} streams of {pattern} within the budget of SCAN; there may be more" if cursor else None
    return table(rows, note=note, key="string", length="int64", first="ms", last="ms", groups="int64")


def _streams(client: Redis, names: list[str]) -> Iterator[dict[str, Any]]:
    """What is known of each stream, in one round trip; one that is gone by now is left out."""
    import redis

    asked = client.pipeline(transaction=False)
    for name in names:
        asked.xinfo_stream(name)
    for name, told in zip(names, asked.execute(raise_on_error=False), strict=True):
        if isinstance(told, redis.ResponseError) and "no such key" in str(told):
            continue
        if isinstance(told, Exception):
            raise told
        ends = {end: told[f"{end}-entry"] for end in ("first", "last")}
        times = {end: int(text_of(entry[0]).partition("-")[0]) if entry else None for end, entry in ends.items()}
        yield {"key": name, "length": int(told["length"]), "groups": int(told["groups"]), **times}
