"""Logged requests (mlforge.online.request_log) beside the catalog: what was served, and what a training set gives for
the same keys and times on the version that served them, whatever was built and published since."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlforge.agreement.catalog import expected, list_names, not_listed
from mlforge.agreement.served_values import Served, Tally
from mlforge.agreement.targets import find, newer
from mlforge.errors import RetrievalError, UsageError, did_you_mean, engine_words
from mlforge.model import Version
from mlforge.online.key_encoding import Unfit, encoder
from mlforge.online.packed_values import moment
from mlforge.project.ref_grammar import parse_ref
from mlforge.publishing.layout import keys as layout_keys
from mlforge.sql.templates import sql
from mlforge.warehouses.paths import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.agreement.result import AgreementOptions, FeatureAgreement, Row
    from mlforge.agreement.targets import Found
    from mlforge.model import CatalogState, FeatureRef

LOGGED = "_mlforge_logged"
SERVED = "_mlforge_served"
PORTION = 20_000
"""Entity rows that are compared at once."""


class _Version:
    """One version that was served, as the log has it."""

    def __init__(self, row: Sequence[Any]) -> None:
        self.feature, self.version, self.built, self.values, self.out_of_range, self.stepped, first, last = row
        self.instants = (moment(first), moment(last))


def compare_logged(
    con: DuckDBPyConnection, state: CatalogState, where: str, asked: Sequence[str], options: AgreementOptions
) -> list[FeatureAgreement]:
    """Compare the requests in a folder, or in the files that a pattern means; of all features that were served, or of
    those of these references and feature sets. Raises UsageError for unknown names and where no request is."""
    _read(con, where)
    served = [_Version(row) for row in con.execute(sql("online/logged_versions", table=LOGGED)).fetchall()]
    wanted = _wanted(state, served, asked)
    found = []
    for version in served:
        columns = [set(ref.columns) for ref in wanted if _means(ref, version)]
        if columns or not asked:
            only = set().union(*columns) if all(columns) else set()
            found.append(_version(con, state, version, only, options))
    return found


def _read(con: DuckDBPyConnection, where: str) -> None:
    import duckdb

    files = pattern(str(Path(where) / "*.parquet") if Path(where).is_dir() else where)
    try:
        con.execute(sql("online/keep_logged", table=LOGGED, files=files))
    except duckdb.Error as error:
        raise UsageError(
            f"no logged requests can be read from {where}: {engine_words(error)}",
            hint="give the folder that requests are logged to, or a pattern of its files",
        ) from error


def _wanted(state: CatalogState, served: Sequence[_Version], asked: Sequence[str]) -> list[FeatureRef]:
    from mlforge.plan.versions import resolve_set

    refs: list[FeatureRef] = []
    for item in asked:
        is_set = item.partition("@")[0] in state.feature_sets
        refs += resolve_set(state, item).members if is_set else [parse_ref(item)]
    names = {v.feature for v in served}
    for ref in refs:
        if ref.name not in names:
            raise UsageError(f"no request for {ref.name} is logged there", hint=did_you_mean(ref.name, names))
    return refs


def _means(ref: FeatureRef, version: _Version) -> bool:
    return ref.name == version.feature and Version.parse(version.version).matches(ref.version)


def _version(
    con: DuckDBPyConnection, state: CatalogState, version: _Version, only: set[str], options: AgreementOptions
) -> FeatureAgreement:
    began = time.monotonic()
    found = find(state, version.feature, version.version, version.built)
    outputs = [] if isinstance(found, str) else [o.name for o in found.stored.compiled.outputs]
    tally = Tally(version.feature, version.version, [n for n in outputs if not only or n in only])
    tally.out_of_range = version.out_of_range
    rows = 0
    if isinstance(found, str):
        tally.unproven.append(f"{found}: {version.values - version.out_of_range:,} values were served from it")
    else:
        rows = _compared(con, state, version, found, tally)
    return tally.result(
        options.threshold,
        keys=rows,
        instants=version.instants,
        seconds=time.monotonic() - began,
        current=newer(state, version.feature, version.version),
    )


def _compared(con: DuckDBPyConnection, state: CatalogState, version: _Version, found: Found, tally: Tally) -> int:
    """Compare all that was served from a version; how many entity rows that were."""
    on_demand = found.stored.compiled.kind == "on_demand"
    if on_demand and version.stepped:
        tally.coarse = version.stepped
        tally.unproven.append(f"{version.stepped:,} values read keys that are kept at a step, between two steps")
    con.execute(
        sql(
            "online/keep_served",
            table=SERVED,
            logged=LOGGED,
            feature=version.feature,
            version=version.version,
            built=version.built,
            exactly=on_demand,
        )
    )
    if not on_demand:
        list_names(con, found.physical)
    total = int(con.execute(f"SELECT coalesce(max(n) + 1, 0) FROM {SERVED}").fetchall()[0][0])
    for low in range(0, total, PORTION):
        try:
            _portion(con, state, found, tally, low, low + PORTION)
        except RetrievalError as error:
            tally.unproven.append(f"the catalog cannot be read for these entity rows: {error}")
            break
    return total


def _portion(con: DuckDBPyConnection, state: CatalogState, found: Found, tally: Tally, low: int, high: int) -> None:
    given = con.execute(sql("online/served_rows", table=SERVED, low=low, high=high)).fetchall()
    keys = [_decoded(text) for text, *_ in given]
    rows = [{**key, **_decoded(request or "{}")} for key, (_, request, _) in zip(keys, given, strict=True)]
    want = expected(con, state, found, tally.columns, rows, [exact for *_, exact in given])
    known = _known(con, found, keys)
    for n, column, value, status, step, at in _values(con, low, high):
        if column in want:
            place = n - low
            served = Served(value, status, step)
            tally.add(column, served, want[column][place], rows[place], at, known=known[place])


def _decoded(text: str) -> Row:
    try:
        found: Row = json.loads(text)
    except ValueError as error:
        raise RetrievalError(f"{text!r} is no logged entity row: {error}") from error
    return found


def _values(con: DuckDBPyConnection, low: int, high: int) -> Iterator[tuple[Any, ...]]:
    """In portions. The connection is busy until the last one."""
    con.execute(sql("online/served_values", table=SERVED, low=low, high=high))
    while rows := con.fetchmany(10_000):
        yield from rows


def _known(con: DuckDBPyConnection, found: Found, keys: Sequence[Row]) -> list[bool]:
    """Whether the version has rows of each key; of an on-demand feature, which has none, it is not asked."""
    if found.stored.compiled.kind == "on_demand":
        return [True] * len(keys)
    columns = layout_keys(found.physical.c)
    encoders = [(k.name, encoder(k.kind, k.type)) for k in columns]
    names: list[bytes | None] = []
    for key in keys:
        try:
            whole = all(key.get(n) is not None for n, _ in encoders)
            names.append(b"".join(encode(key[n]) for n, encode in encoders) if whole else None)
        except Unfit as error:
            raise RetrievalError(f"{key} is no key of {found.stored.feature}: not {error}") from error
    unknown = {None, *not_listed(con, {n for n in names if n is not None})}
    return [name not in unknown for name in names]
