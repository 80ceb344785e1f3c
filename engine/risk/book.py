"""Positions of a book as columns, grouped by underlying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray
from engine.errors import InvalidInput, NotFinite
from engine.risk._columns import expiries, numbers, texts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Book"]

_KINDS = ("call", "put", "spot", "future", "perpetual")
_OPTIONS = 2  # the first two kinds
_FUTURE = _KINDS.index("future")
_SIGNS = np.array([1.0, -1.0, 0.0, 0.0, 0.0])
_TEXTS = ("id", "underlying", "kind")
_NUMBERS = ("quantity", "strike", "expiry", "multiplier")


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """Positions in European options, spot, futures and perpetuals; made by `from_columns` or `from_frame`.

    Positions are sorted by underlying, in the order in which the underlyings first appear; every result by position is
    in the order of `ids`.

    Attributes
    ----------
    ids : ndarray of str, shape (n_positions,)
    underlyings : tuple of str
    starts : ndarray of int, shape (n_underlyings + 1,)
        Positions ``starts[k]`` up to ``starts[k + 1]`` are those of ``underlyings[k]``.
    kinds : ndarray of int
        Places in ``("call", "put", "spot", "future", "perpetual")``.
    quantity : ndarray
        Signed number of contracts.
    multiplier : ndarray
        Units of the underlying in a contract.
    strike : ndarray
        [currency]; 1 where there is none.
    expiry : ndarray
        [years], on the clock of `Market.as_of`; infinite where there is none.
    dated : bool
        Expiries came as dates.

    Notes
    -----
    A future is worth ``spot * exp((rate - dividend) * time)``, spot and a perpetual are worth the spot; "value" is
    that times quantity and multiplier whether or not it was paid for, so its changes are the profit. An option is
    worth what `engine.european` says.
    """

    ids: NDArray[np.object_]
    underlyings: tuple[str, ...]
    starts: NDArray[np.int64]
    kinds: NDArray[np.int8]
    quantity: FloatArray
    multiplier: FloatArray
    strike: FloatArray
    expiry: FloatArray
    dated: bool

    def __len__(self) -> int:
        return int(self.ids.size)

    @property
    def sign(self) -> FloatArray:
        """+1 for a call, -1 for a put, 0 for what is linear in its price."""
        return np.asarray(_SIGNS[self.kinds])

    @property
    def weight(self) -> FloatArray:
        """Signed units of the underlying: quantity times multiplier."""
        return self.quantity * self.multiplier

    @property
    def group(self) -> NDArray[np.int64]:
        """Place of the underlying of each position in `underlyings`."""
        return np.repeat(np.arange(len(self.underlyings)), np.diff(self.starts))

    @classmethod
    def from_columns(
        cls,
        *,
        id: Sequence[Any] | NDArray[Any],
        underlying: Sequence[Any] | NDArray[Any],
        kind: Sequence[Any] | NDArray[Any],
        quantity: ArrayLike,
        strike: ArrayLike | None = None,
        expiry: Any | None = None,
        multiplier: ArrayLike | None = None,
    ) -> Book:
        """Return a book of the positions in these columns.

        Parameters
        ----------
        id : sequence of str
            Each once.
        underlying : sequence of str
        kind : sequence of {"call", "put", "spot", "future", "perpetual"}
        quantity : array_like
            Signed number of contracts; short is negative.
        strike : array_like, optional
            Above 0 for options [currency]; nan or 0 for everything else.
        expiry : array_like or dates, optional
            For options and futures: numbers [years, at least 0] on the clock of `Market.as_of`, or dates (UTC where
            they bear no zone; a year is 365 days). nan, 0 or NaT for spot and perpetuals.
        multiplier : array_like, optional
            Units of the underlying in a contract, above 0; 1 where it is not given.

        Returns
        -------
        Book

        Raises
        ------
        InvalidInput
            No positions, columns of different lengths, an id that repeats, an unknown kind, a number out of its
            range; names the column, its row and the position.
        NotFinite
            A nan or an infinity where there has to be a number, likewise.

        Examples
        --------
        >>> from engine.risk import Book
        >>> book = Book.from_columns(
        ...     id=["hedge", "wing"], underlying=["BTC", "BTC"], kind=["perpetual", "call"],
        ...     quantity=[-0.5, 10.0], strike=[float("nan"), 70_000.0], expiry=[float("nan"), 0.25],
        ... )
        >>> len(book), book.underlyings, book.weight.tolist()
        (2, ('BTC',), [-0.5, 10.0])
        """
        ids = texts("id", id)
        size = ids.size
        if size == 0:
            raise InvalidInput("id", "is empty; a book needs a position")
        unique, first, counts = np.unique(ids, return_index=True, return_counts=True)
        if unique.size < size:
            repeated = unique[int(np.argmin(np.where(counts > 1, first, size)))]
            again = int(np.flatnonzero(ids == repeated)[1])
            raise InvalidInput("id", f"is {repeated!r}, which is there already", (again,))
        names, kind_names = texts("underlying", underlying), texts("kind", kind)
        years, dated = expiries(expiry, size)
        columns = {
            "quantity": numbers("quantity", quantity, size),
            "multiplier": numbers("multiplier", 1.0 if multiplier is None else multiplier, size),
            "strike": numbers("strike", np.nan if strike is None else strike, size),
            "expiry": years,
        }
        for name, column in (("underlying", names), ("kind", kind_names)):
            if column.size != size:
                raise InvalidInput(name, f"has {column.size} rows, id has {size}")
        kinds = np.full(size, -1, dtype=np.int8)
        for code, word in enumerate(_KINDS):
            kinds[kind_names == word] = code
        _check(ids, names, kind_names, kinds, columns, dated)
        underlyings, groups = _grouped(names)
        order = np.argsort(groups, kind="stable")
        starts = np.searchsorted(groups[order], np.arange(len(underlyings) + 1))
        option, timed = kinds < _OPTIONS, (kinds < _OPTIONS) | (kinds == _FUTURE)
        return cls(
            ids[order],
            underlyings,
            starts.astype(np.int64),
            kinds[order],
            columns["quantity"][order],
            columns["multiplier"][order],
            np.where(option, columns["strike"], 1.0)[order],
            np.where(timed, years, np.inf)[order],
            dated,
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Book:
        """Return a book of the positions in a table, one row each.

        Parameters
        ----------
        frame : DataFrame
            Columns `id`, `underlying`, `kind`, `quantity`, and where they are wanted `strike`, `expiry` and
            `multiplier`, as in `from_columns`; the index stands for a column `id` that is not there.

        Returns
        -------
        Book

        Raises
        ------
        InvalidInput
            A column that is missing or unknown, or what `from_columns` raises for.

        Examples
        --------
        >>> import pandas as pd
        >>> from engine.risk import Book
        >>> table = pd.DataFrame({"underlying": ["ETH"], "kind": ["spot"], "quantity": [3.0]}, index=["wallet"])
        >>> Book.from_frame(table).ids.tolist()
        ['wallet']
        """
        if not hasattr(frame, "columns"):
            raise InvalidInput("frame", f"is of type {type(frame).__name__}; must be a DataFrame")
        columns: dict[str, Any] = {} if "id" in frame.columns else {"id": frame.index.to_numpy()}
        unknown = [str(name) for name in frame.columns if name not in (*_TEXTS, *_NUMBERS)]
        if unknown:
            raise InvalidInput("frame", f"has the unknown columns {unknown}; known are {[*_TEXTS, *_NUMBERS]}")
        missing = [name for name in ("underlying", "kind", "quantity") if name not in frame.columns]
        if missing:
            raise InvalidInput("frame", f"lacks the columns {missing}")
        columns |= {str(name): frame[name] for name in frame.columns}
        return cls.from_columns(**columns)

    @classmethod
    def from_parquet(cls, path: str | PathLike[str]) -> Book:
        """Return a book of the positions in a Parquet file, with the columns of `from_frame`.

        Parameters
        ----------
        path : str or path
            As `functools.partial` of this method it describes a shard that a worker loads itself.

        Returns
        -------
        Book

        Raises
        ------
        InvalidInput
            As `from_frame`.

        Examples
        --------
        >>> import functools
        >>> from engine.risk import Book
        >>> shards = [functools.partial(Book.from_parquet, f"book/{part}.parquet") for part in range(4)]
        """
        import pandas as pd

        return cls.from_frame(pd.read_parquet(path))

    def part(self, first: int, last: int) -> Book:
        """Return the positions from `first` up to `last`, in the order of `ids`.

        Parameters
        ----------
        first, last : int
            ``0 <= first < last <= len(book)``.

        Returns
        -------
        Book
            Views, no copies.

        Raises
        ------
        InvalidInput
            No position lies between.

        Examples
        --------
        >>> from engine.risk import Book
        >>> book = Book.from_columns(id=["a", "b"], underlying=["X", "Y"], kind=["spot", "spot"], quantity=[1.0, 2.0])
        >>> book.part(1, 2).underlyings
        ('Y',)
        """
        if not 0 <= first < last <= len(self):
            raise InvalidInput("first", f"is {first} and last is {last}; must lie within the {len(self)} positions")
        low = int(np.searchsorted(self.starts, first, side="right")) - 1
        high = int(np.searchsorted(self.starts, last, side="left"))
        starts = np.clip(self.starts[low : high + 1], first, last) - first
        return Book(
            self.ids[first:last],
            self.underlyings[low:high],
            starts,
            self.kinds[first:last],
            self.quantity[first:last],
            self.multiplier[first:last],
            self.strike[first:last],
            self.expiry[first:last],
            self.dated,
        )


def _check(
    ids: NDArray[Any],
    names: NDArray[Any],
    kind_names: NDArray[Any],
    kinds: NDArray[np.int8],
    columns: dict[str, FloatArray],
    dated: bool,
) -> None:
    """Raise for the first row of the first column that cannot be right."""

    def reject(column: str, wrong: Any, values: NDArray[Any], rule: str, error: type[InvalidInput]) -> None:
        if wrong.any():
            row = int(np.argmax(wrong))
            value = values[row] if values.dtype.kind == "f" else repr(values[row])
            raise error(column, f"is {value} (position {ids[row]!r}); {rule}", (row,))

    option, future = kinds < _OPTIONS, kinds == _FUTURE
    reject("underlying", names == "", names, "must be a name", InvalidInput)
    reject("kind", kinds < 0, kind_names, f"must be one of {', '.join(_KINDS)}", InvalidInput)
    for name in ("quantity", "multiplier"):
        reject(name, ~np.isfinite(columns[name]), columns[name], "must be a finite number", NotFinite)
    with np.errstate(over="ignore"):
        huge = np.isinf(columns["quantity"] * columns["multiplier"])
    reject("quantity", huge, columns["quantity"], "times multiplier it overflows", InvalidInput)
    reject("multiplier", columns["multiplier"] <= 0.0, columns["multiplier"], "must be above 0", InvalidInput)
    strike, expiry = columns["strike"], columns["expiry"]
    reject("strike", option & ~np.isfinite(strike), strike, "an option needs a finite one", NotFinite)
    reject("strike", option & (strike <= 0.0), strike, "must be above 0", InvalidInput)
    spare = ~option & ~np.isnan(strike) & (strike != 0.0)
    reject("strike", spare, strike, "only an option has one", InvalidInput)
    reject("expiry", (option | future) & ~np.isfinite(expiry), expiry, "options and futures need one", NotFinite)
    if not dated:
        reject("expiry", (option | future) & (expiry < 0.0), expiry, "must be at least 0", InvalidInput)
    spare = ~(option | future) & ~np.isnan(expiry) & (expiry != 0.0)
    reject("expiry", spare, expiry, "spot and perpetuals have none", InvalidInput)


def _grouped(names: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names in order of first appearance, and the place of each row's among them."""
    unique, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    return tuple(str(name) for name in unique[order]), place[inverse.reshape(-1)]
