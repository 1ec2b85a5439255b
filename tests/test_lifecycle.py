"""The life of a feature: first version, nothing to do, new data, new definition, and every old answer still there."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import duckdb
import pytest

from mlforge.building.catalog_views import show_feature
from mlforge.building.options import BuildOptions
from mlforge.catalog import commit as commits
from mlforge.catalog import reader, writer
from mlforge.model import Version
from tests.small import CONFIG, Small

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = "k BIGINT, t TIMESTAMP, x INTEGER, d DOUBLE, tags VARCHAR[], place STRUCT(a INTEGER, b VARCHAR)"
FIRST = (
    "1, '2024-01-01 10:00', 1, 0.1, ['a'], {'a': 1, 'b': 'x'}",
    "1, '2024-01-01 10:00', 2, 0.2, ['b', NULL], {'a': 2, 'b': NULL}",  # ties with the row above
    "1, '2024-01-03 00:00', 3, 'nan', [], NULL",
    "2, '2024-01-01 00:00', 4, 0.3, NULL, {'a': 4, 'b': 'y'}",
    "2, '2024-01-01 00:00', 4, 0.3, NULL, {'a': 4, 'b': 'y'}",  # the same row twice
    "2, '2024-01-09 23:59', NULL, 'inf', ['c'], {'a': 5, 'b': 'z'}",
    "NULL, '2024-01-02', 6, 0.5, [], NULL",
    "3, NULL, 7, 0.5, [], NULL",
    "4, '2024-01-05 12:00', 8, 1e100, ['d'], {'a': 8, 'b': 'w'}",
)
SECOND = (
    *FIRST[:3],
    FIRST[3],  # its twin is gone
    "2, '2024-01-09 23:59', 10, 0.25, ['c'], {'a': 5, 'b': 'z'}",  # changed
    *FIRST[6:8],
    "4, '2024-01-05 12:00', 8, 1e100, ['d'], {'a': 8, 'b': 'w'}",
    "4, '2024-01-05 12:00', 9, -1e100, ['e'], {'a': 9, 'b': 'v'}",  # a new tie
    "5, '2024-01-06', 11, 1e-9, ['f'], {'a': 11, 'b': 'u'}",  # a new key
)
KINDS = {
    "plain": """\
{{ config(entity="user", timestamp="t", ttl="5d") }}
SELECT k, t, x, d, tags, place, place.b AS b FROM {{ source("ev") }}
""",
    "plain_interval": """\
{{ config(entity="user", timestamp="t", interval="1d", ttl="3d", delay="2h") }}
SELECT k, t, x, d, tags, place FROM {{ source("ev") }}
""",
    "windows": """\
{{ config(entity="user", timestamp="t") }}
SELECT k, t, x AS last_x, tags AS last_tags, place.a AS last_a, SUM(x) OVER last_7d AS x_7d,
    AVG(d) OVER last_7d AS d_7d, COUNT(*) OVER ever AS n, (LIST(x) OVER ever)[-2:] AS last_two,
    MEDIAN(x) OVER last_1mo AS middle,
    FIRST(place) OVER ever AS first_place, STDDEV(d) OVER ever AS spread
FROM {{ source("ev") }} WHERE x IS NULL OR x > 0
""",
    "tiles": """\
{{ config(entity="user", timestamp="t", interval="1d") }}
SELECT k, t, SUM(x) OVER last_7d AS x_7d, COUNT(x) OVER last_2d AS n_2d, AVG(x) OVER last_7d AS mean,
    MAX(x) OVER ever AS top
FROM {{ source("ev") }}
""",
    "float_tiles": """\
{{ config(entity="user", timestamp="t", interval="1d") }}
SELECT k, t, SUM(x::DOUBLE / 7) OVER last_7d AS s, AVG(x::DOUBLE / 3) OVER last_7d AS m FROM {{ source("ev") }}
""",
    "snapshots": """\
{{ config(entity="user", timestamp="t", interval="1d", timezone="America/New_York") }}
SELECT k, t, x AS last_x, SUM(d) OVER last_7d AS d_7d, MEDIAN(x) OVER last_36h AS middle,
    LAST(tags) OVER ever AS last_tags
