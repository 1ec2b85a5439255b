"""Projects and features stated in Python: what they build, what they refuse, and where the errors point."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sqlglot

import mlforge as mlf
from mlforge.building.options import Selection
from mlforge.errors import FeatureError, GrammarError, MlforgeError, ProjectError, TemplateError, UsageError
from tests.small import Small

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).name
DAYS = [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 2)]
ROWS = pa.table({"k": [1, 1, 2], "t": pa.array(DAYS, pa.timestamp("us")), "x": [10, 20, 30]})
MORE = pa.concat_tables([ROWS, pa.table({"k": [3], "t": pa.array(DAYS[:1], pa.timestamp("us")), "x": [40]})])
STORED = sorted(zip(*(ROWS[c].to_pylist() for c in ROWS.column_names), strict=True))
# Own, as other tests of the process use the default one.
DUCKDB = duckdb.connect()
KINDS: dict[str, Callable[[pa.Table], Any]] = {
    "arrow": lambda rows: rows,
    "arrow batch": lambda rows: rows.combine_chunks().to_batches()[0],
    "arrow reader": lambda rows: rows.to_reader(),
    "polars": pl.from_arrow,
    "polars lazy": lambda rows: pl.from_arrow(rows).lazy(),
    "pandas": lambda rows: rows.to_pandas(),
    "duckdb": DUCKDB.from_arrow,
}
USER = mlf.Entity("user", "k")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@mlf.feature(entity="user", timestamp="t")
def copy() -> str:
    return f"SELECT k, t, x FROM {mlf.source('ev')}"


def project(*features: Any, rows: Any = ROWS, **more: Any) -> mlf.Definitions:
    given: dict[str, Any] = {"sources": [mlf.Source("ev", data=rows, timestamp="t")], "entities": [USER]}
    return mlf.Definitions("small", features=features, **{**given, **more})


def built(forge: mlf.Forge) -> dict[str, str]:
    """Build, see that nothing failed, and return what was built: feature -> version."""
    result = forge.build()
    assert not result.failed, [f.error for f in result.features if f.error]
    return {f.feature: f.version for f in result.features if f.status == "built"}


def view(name: str) -> list[tuple[Any, ...]]:
    with duckdb.connect("catalog.duckdb", read_only=True) as con:
        return con.execute(f"FROM features.{name} ORDER BY ALL").fetchall()


def here(needle: str) -> int:
    """The first line of this file that ends with some text."""
    lines = Path(__file__).read_text().splitlines()
    return next(n for n, line in enumerate(lines, start=1) if line.endswith(needle))


# -- names


def test_public_names_are_sorted_and_there() -> None:
    assert mlf.__all__ == sorted(mlf.__all__) == dir(mlf)
    assert [name for name in mlf.__all__ if getattr(mlf, name, None) is None] == []
    assert set(mlf.__all__) - {"__version__"} == set(mlf._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'Feature'"):
        mlf.Feature  # noqa: B018


def test_importing_mlforge_imports_nothing_else() -> None:
    code = "import sys, mlforge; print([m for m in ('msgspec', 'duckdb', 'sqlglot', 'jinja2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", [n for n in mlf.__all__ if n in dir(import_module("mlforge.render.validators"))])
def test_validators_are_those_of_sql(name: str) -> None:
    validators = import_module("mlforge.render.validators").VALIDATORS
    assert getattr(mlf, name) is validators[{"sql_check": "sql"}.get(name, name)]


# -- sources


@pytest.mark.parametrize("kind", KINDS)
def test_rows_as_a_source(kind: str) -> None:
    given = KINDS[kind]
    assert built(project(copy, rows=given(ROWS))) == {"copy": "1.0.0"}
    assert view("copy") == STORED
    assert project(copy, rows=given(ROWS.take([2, 0, 1]))).plan().nothing_to_do  # rows have no order
    assert built(project(copy, rows=given(MORE))) == {"copy": "1.0.1"}
    assert len(view("copy")) == 4


def test_files_as_a_source() -> None:
    DUCKDB.from_arrow(ROWS).write_csv("rows.csv")
    source = mlf.Source("ev", Path("rows.csv"), timestamp="t", options={"all_varchar": False})
    assert source.format == "csv"
    forge = project(copy, sources=[source])
    assert built(forge) == {"copy": "1.0.0"}
    assert view("copy") == STORED
    assert forge.plan().nothing_to_do


def test_unique_key_of_rows() -> None:
    source = mlf.Source("ev", data=ROWS, unique_key="k", loaded_at="t", timestamp="t")
    built(project(copy, sources=[source]))
    assert view("copy") == [(1, DAYS[1], 20), (2, DAYS[1], 30)]


REFUSED_SOURCES: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "source 'ev' has neither path nor table", "path: data"),
    ({"path": "x.parquet", "data": ROWS}, "source 'ev' has data and 'path'", "leave one out"),
    ({"options": {}, "data": ROWS}, "source 'ev' has data and 'options'", "leave one out"),
    ({"data": [1, 2]}, "source 'ev': data cannot be a list", "an Arrow table"),
    ({"data": pl.LazyFrame({"a": [1]}).select("b")}, "its data cannot be computed: ColumnNotFoundError", None),
    ({"data": ROWS, "unique_key": "k"}, "source 'ev' has unique_key but no loaded_at", "loaded_at: column"),
    ({"path": "x.parquet", "options": {"delm": 1}}, "parquet sources have no option 'delm'", None),
    ({"path": "x.csv", "format": "cvs"}, "'format' of source 'ev' cannot be 'cvs'", "'csv'"),
    ({"path": "x.csv", "timestamp": 3}, "'timestamp' of source 'ev' must be text, not a number", None),
]


@pytest.mark.parametrize(("given", "message", "hint"), REFUSED_SOURCES, ids=[r[1] for r in REFUSED_SOURCES])
def test_sources_that_are_refused(given: dict[str, Any], message: str, hint: str | None) -> None:
    with pytest.raises(ProjectError) as caught:
        mlf.Source("ev", **given)  # the source
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")
    assert str(caught.value.where).endswith(f"{HERE}:{here('# the source')}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlf.Source("a b", data=ROWS), "'a b' cannot be a name"),
        (lambda: mlf.Entity("a b", "k"), "'a b' cannot be a name"),
        (lambda: mlf.Entity("a", []), "'key' of entity 'a' is an empty list"),
        (lambda: mlf.Entity("a", ["k", "K"]), "'key' of entity 'a' names 'K' twice"),
        (lambda: mlf.Entity("a", ["k", "l"], from_=["m"]), "entity 'a' has 'from' and 2 keys; a surrogate is one key"),
        (lambda: mlf.LocalStore(threads=0), "'threads' of the warehouse of profile 'python' must be at least 1"),
        (lambda: mlf.LocalStore(memory_limit="much"), "'much' is not an amount of memory"),
        (lambda: mlf.LocalStore("s3://b/c.duckdb"), "the catalog must be a local file"),
    ],
)
def test_other_statements_that_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        make()
    assert caught.value.message == message
    assert HERE in str(caught.value.where)


def test_a_source_that_cannot_be_read_names_the_file_that_states_it() -> None:
    forge = project(copy, sources=[mlf.Source("ev", "none.csv")])  # no file
    with pytest.raises(ProjectError, match=r"no csv file at none\.csv") as caught:
        forge.build()
    assert str(caught.value.where).endswith(f"{HERE}:{here('# no file')}")


# -- definitions


def test_a_whole_project(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "deep").mkdir()
    (folder / "more/twice.sql").write_text(
        '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x * {{ var("n") }} AS y FROM {{ source("ev") }}'
    )
    (folder / "more/four.py").write_text(
        "import mlforge as mlf\n\n@mlf.feature(entity='user', timestamp='t')\ndef four():\n"
        "    return f\"SELECT r.k, r.t, f.x AS y FROM {mlf.source('ev')} r LEFT JOIN {mlf.ref('copy')} f ON r.k = f.k\"\n"
    )
    sets = {"s": ["copy:x", mlf.FeatureSpec("twice", prefix="two_"), {"feature": "four"}]}
    store = mlf.LocalStore("deep/my.duckdb", threads=1, memory_limit="1GB")
    forge = project(copy, "more", feature_sets=sets, store=store, vars={"n": 2}, keep={"patches": 3})
    assert isinstance(forge, mlf.Forge)
    assert (forge.keep().patches, forge.keep().days) == (3, 90)
    assert built(forge) == {"copy": "1.0.0", "twice": "1.0.0", "four": "1.0.0"}
    assert (folder / "deep/my.duckdb").is_file()
    labels = pd.DataFrame({"k": [1, 2], "label_time": [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 3)]})
    train = forge.get_training_data("s", labels)
    assert list(train.columns) == ["k", "label_time", "x", "two_y", "y"]
    assert train[["x", "two_y", "y"]].values.tolist() == [[10, 20, 10], [30, 60, 30]]
    assert {f["feature"]: f["path"] for f in forge.listing("features")}["four"] == "more/four.py"
    assert {s.feature for s in forge.plan(Selection(select=("path:more",))).steps} >= {"twice", "four"}
    assert forge.render("four").startswith('SELECT r.k, r.t, f.x AS y FROM "_mlforge_source"."ev" r')


def test_a_module_and_its_function_are_one_feature() -> None:
    module = ModuleType("mine")
    module.__dict__.update(copy=copy, other=copy, number=3)
    assert list(project(module, copy).project.features) == ["copy"]
    assert repr(copy) == "<feature copy>"
    assert (copy(), copy.__name__) == ('SELECT k, t, x FROM "_mlforge_source"."ev"', "copy")


@mlf.feature(entity="user", name="COPY".lower())
def another() -> str:
    return "SELECT 1"


def plain() -> str:
    return "SELECT 1"


REFUSED_PROJECTS: list[tuple[dict[str, Any], type[MlforgeError], str, str | None]] = [
    ({"features": "features"}, ProjectError, "features must be a list, not 'features'", None),
    ({"features": [plain]}, UsageError, "features cannot hold <function plain", "@mlf.feature(...)"),
    ({"features": [3]}, UsageError, "features cannot hold 3", "functions, modules or paths"),
    ({"features": ["none"]}, UsageError, "there is no file or folder", None),
    (
        {"features": [__file__.replace("test_python_api.py", "oracle/__init__.py"), "a.txt"]},
        UsageError,
        "a.txt is no feature",
        ".py files",
    ),
    ({"features": [copy, another]}, ProjectError, "the feature 'copy' is also in", "rename one"),
    ({"sources": [USER]}, ProjectError, "sources cannot hold a Entity", "mlf.Source(...)"),
    ({"entities": [USER, mlf.Entity("USER", "k")]}, ProjectError, "entities has 'USER' twice", "rename one"),
    ({"entities": USER}, ProjectError, "entities must be a list", None),
    ({"feature_sets": {"s": "copy"}}, ProjectError, "feature set 's' must be a list of features", None),
    ({"feature_sets": {"s": []}}, ProjectError, "feature set 's' must be a list of features", None),
    ({"feature_sets": {"s": ["a b"]}}, ProjectError, "'a b'", None),
    ({"keep": {"patchs": 1}}, ProjectError, "'keep' has no setting 'patchs'", "'patches'"),
]


@pytest.mark.parametrize(("given", "kind", "message", "hint"), REFUSED_PROJECTS, ids=[r[2] for r in REFUSED_PROJECTS])
def test_projects_that_are_refused(
    folder: Path, given: dict[str, Any], kind: type[MlforgeError], message: str, hint: str | None
) -> None:
    (folder / "a.txt").write_text("")
    with pytest.raises(kind) as caught:
        mlf.Definitions("small", **given)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")
    assert kind is UsageError or HERE in str(caught.value.where)


def test_a_set_of_an_unknown_feature_names_this_file() -> None:
    with pytest.raises(ProjectError, match=r"feature set s: .*'copi'") as caught:
        project(copy, feature_sets={"s": ["copi"]}).plan()
    assert HERE in str(caught.value.where)


# -- SQL


def as_text() -> str:
    return 'SELECT k, t, x FROM {{ source("ev") }}'


def as_tree() -> Any:
    return sqlglot.select("k", "t", "x").from_(mlf.source("ev"))


class Query:
    def to_sql(self) -> str:
        return f"SELECT k, t, x FROM {mlf.source('ev')}"


@pytest.mark.parametrize("function", [as_text, as_tree, Query])
def test_sql_of_every_form_means_the_same(function: Any) -> None:
    built(project(copy))

    def made() -> Any:
        return function()

    feature = mlf.feature(entity="user", timestamp="t", name="copy")(made)
    assert not any(step.builds for step in project(feature).plan().steps)


def test_braces_in_generated_sql_are_no_template() -> None:
    @mlf.feature(entity="user", timestamp="t")
    def braces() -> Any:
        return sqlglot.parse_one(f"SELECT k, t, '{{{{ x }}}} {{% y %}} {{# z #}}' AS s FROM {mlf.source('ev')}")

    built(project(braces))
    assert {row[2] for row in view("braces")} == {"{{ x }} {% y %} {# z #}"}


def test_a_timestamp_of_text() -> None:
    rows = pa.table({"k": [1], "t": ["31.12.2023"], "x": [5]})

    @mlf.feature(entity="user", timestamp=mlf.Timestamp("t", "%d.%m.%Y"))
    def dated() -> str:
        return f"SELECT k, t, x FROM {mlf.source('ev')}"

    built(project(dated, sources=[mlf.Source("ev", data=rows)]))
    assert view("dated") == [(1, dt.datetime(2023, 12, 31), 5)]


def test_validators() -> None:
    @mlf.feature(entity="user", timestamp="t", validators={"x": [mlf.less_than(25), mlf.sql_check("x <> 7")]})
    def checked() -> str:
        return copy()

    result = project(checked).build()
    assert result.failed
    assert [f.error for f in result.features] == ["check output.x: less_than(25) failed for 1 of 3 rows"]


# -- metrics


@mlf.feature(
    entity="user",
    timestamp="t",
    metrics=[
        mlf.Rolling(windows=["7d", "ever"], aggregations={"x": ["sum", "count_distinct"]}, closed="right"),
        mlf.Mean("x", windows="1d"),
        mlf.Count(windows=["2d"], name="rows"),
        *(m("x", windows=["30d"]) for m in (mlf.Min, mlf.Max, mlf.Std, mlf.Median)),
        mlf.Sum("x", windows=["last_1w"], name="total"),
    ],
)
def windows() -> str:
    return f"SELECT k, t, x FROM {mlf.source('ev')} -- every row"


def test_seven_names_in_every_way_in() -> None:
    classes = {
        "count": mlf.Count,
        "sum": mlf.Sum,
        "mean": mlf.Mean,
        "min": mlf.Min,
        "max": mlf.Max,
        "std": mlf.Std,
        "median": mlf.Median,
    }

    @mlf.feature(entity="user", timestamp="t", metrics=[c("x", windows="7d") for c in classes.values()])
    def by_class() -> str:
        return f"SELECT k, t, x FROM {mlf.source('ev')}"

    @mlf.feature(entity="user", timestamp="t", metrics=[mlf.Rolling(windows=["7d"], aggregations={"x": list(classes)})])
    def by_rolling() -> str:
        return f"SELECT k, t, x FROM {mlf.source('ev')}"

    @mlf.feature(entity="user", timestamp="t")
    def by_macro() -> str:
        return f"""SELECT k, t, {{{{ rolling("x", {list(classes)}, "7d") }}}} FROM {mlf.source("ev")}"""

    built(project(by_class, by_rolling, by_macro))
    names = ("count", "sum", "avg", "min", "max", "stddev_samp", "median")
    with duckdb.connect("catalog.duckdb", read_only=True) as con:
        described = con.execute("DESCRIBE features.by_class").fetchall()
    assert [name for name, *_ in described] == ["k", "t", *(f"x_{name}_7d" for name in names)]
    assert view("by_class") == view("by_rolling") == view("by_macro")
    assert view("by_macro")[1] == (1, DAYS[1], 2, 30, 15.0, 10, 20, 7.0710678118654755, 15.0)


def test_metrics_are_windows_of_sql() -> None:
    @mlf.feature(entity="user", timestamp="t", closed="right", name="windows")
    def written() -> str:
        return f"""
            WITH events AS (SELECT k, t, x FROM {mlf.source("ev")})
            SELECT k, t, SUM(x) OVER last_7d, SUM(x) OVER ever, COUNT(DISTINCT x) OVER last_7d,
                COUNT(DISTINCT x) OVER ever, AVG(x) OVER last_1d, COUNT(*) OVER last_2d AS rows_2d,
                MIN(x) OVER last_30d, MAX(x) OVER last_30d, STDDEV(x) OVER last_30d, MEDIAN(x) OVER last_30d,
                SUM(x) OVER last_1w AS total_1w
            FROM events"""

    built(project(windows))
    assert not any(step.builds for step in project(written).plan().steps)
    assert view("windows")[1][:4] == (1, DAYS[1], 30, 30)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlf.Sum("x", windows=[]), "Sum() has no windows"),
        (lambda: mlf.Sum(3, windows="1d"), "Sum() takes the name of a column, not 3"),  # type: ignore[arg-type]
        (lambda: mlf.feature(entity="user", metrics=["sum"]), "metrics cannot hold 'sum'"),  # type: ignore[list-item]
        (lambda: mlf.feature(plain), "feature() takes named arguments"),
        (lambda: mlf.feature(entity="user")(Query), "feature() stands above a function, not above <class"),  # type: ignore[arg-type]
        (lambda: mlf.feature(entity="user")(lambda: 1), "'<lambda>' cannot be the name of a feature"),
        (lambda: mlf.feature(entity="user", name="A b")(plain), "'A b' cannot be the name of a feature"),
        (lambda: mlf.feature(entity="user")(here), "the function 'here' of a feature takes no arguments"),  # type: ignore[arg-type]
        (lambda: mlf.source(3), "source() takes a name, not 3"),  # type: ignore[arg-type]
        (lambda: mlf.ref(""), "ref() takes a name, not ''"),
    ],
)
def test_calls_that_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(FeatureError) as caught:
        make()
    assert caught.value.message.startswith(message)


# -- rows


def returning(text: str, folder: Path, **config: Any) -> str:
    """Write a Python file with one feature ``f`` whose function has this body; the file's path."""
    given = ", ".join(f"{key}={value!r}" for key, value in {"entity": "user", **config}.items())
    body = text.replace("\n", "\n    ")
    file = folder / "f.py"
    file.write_text(f"import mlforge as mlf\nimport pyarrow as pa\n\n\n@mlf.feature({given})\ndef f():\n    {body}\n")
    return "f.py"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timestamp", [None, "t"])
