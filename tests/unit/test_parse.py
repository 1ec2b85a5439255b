"""Parsing: one statement, its kind, the places of errors, and the tables of functions against the engine."""

from __future__ import annotations

import duckdb
import pytest
from sqlglot import ErrorLevel, exp, parse_one

from mlforge.errors import Where
from mlforge.model import Duration
from mlforge.render.functions import AGGREGATES, RANKING, SYNONYMS, function_name, is_aggregate
from mlforge.render.grammar import as_of_calls, trailing_windows
from mlforge.render.parse import where
from mlforge.render.syntax import outermost, ref_name, relations, source_name
from mlforge.render.windows import is_too_long, is_trailing, length, nearest_form, suffix
from tests.unit.feature_text import FILE, PAY, REF, TX, check_error, parsed, refused

KINDS = [
    (f"SELECT k, ts, SUM(x) OVER last_7d AS s FROM {TX}", {}, "windows"),
    (f"SELECT k, ts, 1 + COUNT(*) OVER (LAST_24H) AS s FROM {TX}", {}, "windows"),
    (f"SELECT k, ts, date_diff('day', ts, as_of()) AS age FROM {TX}", {}, "windows"),
    (f"SELECT k, ts, SUM(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM {TX}", {}, "plain"),
    (f"SELECT k, ts FROM {TX} UNION ALL SELECT k, ts FROM {PAY}", {}, "plain"),
    (f"SELECT k, MAX(x) AS x FROM {TX} GROUP BY k", {"timestamp": None}, "static"),
    (f"SELECT k, amount / v AS r FROM {REF}", {"timestamp": None, "on_demand": True}, "on_demand"),
    ("SELECT k, amount * 2 AS r", {"timestamp": None, "on_demand": True}, "on_demand"),
    (f"SELECT k, date_diff('day', v, as_of()) AS r FROM {REF}", {"timestamp": None, "on_demand": True}, "on_demand"),
    (f"FROM {TX} SELECT k, ts", {}, "plain"),
    (f"FROM {TX}", {}, "plain"),
    (f"-- spend\nSELECT k, ts /* time */ FROM {TX};\n-- end\n", {}, "plain"),
]


@pytest.mark.parametrize(("sql", "config", "kind"), KINDS)
def test_kind(sql: str, config: dict[str, object], kind: str) -> None:
    assert parsed(sql, **config).kind == kind


def test_comments_are_dropped_and_ctes_kept() -> None:
    tree = parsed(f"WITH a AS (SELECT * FROM {TX}) -- why\nSELECT k, ts, /* x */ v FROM a").tree
    assert tree.sql("duckdb") == f"WITH a AS (SELECT * FROM {TX}) SELECT k, ts, v FROM a"


STATEMENTS = [
    ("", None, "holds no SQL statement", "write one SELECT"),
    ("-- nothing\n", None, "holds no SQL statement", "write one SELECT"),
    (f"SELECT k FROM {TX};\nSELECT 2", 2, "2 statements in one file", "keep one SELECT"),
    (f"\n(SELECT k, ts FROM {TX})", 2, "the whole statement stands in parentheses", "delete them"),
    (f"\nDELETE FROM {TX}", 2, "one SELECT, not DELETE", "write SELECT"),
    (f"INSERT INTO a SELECT * FROM {TX}", 1, "one SELECT, not INSERT", ""),
    (f"CREATE TABLE a AS SELECT * FROM {TX}", 1, "one SELECT, not CREATE", ""),
    (f"WITH a AS (SELECT 1) UPDATE {TX} SET k = 1", 1, "one SELECT, not UPDATE", ""),
    (f"PIVOT {TX} ON k USING SUM(x)", 1, "one SELECT, not PIVOT", ""),
    (f"SUMMARIZE {TX}", 1, "one SELECT, not SUMMARIZE", ""),
    (f"DESCRIBE {TX}", 1, "one SELECT, not DESCRIBE", ""),
    ("VALUES (1)", 1, "one SELECT, not VALUES", ""),
    ("ATTACH 'x.db'", 1, "one SELECT, not ATTACH", ""),
    ("SELECT k,\n  sum(x\nFROM t", 3, "SQL syntax: expecting )", "near: SELECT k, sum(x FROM t"),
    ("SELECT k,\n\n FROM", 3, "SQL syntax: expected table name", "near:"),
    ("SELECT k,\n 'abc\n FROM t", 2, "SQL syntax: ' is never closed", "add the closing '"),
    ("SELECT k\n/* never ends", 2, "SQL syntax: /* is never closed", "add the closing */"),
    ("SELECT k, ts FROM x'", None, "SQL syntax: the text ends inside a quoted word", ""),
    ('SELECT k,\n "abc FROM t\n', 2, 'SQL syntax: " is never closed', 'add the closing "'),
]


@pytest.mark.parametrize(("sql", "line", "message", "hint"), STATEMENTS)
def test_not_one_select(sql: str, line: int | None, message: str, hint: str) -> None:
    check_error(refused(sql), line, message, hint)


def test_where_finds_the_users_line() -> None:
    feature = parsed(f"SELECT\n  k,\n  ts,\n  5 AS five,\n  SUM(\n    x) OVER last_7d AS s\nFROM {TX}\nWHERE 1 = 1")
    select = feature.tree
    assert where(feature, select.expressions[0]) == Where(FILE, 11)
    assert where(feature, select.expressions[2]) == Where(FILE, 13)
    assert where(feature, select.expressions[3]) == Where(FILE, 14)
    assert where(feature, select.args["from_"]) == Where(FILE, 16)
    assert where(feature, select.args["where"]) == Where(FILE, 17)
    assert where(feature.rendered, None) == Where(FILE)
    assert where(feature, exp.column("made")) == Where(FILE)


