"""One served value beside the one it should be, and the counts of a feature."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from mlforge.agreement.result import ColumnAgreement, Example, FeatureAgreement
from mlforge.online.packed_values import moment
from mlforge.online.value_text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlforge.agreement.result import Kind, Row, Status

EXAMPLES = 3
"""Examples that are kept of each column and kind."""
UNREADABLE = "UNREADABLE"
"""Status of a value whose record no reader can make sense of; its text says why."""


class Served(NamedTuple):
    """A value as it was served, as text, with its status."""

    text: str | None
    status: str
    step: int = 0


def judge(served: Served, expected: str | None, *, known: bool) -> Kind | None:
    """What is wrong with a value; None: nothing. ``known``: whether the catalog has rows of the key.

    A key of which no row is known has values too, such as a count of 0: it is the status, and whether the catalog knows
    the key, that say which side has one."""
    if served.status == UNREADABLE:
        return "mismatch"
    if served.text == expected:
        return None
    here = served.text is not None and served.status not in ("MISSING", "OUT_OF_RANGE")
    there = expected is not None and known
    if here == there:
        return "mismatch"
    return "missing" if there else "extra"


class Tally:
    """The counts of one feature, column by column."""

    def __init__(self, feature: str, version: str, columns: Sequence[str]) -> None:
        self.feature = feature
        self.version = version
        self.columns = columns
        self.counts: dict[str, Counter[str | None]] = {name: Counter() for name in columns}
        self.examples: list[Example] = []
        self.out_of_range = 0
        self.coarse = 0
        self.unproven: list[str] = []

    def add(self, column: str, served: Served, expected: str | None, key: Row, at: int, *, known: bool = True) -> None:
        """Compare one value. ``at``: the instant that was asked for."""
        kind = judge(served, expected, known=known)
        counts = self.counts[column]
        counts[kind] += 1
        if kind is not None and counts[kind] <= EXAMPLES:
            self.examples.append(
                Example(
                    kind=kind,
                    column=column,
                    key=plain(key),
                    at=moment(at),
                    served=served.text,
                    expected=expected,
                    status=served.status,
                    step=served.step,
                )
            )

    def result(self, threshold: float, **more: Any) -> FeatureAgreement:
        """The verdict on the feature; ``more``: its other fields."""
        columns = tuple(_column(name, self.counts[name]) for name in self.columns)
        compared, differ = sum(c.compared for c in columns), sum(c.differ for c in columns)
        reasons = list(self.unproven)
        if not compared and not reasons:
            reasons = ["nothing could be compared"]
        failed = compared and differ / compared > threshold
        status: Status = "failed" if failed else "unproven" if reasons else "passed"
        return FeatureAgreement(
            feature=self.feature,
            version=self.version,
            status=status,
            columns=columns,
            examples=tuple(self.examples),
            unproven=tuple(reasons),
            out_of_range=self.out_of_range,
            coarse=self.coarse,
            **more,
        )


def _column(name: str, counts: Counter[str | None]) -> ColumnAgreement:
    return ColumnAgreement(
        column=name,
        compared=counts.total(),
        matches=counts[None],
        mismatch=counts["mismatch"],
        missing=counts["missing"],
        extra=counts["extra"],
    )