def test_rows_as_a_feature(kind: str, timestamp: str | None) -> None:
    first, second = (ROWS, MORE) if timestamp else (ROWS.slice(1), MORE.slice(1))
    given = [first]

    @mlf.feature(entity="user", timestamp=timestamp)
    def rows() -> Any:
        return KINDS[kind](given[0])

    forge = project(rows, sources=[])
    assert built(forge) == {"rows": "1.0.0"}
    assert len(view("rows")) == len(first)
    assert forge.plan().nothing_to_do
    given[0] = second
    assert built(forge) == {"rows": "1.0.1"}
    assert len(view("rows")) == len(second)
    [row] = forge.get_training_data("rows:x", "SELECT 3 AS k, TIMESTAMP '2024-02-01' AS label_time").to_pylist()
    assert row["x"] == 40


def test_metrics_over_rows() -> None:
    @mlf.feature(entity="user", timestamp="t", metrics=mlf.Sum("x", windows="7d"))
    def sums() -> Any:
        return ROWS

    built(project(sums, sources=[]))
    assert view("sums") == [(1, DAYS[0], 10), (1, DAYS[1], 30), (2, DAYS[1], 30)]


def test_the_meaning_of_rows_is_the_functions_syntax(folder: Path) -> None:
    table = "return pa.table({'k': [1], 'x': [2]})"
    assert built(project(returning(table, folder))) == {"f": "1.0.0"}
    assert (
        project(returning('"""Doc."""\n# words\nreturn pa.table( {"k": [1],\n  "x": [2]} )', folder))
        .plan()
        .nothing_to_do
    )
    [step] = project(returning(f"y = 1\n{table}", folder)).plan().steps
    assert str(step.version_to) == "2.0.0"


