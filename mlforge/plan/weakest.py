"""What is known of the leaks of something together with all that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mlforge.model import Proof

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlforge.model import Compiled


def weakest(upstream: Mapping[str, Compiled], own: Proof) -> Proof:
    """The proof of something together with those of all that it reads: one that is not proven decides."""
    if own.status not in ("plan", "rows"):
        return own
    status, assumes = own.status, set(own.assumes)
    for name, feature in upstream.items():
        proof = feature.proof or Proof(status="unproven", why="it was made by an earlier mlforge")
        assumes |= set(proof.assumes)
        if proof.status not in ("plan", "rows"):
            return replace(own, status=proof.status, why=f"it reads {name}, which is {proof}")
        status = "rows" if proof.status == "rows" else status
    return replace(own, status=status, assumes=tuple(sorted(assumes)))


def with_older(stored: Mapping[str, Compiled], planned: Mapping[str, Compiled], own: Proof) -> Proof:
    """The proof of a feature that reads older versions than the project would make, as those of held features are.

    ``stored``: what it reads; ``planned``: the same features as the project has them, by which it was proven."""
    for name, older in stored.items():
        now = planned[name].delay.micros or 0
        if own.status in ("plan", "rows") and (older.delay.micros or 0) > now:
            why = f"the version of {name} that it reads has rows that are known {older.delay} after their time"
            return replace(own, status="unproven", why=why, against=None)
    return weakest(stored, own)
