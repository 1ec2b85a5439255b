"""A sample of a store beside the catalog: what readers are given, and what a training set holds for the same keys."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import msgspec

from mlforge.agreement.catalog import canonical, expected
from mlforge.agreement.sample import Extra, instants, keys
from mlforge.agreement.served_values import UNREADABLE, Served, Tally
from mlforge.agreement.targets import find, newer, targets
from mlforge.errors import NotPublishedError, OnlineError, RetrievalError, StoreDownError
from mlforge.online.packed_values import micros, moment
from mlforge.online.published import Table
from mlforge.publishing.points import STEPS
from mlforge.publishing.writing import Patient, read_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duckdb import DuckDBPyConnection

    from mlforge.agreement.result import AgreementOptions, FeatureAgreement, Row
    from mlforge.agreement.sample import Keys
    from mlforge.agreement.targets import Found, Target
    from mlforge.model import CatalogState
    from mlforge.online.client import Client
    from mlforge.online.published import Manifest

TRIES = 3
PORTION = 2_000
"""Keys that are read at once, and compared at all instants."""


def compare_store(
    con: DuckDBPyConnection, state: CatalogState, client: Client, asked: Sequence[str], options: AgreementOptions
) -> tuple[Manifest, list[FeatureAgreement]]:
    """Compare what is published, or the features and sets of these names, with the versions of the catalog that were
    published. Raises OnlineError for what is not published, StoreDownError."""
    for _ in range(TRIES):
        manifest = client.manifest()
        try:
            found = _Sample(con, state, client, manifest, options).run(asked)
        except OnlineError:
            if client.manifest().generation == manifest.generation:
                raise
            continue
        if client.manifest().generation == manifest.generation:
            return manifest, found
    raise OnlineError("the store was published anew again and again while it was compared", hint="try again later")


class _Sample:
    def __init__(
        self,
        con: DuckDBPyConnection,
        state: CatalogState,
        client: Client,
        manifest: Manifest,
        options: AgreementOptions,
    ) -> None:
        self.con = con
        self.state = state
        self.client = client
        self.manifest = manifest
        self.options = options
        self.now = time.time_ns() // 1000 if options.now is None else options.now

    def run(self, asked: Sequence[str]) -> list[FeatureAgreement]:
        return [self._target(t) for t in targets(self.client.namespace, self.manifest, asked)]

    def _target(self, target: Target) -> FeatureAgreement:
        began, feature = time.monotonic(), target.feature
        tally = Tally(feature.feature, feature.version, [o.name for o in target.columns])
        found = find(self.state, feature.feature, feature.version, feature.identity)
        more: dict[str, Any] = {"current": newer(self.state, feature.feature, feature.version)}
        if isinstance(found, str):
            tally.unproven.append(found)
        elif found.stored.compiled.request:
            names = ", ".join(found.stored.compiled.request)
            tally.unproven.append(f"it needs {names} with the request: --requests compares what was served")
        else:
            more |= self._compared(target, found, tally)
        return tally.result(self.options.threshold, seconds=time.monotonic() - began, **more)

    def _compared(self, target: Target, found: Found, tally: Tally) -> dict[str, Any]:
        o = self.options
        sample = keys(self.con, found, target.feature, o.keys, o.seed, self._extra() if o.scan else None)
        when = [micros(at) for at in o.at] or instants(
            self.con, found, target.feature, self.manifest.published_at, self.now, o.instants, o.seed
        )
        for start in range(0, len(sample.rows), PORTION):
            portion = slice(start, start + PORTION)
            try:
                self._portion(target, found, tally, sample, portion, when)
            except RetrievalError as error:
                tally.unproven.append(f"the catalog cannot be read for these keys: {error}")
                break
        return {"keys": len(sample.rows), "extra_keys": sample.extra, "instants": tuple(moment(at) for at in when)}

    def _extra(self) -> Extra:
        _, head = read_head(Patient(self.client.store, 0.0), self.client.namespace)
        return Extra(self.client.store, self.client.namespace, head)

    def _portion(
        self, target: Target, found: Found, tally: Tally, sample: Keys, portion: slice, when: Sequence[int]
    ) -> None:
        """Read some keys at every instant, ask the catalog once, and compare."""
        rows, known = sample.rows[portion], sample.known[portion]
        lead = f"{target.feature.feature}__"
        makers = [(lead + o.name, canonical(o.type)) for o in target.columns]
        asked: list[tuple[int, int, int]] = []  # row, instant that was asked for, instant to compare at
        served: list[list[Served]] = []
        for at in when:
            for number, answer in enumerate(read(self.client, target, rows, at)):
                values = _served(answer, makers)
                step = values[0].step
                if values[0].status == "OUT_OF_RANGE" and at < self.manifest.published_at:
                    tally.out_of_range += len(values)
                elif step and at % step and not isinstance(target.feature, Table):
                    tally.coarse += len(values)
                else:
                    asked.append((number, at, at - at % step if step else at))
                    served.append(values)
        if not asked:
            return
        labels = [rows[n] for n, _, _ in asked]
        want = expected(self.con, self.state, found, tally.columns, labels, [exact for *_, exact in asked])
        for place, ((number, at, _), values) in enumerate(zip(asked, served, strict=True)):
            for name, value in zip(tally.columns, values, strict=True):
                tally.add(name, value, want[name][place], rows[number], at, known=known[number])


def _served(answer: Row | str, makers: Sequence[tuple[str, Callable[[Any], str | None]]]) -> list[Served]:
    """The values of one row as texts; of a row that cannot be read, why."""
    if isinstance(answer, dict):
        found = [answer[name] for name, _ in makers]
        if found[0].step in (0, *STEPS):
            return [Served(make(v.value), v.status, v.step) for v, (_, make) in zip(found, makers, strict=True)]
        answer = f"it says that it is kept at a step of {found[0].step} microseconds"
    return [Served(answer, UNREADABLE)] * len(makers)


def read(client: Client, target: Target, rows: Sequence[Row], at: int) -> list[dict[str, Any] | str]:
    """The answer for each row; for one that cannot be read, why. One read, where all can."""
    try:
        return list(client.get_online_features(target.ref, rows, at=moment(at), with_status=True, full_names=True))
    except (StoreDownError, NotPublishedError):
        raise
    except (OnlineError, msgspec.DecodeError, struct.error, ValueError) as error:
        if len(rows) == 1:
            return [str(error)]
    half = len(rows) // 2
    return [*read(client, target, rows[:half], at), *read(client, target, rows[half:], at)]