def test_the_digest_of_a_function_is_that_of_every_python(folder: Path) -> None:
    text = "a = [f'{i:>3}' for i in (1, -2) if not i]\nwith open(__file__) as b: pass\n"
    text += "return pa.table({'k': [1], 'x': [lambda c, *d, e=None: c and d] and [2]})"
    forge = project(returning(text, folder), sources=[])
    built(forge)
    [source] = forge.listing("sources")
    assert source["options"]["function"] == "f53b6c421bea443f38273da73530bfec621da1d55c709f1dd7b4e9b62272e52b"


# -- files of a project


HEAD = "import mlforge as mlf\nimport pyarrow as pa\n\n"


@pytest.fixture
def small(tmp_path: Path) -> Small:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 10", "1, '2024-01-02', 20")
    return small


def test_features_of_files(small: Small, folder: Path) -> None:
    text = HEAD + (
        "@mlf.feature(entity='user', timestamp='t')\ndef one():\n    return f'SELECT k, t, x FROM {mlf.source(\"ev\")}'\n\n"
        "@mlf.feature(entity='user', tags=['daily'])\ndef two():\n    return pa.table({'k': [1], 'y': [7]})\n"
    )
    (folder / "features/deep").mkdir()
    (folder / "features/deep/many.py").write_text(text)
    (folder / "features/__init__.py").write_text("raise ValueError")
    small.feature(
        "three",
        '{{ config(entity="user", timestamp="t") }}\nSELECT a.k, a.t, b.y FROM {{ source("ev") }} a LEFT JOIN {{ ref("two") }} b ON a.k = b.k',
    )
    assert small.good() == {"one": "1.0.0", "two": "1.0.0", "three": "1.0.0"}
    assert small.view("three") == [(1, DAYS[0], 7), (1, DAYS[1], 7)]
    assert small.good() == {}
    assert {r["feature"]: r["path"] for r in small.forge.listing("features")}["two"] == "features/deep/many.py"
    small.rows("1, '2024-01-01', 10")
    assert small.good() == {"one": "1.0.1", "three": "1.0.1"}
    assert small.forge.render("two") == 'SELECT * FROM "_mlforge_source"."_python_two"'


