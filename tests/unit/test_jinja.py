"""Rendering: SQL, configuration, line maps, and every refusal with its file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlforge.errors import FeatureError, TemplateError
from mlforge.model import (
    Check,
    Duration,
    Entity,
    FeatureConfig,
    FeatureFile,
    FeatureRef,
    MacroFile,
    Project,
    Rendered,
    Source,
    WarehouseConfig,
)
from mlforge.render.calls import functions
from mlforge.render.header import CONFIG
from mlforge.render.jinja import Renderer

HEAD = '{{ config(entity="user") }}'
TIMED = '{{ config(entity="user", timestamp="t"'
MACROS = """\
{% macro cents(c) %}({{ c }} / 100){% endmacro %}
{% macro two(c) %}
  {{ cents(c) }}
  + 1
{% endmacro %}
{% macro wrap() %}
[{{ caller() }}]
{% endmacro %}
{% macro bad(c) %}
  {{ c + 1 }}
{% endmacro %}
{% macro rows(name) %}

  {{ source(name) }}
{% endmacro %}
{% macro endless() %}{{ endless() }}{% endmacro %}
{% macro _own() %}mine{% endmacro %}
{% macro uses_own() %}{{ _own() }} {{ far() }}{% endmacro %}
{% macro undef() %}
  {{ amuont }}
{% endmacro %}
"""
FAR = "{% macro far() %}far {{ var('limit') }}{% endmacro %}"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFORGE_TEST_SET", "hidden")


def project(root: Path, text: str, *macros: MacroFile, **changes: Any) -> Project:
    files = {
        "f": FeatureFile(name="f", path="features/f.sql", text=text),
        "other": FeatureFile(name="other", path="features/other.sql", text=HEAD),
    }
    given: dict[str, Any] = {
        "name": "p",
        "root": str(root),
        "profile": "dev",
        "warehouse": WarehouseConfig(),
        "sources": {"payments": Source(name="payments", format="csv")},
        "entities": {"user": Entity(name="user", keys=("user_id",))},
        "vars": {"limit": 5, "words": ["it's"]},
        "features": files,
        "macros": macros or (MacroFile("macros/m.sql", MACROS), MacroFile("macros/far.sql", FAR)),
    }
    return Project(**{**given, **changes})


def render(root: Path, text: str, *macros: MacroFile, **changes: Any) -> Rendered:
    made = project(root, text, *macros, **changes)
    return Renderer(made).render(made.features["f"])


def refused(root: Path, text: str, *macros: MacroFile, **changes: Any) -> FeatureError:
    with pytest.raises(FeatureError) as caught:
        render(root, text, *macros, **changes)
    error = caught.value
    assert error.__suppress_context__ or error.__context__ is None  # no traceback of Jinja's reaches the user
    assert error.exit_code == 1
    assert "\x01" not in str(error)
    return error


def config_of(root: Path, arguments: str) -> FeatureConfig:
    return render(root, f"{{{{ config(entity='user', {arguments}) }}}}").config


def mapped(rendered: Rendered) -> list[tuple[str, str]]:
    """Lines of SQL that are not blank, each with its place."""
    lines = rendered.sql.split("\n")
    assert len(lines) == len(rendered.lines.lines)
    return [
        (f"{Path(f).name}:{n}", x.strip()) for x, (f, n) in zip(lines, rendered.lines.lines, strict=True) if x.strip()
    ]


# --- what it renders to


def test_a_whole_feature(tmp_path: Path) -> None:
    text = """\