FROM {{ source("ev") }}
""",
    "static": """\
{{ config(entity="user") }}
SELECT k, MAX(x) AS top, LIST(x ORDER BY x NULLS FIRST) AS xs, ARG_MAX(place, x) AS place
FROM {{ source("ev") }} GROUP BY k
""",
    "on_demand": """\
{{ config(entity="user", on_demand=true) }}
SELECT s.x_7d * 2 AS twice, COALESCE(p.x, -1) AS known
FROM {{ ref("windows") }} AS s, {{ ref("plain") }} AS p
""",
    "joined": """\
{{ config(entity="user", timestamp="t") }}
SELECT e.k, e.t, w.x_7d AS before, SUM(p.x) OVER ever AS of_known
FROM {{ source("ev") }} AS e LEFT JOIN {{ ref("windows") }} AS w ON w.k = e.k
LEFT JOIN {{ ref("plain") }} AS p ON p.k = e.k
""",
    "over_snapshots": """\
{{ config(entity="user", timestamp="t") }}
SELECT k, t, MAX(x_7d) OVER last_30d AS most FROM {{ ref("tiles") }}
""",
}
NEEDS = {"on_demand": ("windows", "plain"), "joined": ("windows", "plain"), "over_snapshots": ("tiles",)}
LABELS = ", ".join(
    f"({k}, '{t}')"
    for k in (1, 2, 3, 4, 5, 9)
    for t in ("2024-01-01 10:00", "2024-01-03 05:00", "2024-01-08 00:00", "2024-01-12 00:00", "2023-01-01")
)


def project(root: Path, kind: str, rows: tuple[str, ...]) -> Small:
    small = Small(root)
    small.rows(*rows, columns=COLUMNS)
    for name in (*NEEDS.get(kind, ()), kind):
        small.feature(name, KINDS[name])
    return small


def answers(small: Small, reference: str) -> str:
    """What the feature is worth for all label rows; text, since NaN is not NaN."""
    return repr(small.ask([reference], LABELS))


def contents(small: Small, table: str, where: str = "true") -> list[str]:
    rows = small.sql(f'SELECT * EXCLUDE (_mlforge_from, _mlforge_to) FROM store."{table}" WHERE {where}')
    return sorted(map(repr, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_gives_the_new_values_and_keeps_the_old_ones(tmp_path: Path, kind: str) -> None:
    small = project(tmp_path / "one", kind, FIRST)
    assert set(small.good().values()) == {"1.0.0"}
    before = answers(small, kind)
    old_view = None if kind == "on_demand" else repr(small.view(f"{kind}@1.0.0"))
    assert old_view is None or old_view == repr(small.view(kind))

    small.rows(*SECOND, columns=COLUMNS)
    assert small.good()[kind] == "1.0.1"
    fresh = project(tmp_path / "two", kind, SECOND)
    fresh.good()
    assert answers(small, kind) == answers(fresh, kind) != before
    assert answers(small, f"{kind}@1.0.0") == before
    if kind != "on_demand":
        assert repr(small.view(kind)) == repr(fresh.view(kind))
        assert repr(small.view(f"{kind}@1.0.0")) == old_view  # the dataset made above names it
        patch_stores_only_what_changed(small, fresh, f"{kind}__1_0")
    assert small.good() == {}


def patch_stores_only_what_changed(small: Small, fresh: Small, table: str) -> None:
    assert contents(small, table, "_mlforge_to IS NULL") == contents(fresh, table)
    old, new = contents(small, table, "_mlforge_from = 0"), contents(fresh, table)
    left = list(old)
    added = [row for row in new if row not in left or left.remove(row)]
    assert contents(small, table, "_mlforge_from = 1") == added
    assert contents(small, table, "_mlforge_to = 1") == sorted(left)


def test_rows_that_come_and_go_and_come_back(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.feature("f", KINDS["plain"].replace(", d, tags, place, place.b AS b", ""))
    values = [("1, '2024-01-01', 1",), ("1, '2024-01-01', 2",), ("1, '2024-01-01', 1",), ()]
    seen = []
    for patch, rows in enumerate(values):
        small.rows(*rows)
        assert small.good() == {"f": f"1.0.{patch}"}
        seen.append(small.ask(["f"], "(1, '2024-01-02')"))
    assert seen == [[(1,)], [(2,)], [(1,)], [(None,)]]
    assert [small.ask([f"f@1.0.{patch}"], "(1, '2024-01-02')") for patch in range(4)] == seen
    assert small.stored("f") == {"f__1_0": 3}


SIMPLE = """\
{{ config(entity="user", timestamp="t", closed="right") }}
SELECT k, t, x, x * 2 AS y FROM {{ source("ev") }}
"""


@pytest.fixture
def built(tmp_path: Path) -> Small:
    """A project with one feature, built once."""
    small = Small(tmp_path / "project")
    small.rows("1, '2024-01-01', 1", "1, '2024-01-02', 2", "2, '2024-01-01', 5")
    small.feature("f", SIMPLE)
    assert small.good() == {"f": "1.0.0"}
    return small


def test_first_build(built: Small) -> None:
    [version] = built.forge.versions("f")
    assert (version["version"], version["is_current"], version["rows"]) == ("1.0.0", True, 3)
    assert built.sql("SELECT build, status, built FROM mlforge.builds") == [(1, "done", ["f@1.0.0"])]
    assert [str(s.suffix) for s in built.root.iterdir() if s.name.startswith("catalog")] == [".duckdb"]


def test_nothing_changed_builds_nothing(built: Small) -> None:
    stamp = built.catalog.stat().st_mtime_ns
    result = built.build()
    assert result.build is None
    assert result.plan.nothing_to_do
    assert built.catalog.stat().st_mtime_ns == stamp


def test_touch_builds_nothing(built: Small) -> None:
    os.utime(built.root / "data/ev.parquet", (1, 1))
    os.utime(built.root / "features/f.sql", (1, 1))
    assert built.build().build is None


def test_a_project_copied_elsewhere_builds_nothing(built: Small, tmp_path: Path) -> None:
    shutil.copytree(built.root, tmp_path / "copy", copy_function=shutil.copyfile)
    assert Small(tmp_path / "copy", CONFIG).build().build is None


def test_a_source_written_again_with_other_bytes_and_equal_rows_stores_nothing(built: Small) -> None:
    built.write("data/ev.parquet", f"FROM '{built.root}/data/ev.parquet'", "COMPRESSION zstd, FORMAT parquet")
    before = built.stored("f")
    built.good()
    assert built.stored("f") == before


CHANGES = {
    "column added": ("x * 2 AS y", "x * 2 AS y, x * 3 AS z", "minor", "1.1.0"),
    "column removed": (", x * 2 AS y", "", "major", "2.0.0"),
    "column renamed": ("AS y", "AS z", "major", "2.0.0"),
    "type": ("x * 2", "(x * 2)::INTEGER", "major", "2.0.0"),
    "expression": ("x * 2", "x * 3", "major", "2.0.0"),
    "filter": ('source("ev") }}', 'source("ev") }} WHERE x > 1', "major", "2.0.0"),
    "closed": ('closed="right"', 'closed="left"', "major", "2.0.0"),
    "delay": ('closed="right"', 'closed="right", delay="1h"', "major", "2.0.0"),
    "ttl": ('closed="right"', 'closed="right", ttl="1d"', "major", "2.0.0"),
    "interval": ('closed="right"', 'closed="right", interval="1d"', "major", "2.0.0"),
    "source": ('source("ev")', 'source("same")', "major", "2.0.0"),
    "timestamp": ("SELECT k, t,", "SELECT k, t + INTERVAL 1 HOUR AS t,", "major", "2.0.0"),
    "key": ("SELECT k,", "SELECT k + 1 AS k,", "major", "2.0.0"),
    "kind": (
        'SELECT k, t, x, x * 2 AS y FROM {{ source("ev") }}',
        'SELECT k, t, x, SUM(x) OVER ever AS y FROM {{ source("ev") }}',
        "major",
        "2.0.0",
    ),
    "formatting": ("SELECT k, t, x, x * 2 AS y", "select K,\n  t, -- when\n  x, (X*2)  AS y", None, None),
    "alias in FROM": ('x * 2 AS y FROM {{ source("ev") }}', 's.x * 2 AS y FROM {{ source("ev") }} AS s', None, None),
    "default closed said": (', closed="right"', "", None, None),
    "description": ('closed="right"', 'closed="right", description="new"', "metadata", None),
    "tags": ('closed="right"', 'closed="right", tags=["a"]', "metadata", None),
    "owner": ('closed="right"', 'closed="right", owner="me"', "metadata", None),
    "column text": ('closed="right"', 'closed="right", columns={"x": "a number"}', "metadata", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_of_the_definition_makes(built: Small, change: str) -> None:
    old, new, action, version = CHANGES[change]
    built.config(CONFIG.replace("sources:", "sources:\n  same: {path: data/ev.parquet}"))
    before = built.ask(["f"], LABELS)
    assert old in SIMPLE
    built.feature("f", SIMPLE.replace(old, new, 1))
    if action != "metadata":
        assert built.actions()["f"] in (action, "none", "metadata")
        assert (action is None) == (built.actions()["f"] in ("none", "metadata"))
    else:
        assert built.actions() == {"f": "metadata"}
    assert built.good() == ({"f": version} if version else {})
    assert built.good() == {}
    assert built.ask(["f@1.0.0"], LABELS) == before
    assert [v["version"] for v in built.forge.versions("f")] == ["1.0.0", *([version] if version else [])]


def test_metadata_reaches_the_catalog(built: Small) -> None:
    told = 'closed="right", description="what it is", owner="me", tags=["a"], columns={"x": "a number"}'
    built.feature("f", SIMPLE.replace('closed="right"', told))
    built.good()
    assert built.sql("SELECT description, owner, tags FROM mlforge.features") == [("what it is", "me", ["a"])]
    comments = built.sql("SELECT column_name, comment FROM duckdb_columns() WHERE comment = 'a number'")
    assert comments == [("x", "a number")]


def test_a_held_feature_shows_the_words_of_the_columns_that_it_has(built: Small) -> None:
    told = 'closed="right", columns={"X": "a number", "z": "a new one"}'
    built.feature("f", SIMPLE.replace('closed="right"', told).replace("AS y", "AS y, x * 3 AS z"))
    built.good()
    built.forge.rollback("f", "1.0.0")
    built.feature("f", SIMPLE.replace('closed="right"', told).replace("AS y", "AS y, x * 4 AS z"))
    assert built.good() == {"f": "2.0.0"}
    shown = "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'features' AND comment IS NOT NULL"
    assert built.sql(shown) == [("x", "a number")]
    built.forge.rollback("f", release=True)
    assert built.sql(shown) == [("x", "a number"), ("z", "a new one")]


def test_a_minor_keeps_the_old_table_and_answers(built: Small) -> None:
    built.ask(["f@1.0"], LABELS)
    built.feature("f", SIMPLE.replace("AS y", "AS y, x * 3 AS z"))
    built.good()
    assert built.stored("f") == {"f__1_0": 3, "f__1_1": 3}
    assert len(built.view("f@1.0.0")[0]) == 4
    assert len(built.view("f@1.1.0")[0]) == len(built.view("f")[0]) == 5
    assert built.ask(["f@1:z"], "(1, '2024-01-05')") == [(6,)]


def test_returning_to_an_old_definition_is_a_new_major(built: Small) -> None:
    built.feature("f", SIMPLE.replace("x * 2", "x * 3"))
    assert built.good() == {"f": "2.0.0"}
    built.feature("f", SIMPLE)
    assert built.good() == {"f": "3.0.0"}
    got = [built.ask([f"f@{n}:y"], "(1, '2024-01-05')") for n in (1, 2, 3)]
    assert got == [[(4,)], [(6,)], [(4,)]]
    assert built.ask(["f:y"], "(1, '2024-01-05')") == [(4,)]


def test_data_that_comes_with_a_new_definition_belongs_to_the_new_version(built: Small) -> None:
    built.rows("1, '2024-01-01', 10")
    built.feature("f", SIMPLE.replace("x * 2", "x * 3"))
    assert built.good() == {"f": "2.0.0"}
    assert built.ask(["f@1:y"], "(1, '2024-01-05')") == [(4,)]
    assert built.ask(["f@2:y"], "(1, '2024-01-05')") == [(30,)]


def move_current(small: Small, feature: str, version: str) -> None:
    """What a rollback does."""

    def apply(tx: commits.Transaction) -> None:
        writer.set_current(tx.con, feature, Version.parse(version), held=True)
        state = reader.state(tx.con)
        show_feature(tx.con, state, state.features[feature], {f"{feature}@{version}"})

    commits.commit(small.catalog, None, apply)


def test_a_held_feature_records_versions_and_stays(built: Small) -> None:
    built.rows("1, '2024-01-01', 10")
    built.good()
    move_current(built, "f", "1.0.0")
    assert built.ask(["f"], "(1, '2024-01-05')") == [(2, 4)]

    built.rows("1, '2024-01-01', 100")
    result = built.build()
    assert [(f.version, f.status) for f in result.features] == [("1.0.2", "built")]
    [step] = result.plan.steps
    assert any("held at 1.0.0" in reason for reason in step.reasons)
    assert built.ask(["f"], "(1, '2024-01-05')") == [(2, 4)]
    assert built.view("f") == built.view("f@1.0.0")
    assert built.ask(["f@1"], "(1, '2024-01-05')") == [(100, 200)]
    assert built.sql("SELECT current_version, held FROM mlforge.features") == [("1.0.0", True)]
    assert built.good() == {}

    assert built.build(release=True).plan.steps[0].action == "release"
    assert built.sql("SELECT current_version, held FROM mlforge.features") == [("1.0.2", False)]
    assert built.ask(["f"], "(1, '2024-01-05')") == [(100, 200)]
    assert built.view("f") == built.view("f@1.0.2")
    assert built.good() == {}


def test_force_makes_a_patch_that_stores_nothing(built: Small) -> None:
    assert built.good(force=True) == {"f": "1.0.1"}
    assert built.stored("f") == {"f__1_0": 3}
    assert built.view("f") == built.view("f@1.0.1")


def test_a_feature_that_leaves_the_project_stays_in_the_catalog(built: Small) -> None:
    (built.root / "features/f.sql").unlink()
    built.feature("g", SIMPLE)
    result = built.build()
    assert result.plan.removed == ("f",)
    assert built.ask(["f"], "(1, '2024-01-05')") == [(2, 4)]


CHAIN = {
    "base": SIMPLE,
    "middle": """\
{{ config(entity="user", timestamp="t") }}
SELECT k, t, SUM(x) OVER ever AS total FROM {{ ref("base") }}
""",
    "top": """\
{{ config(entity="user", timestamp="t") }}
SELECT e.k, e.t, m.total * 10 AS big FROM {{ source("ev") }} AS e LEFT JOIN {{ ref("middle") }} AS m ON e.k = m.k
""",
    "asked": """\
{{ config(entity="user", on_demand=true) }}
SELECT t.big + b.x AS sum_of FROM {{ ref("top") }} AS t, {{ ref("base") }} AS b
""",
}


@pytest.fixture
def chain(tmp_path: Path) -> Small:
    small = Small(tmp_path / "project")
    small.rows("1, '2024-01-01', 1", "1, '2024-01-02', 2", "1, '2024-01-03', 3")
    for name, text in CHAIN.items():
        small.feature(name, text)
    assert small.good() == dict.fromkeys(CHAIN, "1.0.0")
    return small


def test_values_go_down_a_chain(chain: Small) -> None:
    labels = "(1, '2024-01-03'), (1, '2024-02-01')"
    assert chain.ask(["base:x"], labels) == [(3,), (3,)]
    assert chain.ask(["middle"], labels) == [(3,), (6,)]
    assert chain.ask(["top"], labels) == [(30,), (30,)]  # the row of 3 January knows what was before it
    assert chain.ask(["asked"], labels) == [(33,), (33,)]


def test_new_data_goes_down_a_chain(chain: Small) -> None:
    chain.rows("1, '2024-01-01', 5", "1, '2024-01-02', 2", "1, '2024-01-03', 3")
    assert chain.good() == dict.fromkeys(CHAIN, "1.0.1")
    assert chain.ask(["asked"], "(1, '2024-02-01')") == [(73,)]
    assert chain.ask(["asked@1.0.0"], "(1, '2024-02-01')") == [(33,)]
    assert chain.good() == {}


def test_new_meaning_goes_down_a_chain(chain: Small) -> None:
    chain.feature("middle", CHAIN["middle"].replace("SUM", "MAX"))
    assert chain.good() == {"middle": "2.0.0", "top": "2.0.0", "asked": "2.0.0"}
    assert chain.ask(["asked"], "(1, '2024-02-01')") == [(23,)]
    assert chain.ask(["asked@1"], "(1, '2024-02-01')") == [(33,)]


def test_part_of_a_chain_is_built_with_what_it_reads(tmp_path: Path) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 1")
    for name, text in CHAIN.items():
        small.feature(name, text)
    assert small.good("middle") == {"base": "1.0.0", "middle": "1.0.0"}
    small.rows("1, '2024-01-01', 2")
    result = small.build("base")
    assert [f.feature for f in result.features if f.status == "built"] == ["base"]
    assert any("middle" in note for note in result.plan.notes)
    assert small.good("middle") == {"middle": "1.0.1"}


def with_set(members: str) -> str:
    return f"{CONFIG}feature_sets:\n  s: [{members}]\n"


def macro(small: Small, name: str) -> list[tuple[object, ...]]:
    labels = "CREATE TEMP VIEW l AS SELECT 1::BIGINT AS k, TIMESTAMP '2024-01-05' AS label_time"
    with duckdb.connect(str(small.catalog), read_only=True) as con:
        con.execute(labels)
        return con.execute(f"SELECT * EXCLUDE (k, label_time) FROM feature_sets.\"{name}\"('l')").fetchall()


def test_versions_of_a_feature_set(built: Small) -> None:
    built.feature("g", SIMPLE.replace(", x, x * 2 AS y", ", x + 100 AS far"))
    built.config(with_set('"f:y"'))
    built.good()
    assert macro(built, "s") == macro(built, "s@1") == built.ask("s", "(1, '2024-01-05')") == [(4,)]
    built.config(with_set('"f:y", g'))
    built.good()
    assert macro(built, "s") == macro(built, "s@2") == built.ask("s@2", "(1, '2024-01-05')") == [(4, 102)]
    assert macro(built, "s@1") == built.ask("s@1", "(1, '2024-01-05')") == [(4,)]
    assert [v["version"] for v in built.forge.versions("s")] == [1, 2]
    assert built.build().build is None


def test_an_entry_without_a_pin_stays_on_its_major(built: Small) -> None:
    built.config(with_set('"f:y"'))
    built.good()
    built.feature("f", SIMPLE.replace("x * 2", "x * 3"))
    assert built.good() == {"f": "2.0.0"}
    assert macro(built, "s") == built.ask("s", "(1, '2024-01-05')") == [(4,)]
    assert [s.version_to for s in built.forge.plan(options=BuildOptions(upgrade_sets=True)).sets] == [2]
    built.good(upgrade_sets=True)
    assert macro(built, "s") == built.ask("s", "(1, '2024-01-05')") == [(6,)]
    assert macro(built, "s@1") == built.ask("s@1", "(1, '2024-01-05')") == [(4,)]


def test_an_entry_takes_the_newest_minor_and_patch_of_its_major(built: Small) -> None:
    built.config(with_set('"f:y"'))
    built.good()
    built.rows("1, '2024-01-01', 10")
    built.good()
    assert macro(built, "s") == built.ask("s", "(1, '2024-01-05')") == [(20,)]
    built.feature("f", SIMPLE.replace("AS y", "AS y, x * 3 AS z"))
    assert built.good() == {"f": "1.1.0"}
    built.rows("1, '2024-01-01', 100")
    assert built.good() == {"f": "1.1.1"}
    assert macro(built, "s") == built.ask("s", "(1, '2024-01-05')") == [(200,)]


def test_a_set_whose_pinned_member_failed_waits(built: Small) -> None:
    built.feature("f", SIMPLE.replace("x * 2", "CAST('no' || x AS INTEGER)"))
    built.config(with_set('"f@2:y"'))
    result = built.build()
    assert result.failed
    assert built.sql("SELECT count(*) FROM mlforge.feature_sets") == [(0,)]
    built.feature("f", SIMPLE.replace("x * 2", "x * 3"))
    built.good()
    assert macro(built, "s") == [(6,)]
