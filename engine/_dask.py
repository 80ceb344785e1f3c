"""Work spread over the workers of a dask client, or done here without one; the answer is the same.

`work` is a function at the top of a module, and a part is a small description of a shard: a range of paths, a seed, the
path of a file. The worker loads or makes the shard itself, so that little travels. What comes back is in the order of
the parts, whichever ended first; a caller that reduces it in that order gets the same bits from any number of workers.
The parts must then follow from the problem alone, never from the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from engine.errors import EngineError, InvalidInput, WorkFailed

__all__ = ["check_client", "spread"]

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def spread(
    work: Callable[..., _Result],
    parts: Sequence[_Part],
    client: Any | None = None,
    *,
    common: tuple[Any, ...] = (),
    threads: int = 1,
) -> list[_Result]:
    """Return ``[work(part, *common) for part in parts]``, computed by the workers of a client.

    Parameters
    ----------
    work : callable
        At the top of a module that the workers can import.
    parts : sequence
        One task each; of half a second or more to be worth the way.
    client : distributed.Client, optional
        Without it the parts are done here.
    common : tuple
        What every part needs; sent to each worker once.
    threads : int
        How many parts are done at a time where there is no client; for work that releases the interpreter lock.

    Returns
    -------
    list
        In the order of the parts.

    Raises
    ------
    InvalidInput
        A client that is none, or that is closed.
    EngineError
        As `work` raised it; of several, that of the first part.
    WorkFailed
        Anything else went wrong on a worker; lists every part that failed.

    Examples
    --------
    >>> from engine._dask import spread
    >>> spread(pow, [2, 3], common=(2,))
    [4, 9]
    """
    check_client(client)
    if client is None:
        if threads < 2 or len(parts) < 2:
            return [work(part, *common) for part in parts]
        # threads of this call alone, as in `engine.pricing._batches.run`
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            return list(pool.map(lambda part: work(part, *common), parts))
    if not parts:
        return []
    from distributed import wait

    shared = client.scatter(list(common), broadcast=True, hash=False) if common else []
    # not pure: equal calls are computed again, never taken from results that someone else keeps on the cluster
    tasks = [client.submit(work, part, *shared, pure=False) for part in parts]
    try:
        wait(tasks)  # type: ignore[no-untyped-call]
        failures = {place: task.exception() for place, task in enumerate(tasks) if task.status != "finished"}
        if not failures:
            return list(client.gather(tasks))
    finally:
        client.cancel([*tasks, *shared])
    first = failures[min(failures)]
    if isinstance(first, EngineError):
        raise first
    raise WorkFailed(failures, len(parts)) from first


def check_client(client: Any | None) -> None:
    """Raise for what is neither None nor a running client; to be called before work that would be lost."""
    if client is None:
        return
    wanted = all(callable(getattr(client, name, None)) for name in ("submit", "scatter", "gather", "cancel"))
    if not wanted or getattr(client, "asynchronous", False):
        raise InvalidInput("client", f"is of type {type(client).__name__}; must be a distributed.Client (synchronous)")
    if client.status != "running":
        raise InvalidInput("client", f"is {client.status}; must be connected to its workers")