def test_imported_and_decorated_features(small: Small, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "shared_features.py").write_text(
        "import functools\nimport mlforge as mlf\n\n\ndef quiet(function):\n    @functools.wraps(function)\n"
        "    def called():\n        return function()\n    return called\n\n\n"
        "@mlf.feature(entity='user')\n@quiet\ndef shared():\n    return 'SELECT x FROM nowhere'\n"
    )
    monkeypatch.syspath_prepend(folder)
    for name in ("a", "b"):
        (folder / f"features/{name}.py").write_text("from shared_features import shared\n")
    with pytest.raises(FeatureError, match="nowhere") as caught:
        small.forge.plan()
    assert str(caught.value.where) == "shared_features.py:15"


def test_a_source_that_has_the_name_of_a_features_rows() -> None:
    @mlf.feature(entity="user", timestamp="t")
    def taken() -> Any:
        return ROWS

    with pytest.raises(FeatureError, match="the source '_python_taken' has the name") as caught:
        project(taken, sources=[mlf.Source("_python_taken", data=ROWS)]).plan()
    assert caught.value.hint == "rename the source"


def test_an_unknown_entity_of_definitions_and_a_line_in_a_nested_function() -> None:
    @mlf.feature(entity="usr")  # nested
    def unknown() -> str:
        return "SELECT 1"

    with pytest.raises(FeatureError, match=f"there is no entity 'usr' in {HERE}") as caught:
        project(unknown).plan()
    assert str(caught.value.where).endswith(f"{HERE}:{here('# nested')}")


