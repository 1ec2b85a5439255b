"""Features planned as a build plans them, over tables of given rows: what is said of their leaks, and the rows."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from msgspec.structs import replace

from mlforge.building.candidates import analyse, render_each
from mlforge.building.materialise import EVENTS, LEAK, Runner, Stamp, make_events
from mlforge.catalog.file import configure
from mlforge.errors import LeakageError
from mlforge.model import CatalogState, FeatureFile
from mlforge.project.loader import load
from mlforge.sql.templates import literal
from mlforge.warehouses.duckdb import DuckDB
from tests.proof.truth import SCHEMA, Row, Table

if TYPE_CHECKING:
    from mlforge.model import Compiled

CONFIG = "name: random\nentities: {{user: {{key: k}}}}\nsources:\n{sources}"


@dataclass(frozen=True)
class Planned:
    """A feature, what is said of its leaks, and its event rows with the instant from which each is known."""

    compiled: Compiled
    status: str
    why: str = ""
    seen: str = ""
    timestamp_type: str | None = None

    @property
    def delay(self) -> int:
        """How long after its stamp a row is known, in microseconds."""
        return self.compiled.delay.micros or 0

    @property
    def stamped(self) -> str:
        """The events with their stamp as ``ts``."""
        return f"SELECT * EXCLUDE (_mlforge_ts), _mlforge_ts AS ts FROM ({self.compiled.event_sql})"


class Planner:
    """A project whose sources are tables, each with the rows of several versions, of which one is looked at."""

    def __init__(self, sources: dict[str, Table]) -> None:
        self.sources = sources
        self.con = duckdb.connect(":memory:")
        configure(self.con, threads=1)
        self.con.execute("CREATE SCHEMA given; CREATE SCHEMA loads; SET VARIABLE version = 0")
        for name, table in sources.items():
            columns = ", ".join(f'"{c}" {t}' for c, t in table.columns.items())
            self.con.execute(
                f"CREATE TABLE loads.{name} ({columns}, _version INTEGER); CREATE VIEW given.{name} AS "
                f"SELECT * EXCLUDE (_version) FROM loads.{name} WHERE _version = getvariable('version')"
            )
        lines = (f"  {n}: {{table: main.given.{n}{', ' * bool(t.settings)}{t.settings}}}\n" for n, t in sources.items())
        with tempfile.TemporaryDirectory() as root:
            (Path(root) / "mlforge.yaml").write_text(CONFIG.format(sources="".join(lines)))
            self.project = load(root)
        self.warehouse = DuckDB(self.con, self.project.root)
        self.warehouse.catalog = "memory"
        for source in self.project.sources.values():
            self.warehouse.bind_source(source)

    def fill(self, versions: dict[str, dict[int, tuple[Row, ...]]]) -> dict[str, dict[int, tuple[Row, ...]]]:
        """Give the sources rows, and see which of them each source has."""
        found: dict[str, dict[int, tuple[Row, ...]]] = {}
        for name, every in versions.items():
            values = ", ".join(
                "(" + ", ".join(map(literal, (*row, version))) + ")" for version, rows in every.items() for row in rows
            )
            self.con.execute(f"DELETE FROM loads.{name}; INSERT INTO loads.{name} VALUES {values}")
            found[name] = {}
            for version in every:
                self.look_at(version)
                found[name][version] = tuple(self.con.execute(f"FROM {SCHEMA}.{name}").fetchall())
        return found

    def look_at(self, version: int) -> None:
        """Let the sources have the rows of one version."""
        self.con.execute(f"SET VARIABLE version = {version}")

    def plan(self, query: str, delay: str | None = None) -> Planned:
        """What a plan says of a feature."""
        stated = f', delay="{delay}"' if delay else ""
        try:
            return self._planned(query, stated)
        except LeakageError as error:
            try:
                found = self._planned(query, f"{stated}, allow_lookahead=true")
            except LeakageError:  # its time is the start of a period
                found = self._planned(query, ', delay="0s", allow_lookahead=true')
            return Planned(found.compiled, "unproven", error.message)

    def _planned(self, query: str, config: str) -> Planned:
        text = f'{{{{ config(entity="user", timestamp="ts"{config}) }}}}\n{query}'
        project = replace(self.project, features={"f": FeatureFile(name="f", path="features/f.sql", text=text)})
        analysis, failed = render_each(project)
        assert not failed, failed
        analysis.bound.update(self.sources)
        analyse(analysis, self.warehouse, ["f"], CatalogState())
        found = analysis.features["f"]
        proof = found.candidate.compiled.proof
        assert proof is not None
        return Planned(
            found.candidate.compiled,
            proof.status,
            proof.why or "",
            found.candidate.seen_sql,
            found.compilation.timestamp_type,
        )

    def events(self, feature: Planned, *, seen: bool) -> Counter[Row] | None:
        """The events as a build makes them, with the check of the instants from which they are known if it is
        ``seen``: None if it fails."""
        compiled = replace(feature.compiled, event_sql=feature.seen) if seen else feature.compiled
        runner = Runner(self.con)
        try:
            make_events(runner, compiled, Stamp(feature.timestamp_type, None), seen=seen)
            return Counter(self.con.execute(f"FROM {EVENTS}").fetchall())
        except duckdb.Error as error:
            if LEAK not in str(error):
                raise
            return None
