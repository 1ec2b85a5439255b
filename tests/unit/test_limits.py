"""What templates may take: time, text, depth. The limits here are small, so that nothing has to be waited for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from mlforge.errors import GrammarError, TemplateError
from mlforge.model import Entity, FeatureFile, MacroFile, Project, WarehouseConfig
from mlforge.render.jinja import Renderer
from mlforge.render.limits import Limits
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Limits(seconds=0.05, text=10_000)
CONFIG = '{{ config(entity="user", timestamp="t") }}\n'


def render(body: str, *, macros: str = "", limits: Limits = SMALL, variable: object = None) -> str:
    project = Project(
        name="p",
        root="/p",
        profile="dev",
        warehouse=WarehouseConfig(path="/p/catalog.duckdb"),
        entities={"user": Entity(name="user", keys=("k",))},
        vars={"v": variable},
        features={"a": FeatureFile(name="a", path="features/a.sql", text=CONFIG + body)},
        macros=(MacroFile("macros/m.sql", macros),) if macros else (),
    )
    return Renderer(project, limits).render(project.features["a"]).sql


ENDLESS = {
    "loops in loops": "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    "a recursive loop": "{% for i in [0, 1] recursive %}{% if loop.depth < 90 %}{{ loop([0, 1]) }}{% endif %}{% endfor %}",
    "a call block": "{% macro m() %}{% for i in range(9999) %}{% for j in range(9999) %}{{ caller() }}{% endfor %}{% endfor %}{% endmacro %}\n"
    "{% call m() %}{% endcall %}",
    "operators": "{% set ns = namespace(x=1) %}{% for i in range(9999) %}{% for j in range(9999) %}{% set ns.x = ns.x + 1 %}{% endfor %}{% endfor %}",
}


@pytest.mark.parametrize("case", ENDLESS)
def test_what_would_not_end(case: str) -> None:
    with pytest.raises(TemplateError, match=r"this template runs for more than 0\.05 s") as caught:
        render(ENDLESS[case])
    assert caught.value.where is not None
    assert caught.value.where.file == "features/a.sql"
    assert caught.value.hint


LONG = {
    "text times number": '{{ "x" * 20000 }}',
    "number times text": '{{ 20000 * "x" }}',
    "list times number": "{{ [1] * 20000 }}",
    "a list in a list": '{% set l = ["x" * 999] * 9 %}{{ [l] * 9 }}',
    "a power": "{{ 10 ** 99999 }}",
    "powers of powers": "{{ 10 ** 9000 * 10 ** 9000 * 10 ** 9000 * 10 ** 9000 * 10 ** 9000 }}",
    "doubled with +": '{% set ns = namespace(x="x") %}{% for i in range(20) %}{% set ns.x = ns.x + ns.x %}{% endfor %}',
    "doubled with ~": '{% set ns = namespace(x="x") %}{% for i in range(20) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}',
    "doubled lists": "{% set ns = namespace(x=[1]) %}{% for i in range(20) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubled blocks": "{% set ns = namespace(x='x') %}{% for i in range(20) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "% with a width": '{{ "%99999d" % 1 }}',
    "% with a width as a value": '{{ "%*d" % (99999, 1) }}',
    "% of long values": '{% set x = "x" * 999 %}{{ "%(x)s%(x)s%(x)s%(x)s%(x)s%(x)s%(x)s%(x)s%(x)s%(x)s%(x)s" % {"x": x} }}',
    "format with a width": '{{ "{:99999}".format(1) }}',
    "format with a width as a value": '{{ "{:{}}".format(1, 99999) }}',
    "the filter format": '{{ "%99999s" | format(1) }}',
    "center": '{{ "x" | center(99999) }}',
    "ljust": '{{ "x".ljust(99999) }}',
    "zfill": '{{ "x".zfill(99999) }}',
    "to_bytes": "{{ (1).to_bytes(99999, 'big') }}",
    "expandtabs": '{{ "\\t".expandtabs(99999) }}',
    "indent": '{{ "x\\nx" | indent(99999) }}',
    "replace": '{{ ("x" * 999) | replace("x", "y" * 99) }}',
    "replace, as a method": '{{ ("x" * 999).replace("", "y" * 99) }}',
    "join": '{{ (["x"] * 999) | join("y" * 99) }}',
    "join, as a method": '{{ ("y" * 99).join(["x"] * 999) }}',
    "join of a lazy filter": '{{ range(999) | map("string") | join("y" * 99) }}',
    "translate": '{{ ("x" * 999).translate({120: "y" * 99}) }}',
    "wordwrap": '{{ ("x" * 999) | wordwrap(1, wrapstring="y" * 99) }}',
    "batch": "{{ [1] | batch(99999, 0) | list }}",
    "slice": "{{ [1] | slice(99999) | list }}",
    "tojson": "{{ [1, [2]] | tojson(99999) }}",
    "a list of a range": "{{ range(20000) | list }}",
    "text in a loop": "{% for i in range(999) %}SELECT 1 AS x{{ i }},{% endfor %}",
    "plain text in a loop": "{% for i in range(999) %}SELECT 1 AS x{% endfor %}",
    "plain text in a macro": "{% macro m() %}SELECT 1 AS x{% endmacro %}{% for i in range(999) %}{% if m() %}{% endif %}{% endfor %}",
    "much that is thrown away": '{% for i in range(999) %}{% set x = "x" * 999 %}{% endfor %}',
    "plain text": "SELECT 1" + " " * 20000,
    "rolling": '{{ rolling("x", ["sum", "avg", "min", "max"], ["1d", "2d", "3d", "4d", "5d"]) * 99 }}',
}


@pytest.mark.parametrize("case", LONG)
def test_what_would_be_too_long(case: str) -> None:
    with pytest.raises(TemplateError, match=r"this template makes more than 0\.01 MB of text") as caught:
        render(LONG[case], limits=Limits(text=10_000))
    assert caught.value.where is not None
    assert caught.value.where.file == "features/a.sql"
    assert caught.value.where.line in (1, 2)


def test_a_macro_of_another_file() -> None:
    macros = "{% macro big() %}\n{{ 'x' * 20000 }}\n{% endmacro %}"
    with pytest.raises(
        TemplateError, match=r"makes more than 0\.01 MB of text \(called by features/a\.sql\)"
    ) as caught:
        render("{{ big() }}", macros=macros)
    assert str(caught.value.where) == "macros/m.sql:2"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{% for i in range(300) %}{{ ',' if i else '' }}c{{ i }}{% endfor %}", ",".join(f"c{i}" for i in range(300))),
        ('{{ "a" ~ 1 ~ [2] ~ "b" }}', "a1[2]b"),
        ('{% set x = "a" ~ "b" | upper %}{{ x }}', "aB"),
        ('{{ "%s-%05.1f" % ("a", 1) }}', "a-001.0"),
        ('{{ "{}-{:>3}".format("a", 1) }}', "a-  1"),
        ('{{ ["b", "a"] | sort | join(", ") }}', "a, b"),
        ("{{ range(3) | map('string') | join }}", "012"),
        ("{{ 2 ** 10 + 7 % 4 * 3 }}", "1033"),
        ("{{ 1600000000000 | string | length }}", "13"),
        ("{{ [[1, 2], [3]] | sum(start=[]) | join('+') }}", "1+2+3"),
        ("{{ greater_than(10 ** 12) is defined }}", "True"),
        ("{{ var('v') * 2 }}", "3.0"),
        ("{% macro m(a) %}<{{ a }}{{ caller() }}>{% endmacro %}{% call m(1) %}x{% endcall %}", "<1x>"),
        ("{% for x in [1, 2] %}{{ loop.index }}{% else %}none{% endfor %}", "12"),
        ("{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "none"),
    ],
)
def test_what_is_counted_stays_what_it_is(body: str, text: str) -> None:
    assert render(body, variable=Decimal("1.5")).strip() == text


def test_each_file_has_limits_of_its_own() -> None:
    body = "{% for i in range(400) %}SELECT 1 AS x{% endfor %}"
    project = Project(
        name="p",
        root="/p",
        profile="dev",
        warehouse=WarehouseConfig(path="/p/catalog.duckdb"),
        entities={"user": Entity(name="user", keys=("k",))},
        features={n: FeatureFile(name=n, path=f"features/{n}.sql", text=CONFIG + body) for n in ("a", "b", "c")},
    )
    renderer = Renderer(project, Limits(text=20_000))
    assert len({renderer.render(file).sql for file in project.features.values()}) == 1


DEEP = {
    "calls of Jinja": "{{ " + "m(" * 600 + "'x'" + ")" * 600 + " }}",
    "brackets of Jinja": "{{ " + "(" * 600 + "1" + ")" * 600 + " }}",
    "lists of Jinja": "{{ " + "[" * 600 + "]" * 600 + " }}",
    "blocks of Jinja": "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "operators of Jinja": "{{ " + "not " * 3000 + "1 }}",
    "loops of Jinja": "{% for x in [1] %}" * 50 + "{% endfor %}" * 50,
    "a macro without end": "{% macro n() %}{{ n() }}{% endmacro %}{{ n() }}",
}


@pytest.mark.parametrize("case", DEEP)
def test_templates_that_are_too_deep(case: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(DEEP[case], macros="{% macro m(x) %}{{ x }}{% endmacro %}")
    ends = "this macro calls itself without end" if "without end" in case else "this template is nested too deeply"
    assert caught.value.message == ends
    assert caught.value.where is not None
    assert caught.value.where.file == "features/a.sql"


NESTED = {
    "calls": "abs(" * 600 + "x" + ")" * 600,
    "brackets": "(" * 600 + "x" + ")" * 600,
    "subqueries": "(SELECT " * 600 + "1" + ")" * 600,
    "CASE": "CASE WHEN x > 0 THEN " * 600 + "1" + " END" * 600,
    "lists": "[" * 600 + "x" + "]" * 600,
    "casts": "x" + "::BIGINT" * 600,
    "signs": "- " * 600 + "x",
}


@pytest.mark.parametrize("case", NESTED)
def test_sql_that_is_too_deep(tmp_path: Path, case: str) -> None:
    project = Small(tmp_path)
    project.rows("1, '2024-01-01', 5")
    project.feature("a", f'{CONFIG}SELECT k, t, {NESTED[case]} AS y FROM {{{{ source("ev") }}}}')
    with pytest.raises(GrammarError, match="this SQL is nested too deeply") as caught:
        project.forge.plan()
    assert str(caught.value.where) == "features/a.sql"


def test_long_chains_are_not_deep(tmp_path: Path) -> None:
    project = Small(tmp_path)
    project.rows("1, '2024-01-01', 5", "1, '2024-01-02', 7")
    plus, text = " + ".join(["x"] * 400), " || ".join(["'a'"] * 900)
    either = " OR ".join(f"x = {n}" for n in range(500))
    project.feature("a", f'{CONFIG}SELECT k, t, {plus} AS y, {text} AS s, {either} AS o FROM {{{{ source("ev") }}}}')
    project.feature(
        "w", f'{CONFIG}SELECT k, t, {" + ".join(["SUM(x) OVER last_7d"] * 100)} AS y FROM {{{{ source("ev") }}}}'
    )
    project.good()
    assert project.view("a")[0][2:] == (2000, "a" * 900, True)
    assert project.ask("w", "(1, '2024-01-02 01:00:00')", "y") == [(1200,)]