def test_a_broken_function_leaves_the_others(small: Small, folder: Path) -> None:
    (folder / "features/a.py").write_text(HEAD + "@mlf.feature(entity='user')\ndef bad():\n    return 1 / 0\n")
    small.feature("reader", '{{ config(entity="user") }}\nSELECT k, y FROM {{ ref("bad") }}')
    small.feature("good", '{{ config(entity="user", timestamp="t") }}\nSELECT k, t, x FROM {{ source("ev") }}')
    found = {v.feature: v for v in small.forge.validate()}
    assert {name: v.status for name, v in found.items()} == {"bad": "failed", "reader": "failed", "good": "ok"}
    assert (found["bad"].where, found["bad"].error) == (
        "features/a.py:6",
        "the function of 'bad' failed: ZeroDivisionError: division by zero",
    )
    assert found["reader"].error == "reads bad, which failed"


def f(body: str, config: str = "entity='user', timestamp='t'") -> str:
    """A file whose feature begins in line 4 and whose function has its body from line 6 on."""
    return f"{HEAD}@mlf.feature({config})\ndef f():\n    {body}\n"


SQL = "return f'SELECT k, t, x FROM {mlf.source(\"ev\")}'"
REFUSED_FILES: list[tuple[str, type[MlforgeError], str, int | None, str]] = [
    ("def f(:\n", FeatureError, "Python syntax: invalid syntax", 1, ""),
    ("x = 1\nx = '\0'\n", FeatureError, "Python syntax: source code", None, ""),
    ("\nimport nothing_of_this_name\n", FeatureError, "this file failed: ModuleNotFoundError: No module named", 2, ""),
    ("import sys\n\nsys.exit('enough')\n", FeatureError, "this file failed: SystemExit: enough", 3, ""),
    (
        f(SQL).replace("@mlf.feature(entity='user', timestamp='t')", "@mlf.feature"),
        FeatureError,
        "feature() takes named arguments",
        4,
        "@mlf.feature(entity",
    ),
    (
        f(SQL).replace("def f()", "def f(x)"),
        FeatureError,
        "the function 'f' of a feature takes no arguments",
        4,
        "mlf.source()",
    ),
    (f(SQL).replace("def f()", "def F()"), FeatureError, "'F' cannot be the name of a feature", 4, "name="),
    (f("raise KeyError('k')"), FeatureError, "the function of 'f' failed: KeyError: 'k'", 6, ""),
    (f("def g():\n        raise OSError\n    g()"), FeatureError, "the function of 'f' failed: OSError", 7, ""),
    (f("pass"), FeatureError, "the function of 'f' returns None", 5, "return SQL"),
    (f("return ' '"), FeatureError, "the function of 'f' returns an empty text", 5, "return SQL"),
    (f("return 3"), FeatureError, "a feature cannot be a int", 5, "a DuckDB relation"),
    (f("mlf.to_sql = lambda: 3; return mlf"), FeatureError, "to_sql() gives a int, not a text", 5, ""),
    (f("return mlf.source(None)"), FeatureError, "source() takes a name, not None", 6, ""),
    (
        f("return f'SELECT k, t, x FROM {mlf.source(\"ec\")}'"),
        FeatureError,
        "there is no source 'ec' in mlforge.yaml",
        6,
        "known: ev",
    ),
    (f("return f'''\n  SELECT k, t, x\n  FROM {mlf.ref('g')}'''"), FeatureError, "there is no feature 'g'", 8, ""),
    (
        f("return '''\n  SELECT k, t, x\n  FROM {{ sauce('ev') }}'''"),
        TemplateError,
        "'sauce' is undefined",
        8,
        "'source'",
    ),
    (
        f("sql = f'SELECT k, t,\\n x FROM {mlf.source(\"ec\")}'\n    return sql"),
        FeatureError,
        "there is no source 'ec'",
        5,
        "known: ev",
    ),
    (f(SQL, "timestamp='t'"), FeatureError, "feature() has no entity", 5, 'entity="user"'),
    (
        f(SQL, "entity=['user'], timestamp='t',\n  metrics=mlf.Sum('x', windows='1d')"),
        FeatureError,
        "entity must be exactly one name",
        4,
        "",
    ),
    (
        f(SQL, "entity='user', timestamp='t',\n  metrics=mlf.Sum('y', windows='1d')"),
        FeatureError,
        "there is no column 'y' in events",
        5,
        "",
    ),
    (f("raise SystemExit", "entity='user'"), FeatureError, "the function of 'f' failed: SystemExit", 6, ""),
    (f(SQL, "entity='usr'"), FeatureError, "there is no entity 'usr' in mlforge.yaml", 4, "'user'"),
    (f(SQL, "\n  entity='user',\n  timestmp='t'"), FeatureError, "config has no key 'timestmp'", 6, "'timestamp'"),
    (
        f(SQL, "entity='user',\n  validators={\n  'x': 3}"),
        FeatureError,
        "3 for 'x' is not a validator",
        6,
        "not_null()",
    ),
    (
        f(SQL, "entity='user',\n  metrics=mlf.Sum('x', windows='1d')"),
        FeatureError,
        "metrics need a timestamp",
        5,
        'timestamp="event_time"',
    ),
    (
        f(SQL, "entity='user', timestamp='t',\n  metrics=mlf.Sum('x', windows='1 day')"),
        FeatureError,
        "'1 day' is not a duration",
        5,
        "7d",
    ),
    (
        f(SQL, "entity='user', timestamp='t', closed='left',\n  metrics=mlf.Rolling(windows='1d', closed='right')"),
        FeatureError,
        "closed is said in two ways",
        5,
        "a feature has one",
    ),
    (
        f(SQL, "entity='user', timestamp='t', validators={'x': mlf.is_in(3)}"),
        FeatureError,
        "is_in() takes a list of values",
        4,
        "",
    ),
    (f("return '{{ config(entity=\"user\") }} SELECT 1'"), FeatureError, "config() stands twice", 6, "one call"),
    (f("return '''\n  SELECT k, t,\n  SELEC x\n  FORM y'''"), GrammarError, "SQL syntax", 9, ""),
    (f("return f'''\n  SELECT k, t, x FROM {mlf.source(\"ev\")}\n  LIMIT 3'''"), GrammarError, "LIMIT", 8, ""),
    (
        f("return f'''\n  SELECT k, t, nope + 1 AS y FROM {mlf.source(\"ev\")}'''"),
        FeatureError,
        "there is no column 'nope' in ev",
        7,
        "",
    ),
]


