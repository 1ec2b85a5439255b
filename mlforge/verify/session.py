"""A verification as a verb: the catalog is open for reading, and what was found is written to its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlforge.catalog import log, reader
from mlforge.verify.run import verify, verify_training_set

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlforge.model import Project
    from mlforge.retrieve.training import TrainingSet
    from mlforge.verify.result import Verification, VerifyOptions

KIND = "verification"
"""Records of this kind lie in ``<catalog>.log/`` until a build or gc moves them into ``mlforge.verifications``."""


def verify_catalog(
    con: DuckDBPyConnection, catalog_path: str, project: Project, what: Any, labels: Any, options: VerifyOptions
) -> Verification:
    """Verify ``what``: references, None for every feature, or a training set that was made. The outcome is recorded,
    or a warning says why it cannot be."""
    state = reader.state(con)
    if _is_training_set(what):
        found = verify_training_set(state, project, what, options)
    else:
        found = verify(con, state, project, what, labels, options)
    log.write_if_possible(catalog_path, KIND, record(found), "the verification")
    return found


def _is_training_set(what: TrainingSet | Any) -> bool:
    from mlforge.retrieve.training import TrainingSet

    return isinstance(what, TrainingSet)


def record(found: Verification) -> dict[str, Any]:
    """A verification as plain values, with its totals."""
    import msgspec

    whole: dict[str, Any] = msgspec.to_builtins(found, enc_hook=str)
    return {"status": found.status, "values": found.values, "mismatched": found.mismatched, **whole}
