"""Columns of Python objects as Arrow arrays: every value is what it was, or an error names the first that is not."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from itertools import chain
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_ALONE = {str, int, float, bool, bytes, dt.date, Decimal, uuid.UUID}  # of one of these Arrow changes nothing
_LONGEST = 80  # characters of a value that errors show


class Mixed(TypeError):
    """A value that does not fit the others of its column."""


def from_objects(values: Any) -> pa.Array:
    """The objects of a NumPy array as they are. Whole numbers past 64 bits are DECIMAL(38,0).

    Arrow by itself cuts a time behind a date to its day, drops a zone behind times without, and nanoseconds, and takes
    True behind 2.5 for 1. Raises Mixed with the row, counted from 1, its value, and both types."""
    import pandas as pd

    present = values[~pd.isna(values)]
    kinds = set(map(type, present))
    try:
        array = _converted(values, kinds)
    except _refusals() as error:
        raise _first_refused(values, kinds, error) from error
    if not _are_alike(present, kinds):
        for n, (given, found) in enumerate(zip(values, array.to_pylist(), strict=True)):
            if not _is_same(given, found):
                raise Mixed(f"{_said(n, given)}, and among the others, which are {array.type}, it would be {found!r}")
    return array


def _are_alike(present: Iterable[Any], kinds: set[type]) -> bool:
    """Whether values are of one type of which Arrow changes nothing: then they need not be compared one by one."""
    import numpy as np

    if kinds == {dt.datetime}:
        return len({v.tzinfo is None for v in present}) == 1
    if kinds == {np.ndarray}:
        return len(types := {v.dtype for v in present}) == 1 and np.dtype(object) not in types
    if kinds == {list}:
        kinds = set(map(type, chain.from_iterable(present))) - {type(None)}
    return len(kinds) == 1 and kinds <= _ALONE


def _refusals() -> tuple[type[Exception], ...]:
    import pyarrow as pa

    return (pa.ArrowException, TypeError, ValueError, NotImplementedError, OverflowError)


def _converted(values: Any, kinds: Iterable[type]) -> pa.Array:
    import pyarrow as pa

    try:
        array = pa.array(values, from_pandas=True)
    except _refusals():
        if bool in kinds or not all(issubclass(k, (Integral, Decimal)) for k in kinds):
            raise
        array = _decimals(values)
    if pa.types.is_decimal256(array.type):
        raise ValueError(f"a DECIMAL has 38 digits, and these values have {array.type.precision}")
    return array


def _decimals(values: Any) -> pa.Array:
    """Whole numbers past 64 bits, or of any size beside decimals, which Arrow takes for no wider than the first."""
    import pandas as pd
    import pyarrow as pa

    whole = not any(isinstance(v, Decimal) for v in values)
    exact = [
        None if none else v if isinstance(v, Decimal) else Decimal(int(v))
        for v, none in zip(values, pd.isna(values), strict=True)
    ]
    return pa.array(exact, pa.decimal128(38, 0) if whole else None)


def _first_refused(values: Any, kinds: Iterable[type], error: Exception) -> Mixed:
    """The first row with which the rows up to it have no type."""
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            _converted(values[:middle], kinds)
        except _refusals() as refused:
            bad, error = middle, refused
        else:
            good = middle
    before = _converted(values[:good], kinds).type
    beside = f", and the rows before it are {before}" if good else ""
    return Mixed(f"{_said(good, values[good])}{beside}: {str(error).splitlines()[0]}")


def _said(n: int, value: Any) -> str:
    text = repr(value)
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
    return f"row {n + 1} holds {short} ({type(value).__name__})"


def _is_same(given: Any, found: Any) -> bool:
    """Whether a value is what Arrow has in its place."""
    if isinstance(found, list):
        given = list(given)
        return len(given) == len(found) and all(map(_is_same, given, found))
    if isinstance(found, dict):
        return all(_is_same(given.get(name), value) for name, value in found.items())
    if found is None:  # before the comparison: what pd.NA equals is pd.NA
        return _is_missing(given)
    if isinstance(found, bool) != (type(given).__name__ in ("bool", "bool_")):
        return False
    return bool(given == found) or (_is_missing(found) and _is_missing(given))


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return pd.isna(value) is True
