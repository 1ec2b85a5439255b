"""A small project in a folder: sources made by SQL, features as text, and short ways to build it and to look inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

import mlforge as mlf
from mlforge.building.options import BuildOptions, BuildResult, Selection

if TYPE_CHECKING:
    from pathlib import Path

    from mlforge.forge import Forge

Rows = list[tuple[Any, ...]]

CONFIG = "name: small\nsources:\n  ev: {path: data/ev.parquet}\nentities:\n  user: {key: k}\n"


class Small:
    """One project. Every call opens what it needs and closes it again."""

    def __init__(self, root: Path, config: str = CONFIG) -> None:
        self.root = root
        for folder in ("data", "features"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.config(config)

    @property
    def catalog(self) -> Path:
        return self.root / "catalog.duckdb"

    @property
    def forge(self) -> Forge:
        return mlf.open(self.root)

    def config(self, text: str) -> None:
        (self.root / "mlforge.yaml").write_text(text)

    def feature(self, name: str, text: str) -> None:
        (self.root / f"features/{name}.sql").write_text(text)

    def write(self, path: str, query: str, options: str = "") -> Path:
        """Write the rows of a query into a file of the project; its suffix says how."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as con:
            con.execute(f"COPY ({query}) TO '{target}' ({options})" if options else f"COPY ({query}) TO '{target}'")
        return target

    def rows(self, *values: str, columns: str = "k BIGINT, t TIMESTAMP, x BIGINT") -> None:
        """Write source ``ev``: one text of SQL values for each row."""
        target = self.root / "data/ev.parquet"
        with duckdb.connect() as con:
            con.execute(f"CREATE TABLE ev ({columns})")
            for row in values:
                con.execute(f"INSERT INTO ev VALUES ({row})")
            con.execute(f"COPY ev TO '{target}'")

    def build(self, *names: str, **options: Any) -> BuildResult:
        return self.forge.build(Selection(features=names), BuildOptions(**options))

    def good(self, *names: str, **options: Any) -> dict[str, str]:
        """Build, see that nothing failed, and return what was built: feature -> version."""
        result = self.build(*names, **options)
        assert not result.failed, [f.error for f in result.features if f.error]
        return {f.feature: f.version for f in result.features if f.status == "built"}

    def actions(self) -> dict[str, str]:
        """What a build would do with each feature."""
        return {s.feature: s.action for s in self.forge.plan().steps}

    def sql(self, query: str) -> Rows:
        """A query on the catalog, in plain DuckDB."""
        with duckdb.connect(str(self.catalog), read_only=True) as con:
            return con.execute(query).fetchall()

    def view(self, name: str) -> Rows:
        """The rows of ``features.<name>``, or of ``versions."<name>"`` if a version is named, in order."""
        schema = "versions" if "@" in name else "features"
        return self.sql(f'FROM {schema}."{name}" ORDER BY ALL')

    def ask(self, features: Any, labels: str, *columns: str) -> Rows:
        """Training data: the named columns (default: what is not in the labels) for label rows (SQL values: k, T)."""
        query = f"SELECT * FROM (VALUES {labels}) v(k, label_time)"
        table = self.forge.get_training_data(features, f"SELECT k, label_time::TIMESTAMP AS label_time FROM ({query})")
        names = columns or table.column_names[2:]
        return list(zip(*(table[n].to_pylist() for n in names), strict=True))

    def stored(self, feature: str) -> dict[str, int]:
        """Rows of every physical table of a feature, closed ones included."""
        tables = self.sql(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'store' "
            f"AND regexp_full_match(table_name, '{feature}__[0-9]+_[0-9]+') ORDER BY 1"
        )
        return {t: self.sql(f'SELECT count(*) FROM store."{t}"')[0][0] for (t,) in tables}