-- features/f.sql
{{ config(
    entity="user", timestamp="event_time", closed="right", delay="2h", ttl="30d", interval="1d",
    timezone="Europe/Berlin", timestamp_format="%Y", description="What a user spends", columns={"x": "an x"},
    tags=["users", "daily", "users"], owner="risk", max_age="2d", contract=true, allow_lookahead=false, assume_final=true,
    plausible=["future", "epoch", "future"],
    validators={"input.amount": [not_null(), greater_than(0)], "x": unique(severity="warn", tolerance=0.5)},
) }}
SELECT user_id, event_time, x
FROM {{ source("payments") }} JOIN {{ ref("other") }} USING (user_id) JOIN {{ ref("other") }} o USING (user_id)
"""
    rendered = render(tmp_path, text)
    assert rendered.sql == (
        "-- features/f.sql\n\nSELECT user_id, event_time, x\n"
        'FROM "_mlforge_source"."payments" JOIN "_mlforge_ref"."other" USING (user_id)'
        ' JOIN "_mlforge_ref"."other" o USING (user_id)\n'
    )
    assert (rendered.name, rendered.path) == ("f", "features/f.sql")
    assert (rendered.sources, rendered.refs) == (("payments",), (FeatureRef(name="other"),))
    assert rendered.config == FeatureConfig(
        entity="user",
        timestamp="event_time",
        timestamp_format="%Y",
        closed="right",
        delay=Duration(2, "h"),
        ttl=Duration(30, "d"),
        interval=Duration(1, "d"),
        timezone="Europe/Berlin",
        description="What a user spends",
        columns={"x": "an x"},
        tags=("users", "daily"),
        owner="risk",
        max_age=Duration(2, "d"),
        contract=True,
        assume_final=True,
        plausible=("future", "epoch"),
        validators=(
            Check(name="not_null", column="amount", side="input"),
            Check(name="greater_than", column="amount", side="input", args={"value": 0}),
            Check(name="unique", column="x", severity="warn", tolerance=0.5),
        ),
    )
    assert mapped(rendered)[1:] == [
        ("f.sql:9", "SELECT user_id, event_time, x"),
        ("f.sql:10", rendered.sql.split("\n")[3]),
    ]


def test_on_demand(tmp_path: Path) -> None:
    config = config_of(tmp_path, "on_demand=true, request={'amount': 'DOUBLE'}")
    assert (config.on_demand, config.request) == (True, {"amount": "DOUBLE"})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            'rolling("amount", ["sum", "avg"], ["7d", "30D"])',
            "SUM(amount) OVER last_7d, SUM(amount) OVER last_30d, AVG(amount) OVER last_7d, AVG(amount) OVER last_30d",
        ),
        ('rolling("*", "count", "ever")', "COUNT(*) OVER ever"),
        ('rolling("x", ["mean", "std"], "7d")', "MEAN(x) OVER last_7d, STDDEV(x) OVER last_7d"),
        ('rolling("*", "count", "last_2mo")', "COUNT(*) OVER last_2mo"),
        ('rolling("p.amount", "count_distinct", "1y")', "COUNT(DISTINCT p.amount) OVER last_1y"),
        ('rolling(\'"a b"\', "max", "1h")', 'MAX("a b") OVER last_1h'),
        ('surrogate_key("a", "b")', '_mlforge_surrogate_key("a", "b")'),
        ('surrogate_key(["a", "lower(b)"])', '_mlforge_surrogate_key("a", lower(b))'),
        ('var("limit")', "5"),
        ('var("none", 7)', "7"),
        ('var("none", default="x")', "x"),
        ('var("words") | literal', "['it''s']"),
        ('"a b" | ident', '"a b"'),
        ('env_var("MLFORGE_TEST_SET")', "hidden"),
        ('env_var("MLFORGE_TEST_DOTENV")', "from file"),
        ('env_var("MLFORGE_TEST_UNSET", "no")', "no"),
        ('source("payments")', '"_mlforge_source"."payments"'),
        ('ref(" other ")', '"_mlforge_ref"."other"'),
        ('cents("x")', "(x / 100)"),
        ("uses_own()", "mine far 5"),
    ],
)
def test_functions(tmp_path: Path, expression: str, expected: str) -> None:
    (tmp_path / ".env").write_text("MLFORGE_TEST_DOTENV=from file\nMLFORGE_TEST_SET=no\n")
    assert render(tmp_path, HEAD + "{{ " + expression + " }}").sql == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("not_null()", Check(name="not_null", column="c")),
        ("unique()", Check(name="unique", column="c")),
        ("greater_than(1.5)", Check(name="greater_than", column="c", args={"value": 1.5})),
        ("greater_than_or_equal(-1)", Check(name="greater_than_or_equal", column="c", args={"value": -1})),
        ("less_than('2024-01-01')", Check(name="less_than", column="c", args={"value": "2024-01-01"})),
        ("less_than_or_equal(value=3)", Check(name="less_than_or_equal", column="c", args={"value": 3})),
        ("in_range(0, 1)", Check(name="in_range", column="c", args={"min": 0, "max": 1, "inclusive": True})),
        (
            "in_range(min=0, max=1, inclusive=false)",
            Check(name="in_range", column="c", args={"min": 0, "max": 1, "inclusive": False}),
        ),
        ("in_range(max=1)", Check(name="in_range", column="c", args={"min": None, "max": 1, "inclusive": True})),
        ("matches_regex('^a')", Check(name="matches_regex", column="c", args={"pattern": "^a"})),
        ("is_in(['a', 1, true])", Check(name="is_in", column="c", args={"values": ["a", 1, True]})),
        ("sql('c > d', tolerance=1)", Check(name="sql", column="c", args={"expression": "c > d"}, tolerance=1.0)),
    ],
)
def test_validators(tmp_path: Path, written: str, expected: Check) -> None:
    assert config_of(tmp_path, f'validators={{"c": {written}}}').validators == (expected,)


@pytest.mark.parametrize(
    ("key", "validator", "expected"),
    [
        ("input.a", "not_null()", ("a", "input")),
        ("output.a", "not_null()", ("a", "output")),
        ("input.s.a", "not_null()", ("s.a", "input")),
        ("a", "not_null()", ("a", None)),
        ("input", "sql('x')", (None, "input")),
        ("output", "sql('x')", (None, "output")),
        ("input", "not_null()", ("input", None)),
        ("input.a", "sql('x')", ("a", "input")),
    ],
)
def test_sides_of_checks(tmp_path: Path, key: str, validator: str, expected: tuple[str | None, str | None]) -> None:
    (check,) = config_of(tmp_path, f"validators={{'{key}': [{validator}]}}").validators
    assert (check.column, check.side) == expected


def test_tags_may_be_one_text_and_none_is_absent(tmp_path: Path) -> None:
    config = config_of(tmp_path, "tags='daily', ttl=none, owner=none")
    assert (config.tags, config.ttl, config.owner) == (("daily",), None, None)


def test_every_key_of_the_configuration_can_be_given() -> None:
    assert set(CONFIG) == set(FeatureConfig.__struct_fields__)


def test_every_key_of_the_configuration_and_every_function_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/sql-reference.md").read_text(encoding="utf-8")
    assert [key for key in CONFIG if f"`{key}`" not in page] == []
    assert [name for name in functions() if f"{name}(" not in page] == []


# --- lines


def test_macros_keep_their_own_lines_and_calls_theirs(tmp_path: Path) -> None:
    text = HEAD + '\nSELECT a,\n  {{ cents("x") }} AS x,\n  {{ two("y") }}, z\nFROM t\n'
    assert mapped(render(tmp_path, text)) == [
        ("f.sql:2", "SELECT a,"),
        ("f.sql:3", "(x / 100) AS x,"),
        ("m.sql:3", "(y / 100)"),
        ("m.sql:4", "+ 1"),
        ("f.sql:4", ", z"),
        ("f.sql:5", "FROM t"),
    ]


def test_lines_after_tags_of_several_lines_and_trimmed_space(tmp_path: Path) -> None:
    head = '-- top\n{{ config(\n  entity="user"\n) -}}\n\n'
    text = head + "SELECT 1\n{%- if\n true %}\n  , 2\n{%- endif %}\n{# a\nb #}\nFROM t"
    assert mapped(render(tmp_path, text)) == [
        ("f.sql:1", "-- top"),
        ("f.sql:6", "SELECT 1"),
        ("f.sql:9", ", 2"),
        ("f.sql:13", "FROM t"),
    ]


def test_lines_in_loops_captures_filters_call_blocks_and_raw(tmp_path: Path) -> None:
    text = (
        HEAD + "\n{% for i in [1, 2] %}\n  {{ i }},\n{% endfor %}\n{% set x %}\n  held\n{% endset %}\n{{ x }}\n"
        "{% call wrap() %}in\nside{% endcall %}\n{% filter upper %}up\nper{% endfilter %}\n"
        "{% raw %}{{ a\n}}{% endraw %}\n"
    )
    assert mapped(render(tmp_path, text)) == [
        ("f.sql:3", "1,"),
        ("f.sql:3", "2,"),
        ("f.sql:8", "held"),
        ("m.sql:7", "[in"),
        ("f.sql:10", "side]"),
        ("f.sql:11", "UP"),
        ("f.sql:11", "PER"),
        ("f.sql:13", "{{ a"),
        ("f.sql:14", "}}"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% set x %}\n abc \n{% endset %}{{ x|trim|length }}", "3"),
        ("{% set x | trim %}\n abc \n{% endset %}{{ x|length }}", "3"),
        ("{{ 'same' if cents('a') == '(a / 100)' else 'other' }}", "same"),
        ("{% if cents('a')|length == 9 %}nine{% endif %}", "nine"),
        ("{% set c = cents('a') %}{{ c|upper }}", "(A / 100)"),
        ("{{ (cents('a') ~ '!')|length }}", "10"),
        ("{{ source(cents('payments')|replace('(', '')|replace(' / 100)', '')) }}", '"_mlforge_source"."payments"'),
        ("{% filter trim|replace('ab', 'ok') %}\n ab\n{% endfilter %}", "ok"),
        ("SELECT 'a\nb' AS s", "SELECT 'a\nb' AS s"),
        ("{% set ns = namespace(t='') %}{% set ns.t = cents('a') %}{{ ns.t|length }}", "9"),
        ("{% for c in ['a', 'b'] %}{{ c }}{{ ',' if not loop.last }}{% endfor %}", "a,b"),
        ("{% set s = 'x' if false %}[{{ s }}]{{ ('y' if true) ~ 'z' }}", "[]yz"),
        ("{% for c in cents('ab')|list %}{{ c }}.{% endfor %}", "(.a.b. ./. .1.0.0.)."),
    ],
)
def test_marks_never_reach_values_or_text(tmp_path: Path, text: str, expected: str) -> None:
    assert render(tmp_path, HEAD + text).sql == expected


def test_windows_line_ends(tmp_path: Path) -> None:
    rendered = render(tmp_path, HEAD + "\r\nSELECT 1,\r\n 2\r\n")
    assert rendered.sql == "\nSELECT 1,\n 2\n"
    assert mapped(rendered) == [("f.sql:2", "SELECT 1,"), ("f.sql:3", "2")]


def test_equal_input_gives_equal_output_and_nothing_is_carried_over(tmp_path: Path) -> None:
    made = project(tmp_path, HEAD + '{{ source("payments") }}{{ rows("payments") }}')
    renderer = Renderer(made)
    first = renderer.render(made.features["f"])
    assert renderer.render(made.features["other"]).sources == ()
    assert renderer.render(made.features["f"]) == first
    assert Renderer(made).render(made.features["f"]) == first


LINE = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters="{}#%"))


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(["text", "loop", "set", "wide", "macro"]), LINE), max_size=8))
def test_text_comes_through_and_every_line_is_found(tmp_path: Path, parts: list[tuple[str, str]]) -> None:
    """Whatever tags stand between, visible text is unchanged, and its line is the line it was written in."""
    written, expected = [HEAD], []
    for kind, text in parts:
        if kind == "wide":
            written += ["{{ '' if", "true }}"]
        elif kind == "set":
            written += ["{% set x -%}", "held", "{%- endset %}{{ x[:0] }}"]
        written.append(
            {"loop": "{% for i in [1] %}" + text + "{% endfor %}", "macro": "{{ cents('')[:0] }}" + text}.get(
                kind, text
            )
        )
        expected.append((text.strip(), len(written)))
    rendered = render(tmp_path, "\n".join(written))
    lines = rendered.sql.split("\n")
    found = [(line.strip(), n) for line, (_, n) in zip(lines, rendered.lines.lines, strict=True) if line.strip()]
    assert found == [(text, line) for text, line in expected if text]


# --- refusals: text after the head begins in line 2

REFUSED = [
    ("{{ foo }}", "f.sql:2", "'foo' is undefined", "known: "),
    ("\n{{ foo(1,\n  2) }}", "f.sql:3", "'foo' is undefined", "known: "),
    ("{{ cents(\n  cent) }}", "f.sql:3", "'cent' is undefined", "did you mean 'cents'?"),
    ("{{ source(\n  zz) }}", "f.sql:3", "'zz' is undefined", None),
    ("{% if zz %}{% endif %}", "f.sql:2", "'zz' is undefined", None),
    ("{{ var('limit').zz }}", "f.sql:2", "'int object' has no attribute 'zz'", None),
    ("{{ undef() }}", "m.sql:20", "'amuont' is undefined (called by features/f.sql)", None),
    ("{{ now() }}", "f.sql:2", "'now' is undefined", "clock"),
    ("{{ lipsum() }}", "f.sql:2", "'lipsum' is undefined", None),
    ("{{ [1]|random }}", "f.sql:2", "No filter named 'random'", None),
    ("\n{% if %}", "f.sql:3", "Expected an expression, got 'end of statement block'", None),
    ("{{ var('x' }}", "f.sql:2", "unexpected '}', expected ')'", None),
    ("\n\n{% for x in [1] %}", "f.sql:4", "Unexpected end of template", None),
    ("{% nonsense %}", "f.sql:2", "Encountered unknown tag 'nonsense'", None),
    ("{{ 1|foo }}", "f.sql:2", "No filter named 'foo'", None),
    ("{% include 'x' %}", "f.sql:2", "'include' is not used here", "macros/"),
    ("{% import 'x' as x %}", "f.sql:2", "'import' is not used here", "macros/"),
    ("{% from 'x' import y %}", "f.sql:2", "'from ... import' is not used here", "macros/"),
    ("{% extends 'x' %}", "f.sql:2", "'extends' is not used here", "macros/"),
    ("{{ ''.__class__ }}", "f.sql:2", "access to attribute '__class__' of 'str' object is unsafe", None),
    ("{{ source.__call__.__globals__ }}", "f.sql:2", "is unsafe", None),
    (
        "{% set _ = var('words').append(1) %}",
        "f.sql:2",
        "access to attribute 'append' of 'list' object is unsafe",
        None,
    ),
    ("{{ range(10000000)|list }}", "f.sql:2", "Range too big", None),
    ("{{ 1/0 }}", "f.sql:2", "division by zero", None),
    ("{{ 'x' + 1 }}", "f.sql:2", "can only concatenate str", None),
    ("{{ bad('x') }}", "m.sql:10", 'can only concatenate str (not "int") to str (called by features/f.sql)', None),
    ("{{ cents() }}", "m.sql:1", "parameter 'c' was not provided (called by features/f.sql)", None),
    ("{{ cents(1, 2) }}", "f.sql:2", "takes not more than 1 argument", None),
    ("{{ endless() }}", "m.sql:16", "this macro calls itself without end", None),
    ("{{ cents }}", "f.sql:2", "cents is a macro", "write cents(...)"),
    ("{{ [1, {'a': cents}] }}", "f.sql:2", "cents is a macro", "write cents(...)"),
    ("{{ none }}", "f.sql:2", "an expression gives None, which is not SQL", "NULL"),
    ("{{ namespace() }}", "f.sql:2", "an expression gives a Namespace, which is not SQL", None),
    ("{{ self }}", "f.sql:2", "an expression gives a TemplateReference, which is not SQL", None),
    ("{{ [zz] }}", "f.sql:2", "'zz' is undefined", None),
    ("{{ _own() }}", "f.sql:2", "'_own' is undefined", None),
    ("{{ zz if true }}", "f.sql:2", "'zz' is undefined", None),
    ("{{ 'a' if zz }}", "f.sql:2", "'zz' is undefined", None),
    ("SELECT 1 -- {{ sourc('x') }}", "f.sql:2", "'sourc' is undefined", "Jinja runs in SQL comments too"),
    ("/* {{ source('x') }} */", "f.sql:2", "there is no source 'x' in mlforge.yaml", "{# ... #}"),
    ("-- {% if %}", "f.sql:2", "Expected an expression", "Jinja runs in SQL comments too"),
    ("{% macro unique(x) %}{% endmacro %}", "f.sql:2", "the macro 'unique' has the name of a function", "rename it"),
    ("{{ source('payment') }}", "f.sql:2", "there is no source 'payment' in mlforge.yaml", "did you mean 'payments'?"),
    ("\n{{ rows('payment') }}", "m.sql:14", "there is no source 'payment' in mlforge.yaml (called by", "'payments'?"),
    ("{{ source() }}", "f.sql:2", "source(): missing a required argument: 'name'", 'write source("name")'),
    ("{{ source('a', 'b') }}", "f.sql:2", "source(): too many positional arguments", 'write source("name")'),
    ("{{ source(3) }}", "f.sql:2", "source() takes a name in quotes, not 3", None),
    ("{{ source }}", "f.sql:2", "source is a function", 'write source("name")'),
    ("{% set s = source %}\n{{ s('x') }}", "f.sql:3", "there is no source 'x' in mlforge.yaml", "known: payments"),
    ("{{ ref('f') }}", "f.sql:2", "'f' refers to itself", "another feature"),
    ("{{ ref('othr') }}", "f.sql:2", "there is no feature 'othr'", "did you mean 'other'?"),
    ("{{ ref('other@2') }}", "f.sql:2", "a pinned version in SQL is not supported by this version yet", "ref('other')"),
    ("{{ ref('other:x') }}", "f.sql:2", "ref('other:x') names columns", "SELECT"),
    ("{{ ref('a b') }}", "f.sql:2", "'a b' is not a reference to a feature", "name@2"),
    ("{{ var('limt') }}", "f.sql:2", "there is no var 'limt' in mlforge.yaml", "did you mean 'limit'?"),
    ("{{ env_var('MLFORGE_TEST_ST') }}", "f.sql:2", "the environment variable 'MLFORGE_TEST_ST' is not set", "_SET'?"),
    ("{{ rolling('a', 'sum', '7x') }}", "f.sql:2", "rolling(): '7x' is not a duration", '"7d"'),
    ("{{ rolling('a', 'sum', '0d') }}", "f.sql:2", "rolling(): a window of '0d' holds nothing", None),
    ("{{ rolling('a', 'sum', []) }}", "f.sql:2", "windows of rolling() must be a list of texts, not []", None),
    ("{{ rolling('a', [1], '7d') }}", "f.sql:2", "aggregations of rolling() must be a list of texts, not [1]", None),
    ("{{ rolling('a', 'sum', ['7d', '7D']) }}", "f.sql:2", "windows of rolling() names '7D' twice", None),
    ("{{ rolling('a', 'su m', '7d') }}", "f.sql:2", "'su m' is not the name of an aggregate", None),
    ("{{ rolling('*', 'sum', '7d') }}", "f.sql:2", "sum(*) does not exist", "count"),
    ("{{ rolling('a - b', 'sum', '7d') }}", "f.sql:2", "rolling() takes the name of a column, not 'a - b'", "AS name"),
    ("{{ rolling('a', 'sum', '7d', closed='left') }}", "f.sql:2", "rolling(): got an unexpected keyword", "write"),
    ("{{ surrogate_key() }}", "f.sql:2", "surrogate_key() needs columns", None),
    ("{{ surrogate_key('a', 1) }}", "f.sql:2", "surrogate_key() takes a name in quotes, not 1", None),
    ("{{ not_null() }}", "f.sql:2", "not_null() stands outside validators", "config(validators="),
    (HEAD, "f.sql:2", "config() stands twice", "the first is in line 1"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), REFUSED, ids=[r[0][:40] for r in REFUSED])
def test_refusals(tmp_path: Path, text: str, place: str, message: str, hint: str | None) -> None:
    error = refused(tmp_path, HEAD + "\n" + text)
    assert message in error.message
    assert error.where is not None
    assert f"{Path(error.where.file).name}:{error.where.line}" == place
    assert hint is None or hint in (error.hint or "")
    assert "hidden" not in str(error)


CONFIGS = [
    ("{{ config() }}", 1, "config() has no entity", 'entity="user"'),
    ("{{ config(\n'user') }}", 1, "config(): too many positional arguments", "write config("),
    ("{{ config(\nentity='usr') }}", 2, "there is no entity 'usr' in mlforge.yaml", "did you mean 'user'?"),
    ("{{ config(\nentity=['user', 'b']) }}", 2, "entity must be exactly one name", "one entity"),
    ("{{ config(\nentity=none) }}", 2, "there is no entity None", None),
    ("{{ config(entity='user',\nentity='b') }}", 2, "'entity' is given twice", None),
    ("{{ config(entity='user',\n ttll='1d') }}", 2, "config has no key 'ttll'", "did you mean 'ttl'?"),
    ("{{ config(entity='user',\n lookback='1d') }}", 2, "lookback needs a timestamp", None),
    (
        "{{ config(entity='user',\n incremental=true) }}",
        2,
        "incremental must be 'auto', 'by_key' or 'never'",
        "by_key:",
    ),
    ("{{ config(entity='user',\n online=true) }}", 2, "'online' is not supported by this version yet", None),
    (TIMED + ",\n ttl=3) }}", 2, "ttl must be a duration, not 3", "'7d'"),
    (TIMED + ",\n ttl='3 x') }}", 2, "ttl: '3 x' is not a duration", None),
    (TIMED + ",\n delay='1mo') }}", 2, "delay must be a fixed length of s, m, h, d or w, not '1mo'", 'delay="30d"'),
    (TIMED + ",\n delay='1y') }}", 2, "delay must be a fixed length of s, m, h, d or w, not '1y'", 'delay="365d"'),
    (TIMED + ",\n ttl='0s') }}", 2, "ttl must be longer than nothing", None),
    (TIMED + ",\n max_age='0d') }}", 2, "max_age must be longer than nothing", None),
    (TIMED + ",\n max_age=2) }}", 2, "max_age must be a duration", "'7d'"),
    ('{{ config(entity="user",\n on_demand=true,\n max_age="1d") }}', 3, "max_age does not go with on_demand", None),
    (TIMED + ",\n interval='0d') }}", 2, "interval must be longer than nothing", None),
    (TIMED + ",\n delay='-1d') }}", 2, "delay: '-1d' is not a duration", None),
    (TIMED + ",\n closed='both') }}", 2, "closed must be 'left' or 'right', not 'both'", None),
    (TIMED + ",\n timestamp_format=3) }}", 2, "timestamp_format must be a text, not 3", None),
    (TIMED + ",\n interval='1d',\n timezone='Europe/Berln') }}", 3, "no time zone 'Europe/Berln'", "'Europe/Berlin'?"),
    (TIMED + ",\n timezone='UTC') }}", 2, "timezone needs an interval", None),
    (TIMED + ",\n interval='1h',\n timezone='UTC') }}", 3, "timezone needs an interval of whole days or longer", None),
    ("{{ config(entity='user',\n timestamp=['t']) }}", 2, "timestamp must be a text, not ['t']", None),
    ("{{ config(entity='user',\n timestamp='') }}", 2, "timestamp must be a text, not ''", None),
    ("{{ config(entity='user',\n description=1) }}", 2, "description must be a text, not 1", None),
    ("{{ config(entity='user',\n columns=['a']) }}", 2, "columns must be texts by name", None),
    ("{{ config(entity='user',\n columns={'a': 1}) }}", 2, "columns must be texts by name", None),
    ("{{ config(entity='user',\n tags=[1]) }}", 2, "tags must be a list of texts, not [1]", None),
    (TIMED + ",\n plausible='futur') }}", 2, "plausible: there is no doubt 'futur'", "did you mean 'future'?"),
    (
        TIMED + ",\n plausible=['x']) }}",
        2,
        "plausible: there is no doubt 'x'",
        "constant, epoch, future, loaded, midnight",
    ),
    (TIMED + ",\n plausible=true) }}", 2, "plausible must be a list of texts, not True", None),
    ("{{ config(entity='user',\n owner=['a']) }}", 2, "owner must be a text", None),
    ("{{ config(entity='user',\n contract='yes') }}", 2, "contract must be true or false, not 'yes'", "without quotes"),
    ("{{ config(entity='user',\n allow_lookahead=1) }}", 2, "allow_lookahead must be true or false, not 1", None),
    ("{{ config(entity='user',\n request={'a': 'INT'}) }}", 2, "request needs on_demand=true", None),
    ("{{ config(entity='user', on_demand=true,\n timestamp='t') }}", 2, "timestamp does not go with on_demand", None),
    ("{{ config(entity='user', on_demand=true,\n ttl='1d') }}", 2, "ttl does not go with on_demand", None),
    *[
        (f"{{{{ config(entity='user',\n {key}={value}) }}}}", 2, f"{key} needs a timestamp", "event_time")
        for key, value in {
            "timestamp_format": "'%Y'",
            "closed": "'left'",
            "delay": "'1h'",
            "ttl": "'1d'",
            "interval": "'1d'",
            "timezone": "'UTC'",
        }.items()
    ],
    ("{{ config(entity='user',\n owner=zz) }}", 2, "'zz' is undefined", None),
    ("{{ config(entity='user',\n validators=[not_null()]) }}", 2, "validators must be validators by column", None),
    (
        "{{ config(entity='user',\n validators={\n'a': not_null}) }}",
        3,
        "'not_null' for 'a' is not a validator",
        "not_null()",
    ),
    (
        "{{ config(entity='user',\n validators={\n'a': 'unique'}) }}",
        3,
        "'unique' for 'a' is not a validator",
        "unique()",
    ),
    ("{{ config(entity='user',\n validators={\n'a': 3}) }}", 3, "3 for 'a' is not a validator", "known: not_null()"),
    ("{{ config(entity='user',\n validators={\n'input.': not_null()}) }}", 3, "'input.' names no column", None),
    ("{{ config(entity='user', validators={\n'a':\n not_nul()}) }}", 3, "'not_nul' is undefined", "'not_null'?"),
    (
        "{{ config(entity='user', validators={\n'a': greater_than()}) }}",
        2,
        "missing a required argument",
        "greater_than(value)",
    ),
    (
        "{{ config(entity='user', validators={\n'a': greater_than(none)}) }}",
        2,
        "a number, a text or a date, not None",
        None,
    ),
    (
        "{{ config(entity='user', validators={\n'a': less_than(true)}) }}",
        2,
        "a number, a text or a date, not True",
        None,
    ),
    ("{{ config(entity='user', validators={\n'a': in_range(2, 1)}) }}", 2, "in_range(2, 1) holds nothing", "smaller"),
    (
        "{{ config(entity='user', validators={\n'a': in_range(1, 'b')}) }}",
        2,
        "in_range() cannot compare 1 with 'b'",
        None,
    ),
    (
        "{{ config(entity='user', validators={\n'a': in_range()}) }}",
        2,
        "in_range() needs min, max or both",
        "in_range(0",
    ),
    ("{{ config(entity='user', validators={\n'a': in_range(1, 2, 3)}) }}", 2, "inclusive of in_range() must be", None),
    ("{{ config(entity='user', validators={\n'a': matches_regex(3)}) }}", 2, "matches_regex() takes a text", None),
    ("{{ config(entity='user', validators={\n'a': is_in('a')}) }}", 2, "is_in() takes a list of values", None),
    ("{{ config(entity='user', validators={\n'a': is_in([])}) }}", 2, "is_in() takes a list of values", None),
    ("{{ config(entity='user', validators={\n'a': is_in([none])}) }}", 2, "is_in() cannot compare with None", None),
    ("{{ config(entity='user', validators={\n'a': sql('')}) }}", 2, "sql() takes a text", None),
    (
        "{{ config(entity='user', validators={\n'a': unique(tolerance=2)}) }}",
        2,
        "a share of rows from 0 to 1, not 2",
        None,
    ),
    ("{{ config(entity='user', validators={\n'a': unique(severity='bad')}) }}", 2, "severity of unique()", "'warn'"),
    ("{{ config(entity='user', validators={\n'a': unique(1)}) }}", 2, "unique(): too many positional", "unique()"),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), CONFIGS, ids=[f"{n:02}" for n in range(len(CONFIGS))])
def test_bad_configurations(tmp_path: Path, text: str, line: int, message: str, hint: str | None) -> None:
    error = refused(tmp_path, text + "\nSELECT 1")
    assert message in error.message
    assert str(error.where) == f"features/f.sql:{line}"
    assert hint is None or hint in (error.hint or "")


def test_no_configuration(tmp_path: Path) -> None:
    error = refused(tmp_path, "SELECT 1")
    assert (error.message, str(error.where)) == ("'f' has no config()", "features/f.sql:1")


def test_nothing_defined(tmp_path: Path) -> None:
    assert "add it to 'entities'" in (refused(tmp_path, HEAD, entities={}).hint or "")
    assert "add it to 'sources'" in (refused(tmp_path, HEAD + "{{ source('a') }}", sources={}).hint or "")
    assert "add it to 'vars'" in (refused(tmp_path, HEAD + "{{ var('a') }}", vars={}).hint or "")


@pytest.mark.parametrize(
    ("files", "place", "message"),
    [
        ({"a": "\n{% macro x() %}"}, "macros/a.sql:2", "Unexpected end of template"),
        ({"a": "{% macro x() %}{{ 1|foo }}{% endmacro %}"}, "macros/a.sql:1", "No filter named 'foo'"),
        ({"a": "\n{% macro ref() %}{% endmacro %}"}, "macros/a.sql:2", "the macro 'ref' has the name of a function"),
        (
            {"a": "{% macro x() %}{% endmacro %}", "b": "\n\n{% macro x() %}{% endmacro %}"},
            "macros/b.sql:3",
            "the macro 'x' is also in macros/a.sql",
        ),
        (
            {"a": "{% macro x() %}{% endmacro %}\n{% macro x() %}{% endmacro %}"},
            "macros/a.sql:2",
            "the macro 'x' is also in macros/a.sql",
        ),
    ],
)
def test_bad_macro_files(tmp_path: Path, files: dict[str, str], place: str, message: str) -> None:
    macros = [MacroFile(f"macros/{name}.sql", text) for name, text in files.items()]
    with pytest.raises(TemplateError) as caught:
        render(tmp_path, HEAD + "{{ x() }}", *macros)
    assert message in caught.value.message
    assert str(caught.value.where) == place