@pytest.mark.parametrize(("text", "kind", "message", "line", "hint"), REFUSED_FILES, ids=[r[2] for r in REFUSED_FILES])
def test_files_that_are_refused(
    small: Small, folder: Path, text: str, kind: type[MlforgeError], message: str, line: int | None, hint: str
) -> None:
    (folder / "features/a.py").write_text(text)
    with pytest.raises(kind) as caught:
        small.forge.plan()
    error = caught.value
    assert message in error.message
    assert error.where is not None
    assert (error.where.file, error.where.line) == ("features/a.py", line)
    assert hint in (error.hint or "")


def test_two_features_of_one_name(small: Small, folder: Path) -> None:
    (folder / "features/a.py").write_text(f(SQL))
    small.feature("f", '{{ config(entity="user") }}\nSELECT 1 AS k, 2 AS x')
    with pytest.raises(ProjectError, match=r"the feature 'f' is also in features/f\.sql") as caught:
        small.forge.plan()
    assert str(caught.value.where) == "features/a.py"


def test_rows_of_a_function_without_a_text_are_refused() -> None:
    names: dict[str, Any] = {"mlf": mlf, "rows": ROWS}
    exec("@mlf.feature(entity='user')\ndef unseen(): return rows", names)
    with pytest.raises(FeatureError, match="Python cannot show the text of the function of 'unseen'") as caught:
        project(names["unseen"], sources=[]).plan()
    assert caught.value.hint == "write the function into a file"


def test_the_command_line_says_it_in_a_line(small: Small, folder: Path) -> None:
    (folder / "features/a.py").write_text(f("raise KeyError('k')"))
    done = subprocess.run([sys.executable, "-m", "mlforge", "plan"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "features/a.py:6: the function of 'f' failed: KeyError: 'k'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