def test_where_climbs_to_a_node_with_a_place() -> None:
    feature = parsed(f"SELECT k,\n ts,\n CAST(NULL AS INT) AS n FROM {TX}")
    null = next(feature.tree.find_all(exp.Null))
    assert where(feature, null) == Where(FILE, 12)


def test_relations_know_sources_and_refs() -> None:
    feature = parsed(f"SELECT a.k, ts FROM {TX} AS a LEFT JOIN {REF} AS r ON r.k = a.k")
    (select,) = outermost(feature.tree)
    found = [(source_name(t), ref_name(t), join is not None) for t, join in relations(select)]
    assert found == [("tx", None, False), (None, "risk", True)]


WINDOWS = [
    ("last_30s", Duration(30, "s")),
    ("last_5m", Duration(5, "m")),
    ("LAST_24H", Duration(24, "h")),
    ("Last_7d", Duration(7, "d")),
    ("last_2w", Duration(2, "w")),
    ("last_3MO", Duration(3, "mo")),
    ("last_1y", Duration(1, "y")),
    ("ever", None),
    ("EVER", None),
]


@pytest.mark.parametrize("form", ["OVER {}", "OVER ({})", 'OVER "{}"'])
@pytest.mark.parametrize(("name", "duration"), WINDOWS)
def test_length_of_a_trailing_window(name: str, duration: Duration | None, form: str) -> None:
    (window,) = trailing_windows(parsed(f"SELECT k, ts, SUM(x) {form.format(name)} AS s FROM {TX}").tree)
    assert is_trailing(window)
    assert length(window) == duration
    assert suffix(window) == name.lower().removeprefix("last_")


def test_ordinary_windows_are_not_trailing() -> None:
    tree = parse_one("SELECT SUM(x) OVER (ORDER BY y), SUM(x) OVER w FROM t WINDOW w AS (ORDER BY z)", dialect="duckdb")
    windows = list(tree.find_all(exp.Window))
    assert not any(is_trailing(w) for w in windows)
    with pytest.raises(ValueError, match="not a trailing window"):
        length(windows[0])


NEAREST = [
    ("last_7", "last_7d"),
    ("last_7days", "last_7d"),
    ("last_0d", "last_1d"),
    ("lst_7d", "last_7d"),
    ("last7d", "last_7d"),
    ("last_07d", "last_7d"),
    ("last_24_hours", "last_24h"),
    ("last_3months", "last_3mo"),
    ("past_5min", "last_5m"),
    ("last_2yrs", "last_2y"),
    ("forever", "ever"),
    ("w", None),
    ("last_7parsecs", None),
    ("recent", None),
]


@pytest.mark.parametrize(("name", "near"), NEAREST)
def test_malformed_window_names(name: str, near: str | None) -> None:
    assert nearest_form(name) == near
    error = refused(f"SELECT k, ts,\n SUM(x) OVER {name} AS s FROM {TX}")
    check_error(
        error, 2, f"OVER {name}: neither a trailing window nor defined in a WINDOW clause", near or "last_7d or ever"
    )


def test_the_longest_window() -> None:
    assert not is_too_long(Duration(1000, "y"))
    assert is_too_long(Duration(1001, "y"))
    assert is_too_long(Duration(10**9, "d"))
    assert not is_too_long(None)
    error = refused(f"SELECT k, ts, SUM(x) OVER last_99999999d AS s FROM {TX}")
    check_error(error, 1, "longer than a thousand years", "OVER ever")


def test_as_of_is_found_in_any_case() -> None:
    tree = parsed(f"SELECT k, ts, AS_OF() AS a, date_diff('day', ts, as_of()) AS b FROM {TX}").tree
    assert len(list(as_of_calls(tree))) == 2


def engine_functions(kind: str) -> dict[str, str | None]:
    rows = duckdb.connect().execute(
        "SELECT function_name, max(alias_of) FROM duckdb_functions() WHERE function_type = ? GROUP BY ALL", [kind]
    )
    return dict(rows.fetchall())


def test_every_aggregate_of_the_engine_is_known() -> None:
    aggregates = engine_functions("aggregate").keys()
    internal = {name for name in aggregates if name.startswith(("__", "first_", "last_"))}
    assert aggregates - internal - AGGREGATES - RANKING == set()


def test_synonyms_agree_with_the_engine() -> None:
    engine = {name: primary for name, primary in engine_functions("aggregate").items() if primary}
    assert {name: SYNONYMS.get(name, name) for name in engine} == engine


@pytest.mark.parametrize("name", sorted(AGGREGATES))
def test_aggregates_are_told_from_other_functions(name: str) -> None:
    call = parse_one(f"SELECT {name}(x, y)", dialect="duckdb", error_level=ErrorLevel.IGNORE).expressions[0]
    inner = call.this if isinstance(call, exp.IgnoreNulls) else call
    assert is_aggregate(inner)
    assert SYNONYMS.get(function_name(inner), function_name(inner)) == SYNONYMS.get(name, name)


@pytest.mark.parametrize("name", ["upper", "list_sum", "greatest", "coalesce", "row_number", "lag", "no_such_function"])
def test_other_functions_are_no_aggregates(name: str) -> None:
    assert not is_aggregate(parse_one(f"{name}(x)", dialect="duckdb"))
