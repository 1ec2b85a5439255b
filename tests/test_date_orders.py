"""01/02/2024 is two dates: whoever knows which says so, and nobody guesses."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from mlforge.errors import FeatureError, ProjectError, RetrievalError
from tests.small import Small

if TYPE_CHECKING:
    from pathlib import Path

AMBIGUOUS = {  # how it is written: what a timestamp_format makes of it
    "01/02/2024 10:00:00": ("%m/%d/%Y %H:%M:%S", dt.datetime(2024, 1, 2, 10)),
    "13/02/2024 10:00:00": ("%d/%m/%Y %H:%M:%S", dt.datetime(2024, 2, 13, 10)),
    "01/02/2024": ("%d/%m/%Y", dt.datetime(2024, 2, 1)),
    "01-02-2024": ("%m-%d-%Y", dt.datetime(2024, 1, 2)),
    "02.01.2024 10:00:00": ("%d.%m.%Y %H:%M:%S", dt.datetime(2024, 1, 2, 10)),
    "01/02/24": ("%d/%m/%y", dt.datetime(2024, 2, 1)),
    "24-01-02": ("%y-%m-%d", dt.datetime(2024, 1, 2)),
    "01-02-24 10:00:00": ("%d-%m-%y %H:%M:%S", dt.datetime(2024, 2, 1, 10)),
    "01/02/2024 01:00:00 PM": ("%m/%d/%Y %I:%M:%S %p", dt.datetime(2024, 1, 2, 13)),
}
PLAIN = {
    "2024-01-02": "DATE",
    "2024-1-2": "DATE",
    "2024-01-02 10:00:00": "TIMESTAMP",
    "2024-01-02 10:00:00.5": "TIMESTAMP",
    "2024-01-02T10:00:00Z": "TIMESTAMP",
}
FEATURE = "{{{{ config(entity='user', timestamp='t'{more}) }}}}\nSELECT k, t, x FROM {{{{ source('ev') }}}}"
CONFIG = "name: s\nsources:\n  ev: {{path: data/ev.{form}{more}}}\nentities:\n  user: {{key: k}}\n"


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".json":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_order_that_is_guessed_is_asked_for(tmp_path: Path, form: str) -> None:
    """One source for each way to write; those that begin with the whole year need nothing."""
    names = {text: f"s{n}" for n, text in enumerate([*AMBIGUOUS, *PLAIN])}
    listed = "".join(f"  {name}: {{path: data/{name}.{form}}}\n" for name in names.values())
    small = Small(tmp_path, f"name: s\nsources:\n{listed}entities:\n  user: {{key: k}}\n")
    for text, name in names.items():
        _write(small.root / f"data/{name}.{form}", [{"k": 1, "t": text, "x": 5}] * 3)
    for text, name in names.items():
        select = f"SELECT k, t, x FROM {{{{ source('{name}') }}}}"
        if text in AMBIGUOUS:
            small.feature("f", f"{{{{ config(entity='user', timestamp='t') }}}}\n{select}")
            with pytest.raises(FeatureError, match=r"features/f\.sql:2: timestamp 't' is text") as caught:
                small.forge.plan()
            assert 'config(timestamp_format="%d/%m/%Y") or "%m/%d/%Y"' in str(caught.value.hint)
    (small.root / "features/f.sql").unlink()
    for text, name in names.items():
        how = AMBIGUOUS.get(text, (None,))[0]
        more = f", timestamp_format='{how}'" if how else ""
        small.feature(
            name,
            f"{{{{ config(entity='user', timestamp='t'{more}) }}}} SELECT DISTINCT k, t, x, "
            f"typeof(t) AS kind FROM {{{{ source('{name}') }}}}",
        )
    small.good()
    for text, (_, moment) in AMBIGUOUS.items():
        assert small.view(names[text]) == [(1, moment, 5, "VARCHAR")]
    kinds = {text: small.view(names[text])[0][3] for text in PLAIN}
    assert {text: kind.removesuffix(" WITH TIME ZONE") for text, kind in kinds.items()} == PLAIN


def test_a_format_that_the_source_states(tmp_path: Path) -> None:
    options = ", options: {timestampformat: '%m/%d/%Y %H:%M:%S', dateformat: '%d.%m.%Y'}"
    small = Small(tmp_path, CONFIG.format(form="csv", more=options))
    _write(small.root / "data/ev.csv", [{"k": 1, "t": "01/02/2024 10:00:00", "x": "03.04.2024"}] * 3)
    small.feature("f", FEATURE.format(more=""))
    small.good()
    assert small.view("f")[0] == (1, dt.datetime(2024, 1, 2, 10), dt.date(2024, 4, 3))


def test_dates_beside_those_that_are_guessed_stay_dates(tmp_path: Path) -> None:
    """And so name the start of a day that is not yet over. DuckDB takes them for TIMESTAMPs."""
    small = Small(tmp_path, CONFIG.format(form="csv", more=""))
    _write(small.root / "data/ev.csv", [{"x": "01/02/1990", "k": 1, "t": "2024-01-02"}] * 3)
    small.feature("f", FEATURE.format(more=", delay='1d'"))
    small.good()
    assert small.sql("SELECT column_name, type FROM mlforge.columns WHERE column_name = 'x'") == [("x", "VARCHAR")]
    assert small.sql("SELECT DISTINCT t FROM features.f") == [(dt.datetime(2024, 1, 2),)]
    assert small.ask(["f"], "(1, '2024-01-02 23:59'), (1, '2024-01-03')") == [(None,), ("01/02/1990",)]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_label_files(tmp_path: Path, form: str) -> None:
    small = Small(tmp_path)
    small.rows("1, '2024-01-01', 5")
    small.feature("f", FEATURE.format(more=""))
    small.good()
    for text in ("01-02-2024 10:00:00", "01-02-24"):
        _write(tmp_path / f"labels.{form}", [{"k": 1, "label_time": text}])
        with pytest.raises(RetrievalError, match="label column 'label_time' is VARCHAR, not a time") as caught:
            small.forge.get_training_data("f", tmp_path / f"labels.{form}")
        assert "text needs strptime with its format" in str(caught.value.hint)
    _write(tmp_path / f"labels.{form}", [{"k": 1, "label_time": "2024-01-02", "born": "01-02-1990"}])
    found = small.forge.get_training_data("f", tmp_path / f"labels.{form}")
    assert found.to_pylist() == [{"k": 1, "label_time": dt.date(2024, 1, 2), "born": "01-02-1990", "x": 5}]


WORDS = {
    "SELECT k, t, x": ("t", "timestamp 't' is text: ", "TIMESTAMP WITH TIME ZONE"),
    "SELECT k, t2 AS t, SUM(x) OVER last_7d AS s": ("x", "argument types 'sum(VARCHAR)': ", "DOUBLE"),
    "SELECT k, t2 AS t, AVG(x * 2) OVER ever AS s": ("x", "argument types '*(VARCHAR, INTEGER_LITERAL)'", "DOUBLE"),
    "SELECT k, t2 AS t, COUNT(*) FILTER (WHERE x > 5) OVER ever AS s": (
        "x",
        "Cannot compare values of type VARCHAR",
        "DOUBLE",
    ),
    "SELECT k, t2 AS t, k + x AS s": ("x", "argument types '+(BIGINT, VARCHAR)': ", "DOUBLE"),
}


@pytest.mark.parametrize("word", ["N/A", "-", "null"])
def test_a_word_among_good_times_and_numbers(tmp_path: Path, word: str) -> None:
    """The file, the row and the word that make a column text are named where that text is of no use."""
    small = Small(tmp_path, CONFIG.format(form="csv", more=""))
    rows: list[dict[str, Any]] = [{"k": 1, "t": "2024-01-02 10:00:00", "t2": "2024-01-02 10:00:00", "x": 5}] * 3
    _write(small.root / "data/ev.csv", [*rows, {**rows[0], "t": word, "x": word}])
    for query, (column, words, kind) in WORDS.items():
        small.feature("f", f"{{{{ config(entity='user', timestamp='t') }}}}\n{query} FROM {{{{ source('ev') }}}}")
        with pytest.raises(FeatureError, match=r"features/f\.sql:2: ") as caught:
            small.forge.plan()
        said = (
            f"column '{column}' of source 'ev' is text: data/ev.csv, row 4 says '{word}', among values that are {kind}"
        )
        assert words in str(caught.value)
        assert said in str(caught.value)
        quoted = word if word == "N/A" else f"'{word}'"
        hint = f"if it means that there is none: options: {{nullstr: {quoted}}} of the source, or nullif() and a CAST"
        assert str(caught.value.hint) == hint
    small.feature("f", FEATURE.format(more=""))
    small.config(CONFIG.format(form="csv", more=f", options: {{nullstr: '{word}'}}"))
    (built,) = small.build().features
    assert (built.status, built.nowhere) == ("built", 1)
    small.config(CONFIG.format(form="csv", more=""))
    _write(small.root / "data/ev.csv", [*rows * 8000, {**rows[0], "x": word}])
    with pytest.raises(ProjectError, match=f"column 'x': .* row 24001 says '{word}', VARCHAR") as refused:
        small.forge.plan()
    assert f"if it means that there is none: options: {{nullstr: {quoted}}} of the source; else say" in str(
        refused.value
    )


TAKEN = {
    "MAX(x) OVER last_7d": ("MAX", "x", "DOUBLE"),
    "ARG_MIN(k, x) OVER ever": ("ARG_MIN", "x", "DOUBLE"),
    "MODE(x) FILTER (WHERE k > 0) OVER ever": ("MODE", "x", "DOUBLE"),
    "LAST(t) OVER ever": ("LAST", "t", "TIMESTAMP WITH TIME ZONE"),
}


@pytest.mark.parametrize("form", ["csv", "json"])
def test_aggregates_that_take_the_texts_warn(tmp_path: Path, form: str) -> None:
    """They would give 9 as the greatest of 9 and 10. Under strict they are refused; a CAST, or types, say what is meant."""
    small = Small(tmp_path, CONFIG.format(form=form, more=""))
    rows: list[dict[str, Any]] = [
        {"k": 1, "t": "2024-01-02 10:00:00", "t2": "2024-01-02 10:00:00", "x": x} for x in ("9", "10", "11")
    ]
    _write(small.root / f"data/ev.{form}", [*rows, {**rows[0], "t": "N/A", "x": "N/A"}])
    head = "{{ config(entity='user', timestamp='t') }}\nSELECT k, t2 AS t, "
    for call, (name, column, kind) in TAKEN.items():
        small.feature("f", f"{head}{call} AS a, COUNT(*) OVER ever AS n FROM {{{{ source('ev') }}}}")
        small.config(CONFIG.format(form=form, more=""))
        [(_, said)] = [w for w in small.forge.plan().warnings if "takes texts" in w[1]]
        where = (
            f"column '{column}' of source 'ev' is text: data/ev.{form}, row 4 says 'N/A', among values that are {kind}"
        )
        assert said.startswith(f"features/f.sql:2: {name} takes texts: {where}; ")
        assert said.endswith(f"if it is meant to be text: types: {{{column}: VARCHAR}}")
        small.config("strict: true\n" + CONFIG.format(form=form, more=""))
        with pytest.raises(FeatureError, match=f"{name} takes texts"):
            small.forge.plan()
        for more, changed in (
            (f", types: {{{column}: VARCHAR}}", call),
            ("", call.replace(f"{column})", f"{column}::VARCHAR)", 1)),
        ):
            small.config(CONFIG.format(form=form, more=more))
            small.feature("f", f"{head}{changed} AS a, COUNT(*) OVER ever AS n FROM {{{{ source('ev') }}}}")
            assert not [w for w in small.forge.plan().warnings if "takes texts" in w[1]]


def test_texts_that_are_numbers_at_times_are_not_blamed(tmp_path: Path) -> None:
    small = Small(tmp_path, CONFIG.format(form="csv", more=""))
    _write(small.root / "data/ev.csv", [{"k": 1, "t": "2024-01-02 10:00:00", "x": x} for x in ("a", "b", "7")])
    small.feature("f", FEATURE.format(more="").replace("t, x", "t, x + 1 AS y"))
    with pytest.raises(FeatureError, match="Binder Error") as caught:
        small.forge.plan()
    assert "is text" not in str(caught.value)


HOLLOW = {
    "csv": [
        ("", "holds nothing"),
        ("\n\n", "holds nothing"),
        ("k,t,x\n", "holds one line, 'k,t,x', which may be a header or a row"),
    ],
    "json": [("", "holds nothing"), ("[]", "holds nothing")],
}


@pytest.mark.parametrize("form", HOLLOW)
def test_files_without_rows(tmp_path: Path, form: str) -> None:
    small = Small(tmp_path, CONFIG.format(form=form, more=""))
    small.feature("f", FEATURE.format(more=""))
    for text, said in HOLLOW[form]:
        (small.root / f"data/ev.{form}").write_text(text)
        with pytest.raises(ProjectError) as caught:
            small.forge.plan()
        assert f"mlforge.yaml:3: source 'ev': data/ev.{form} {said}: nothing says what columns there are" in str(
            caught.value
        )
        assert "come again when there are rows" in str(caught.value.hint)


def test_a_header_alone_with_its_columns_stated(tmp_path: Path) -> None:
    options = ", options: {header: true, columns: {k: BIGINT, t: TIMESTAMP, x: BIGINT}}"
    small = Small(tmp_path, CONFIG.format(form="csv", more=options))
    (small.root / "data/ev.csv").write_text("k,t,x\n")
    small.feature("f", FEATURE.format(more=""))
    small.good()
    assert small.view("f") == []


def test_times_written_in_several_ways(tmp_path: Path) -> None:
    """What a format does not read is shown; and what the hint says works."""
    small = Small(tmp_path, CONFIG.format(form="csv", more=", types: {t: VARCHAR}"))
    _write(
        tmp_path / "data/ev.csv", [{"k": 1, "t": "13/02/2024", "x": 1}, {"k": 2, "t": "13/02/2024 10:00:00", "x": 2}]
    )
    small.feature("f", FEATURE.format(more=", timestamp_format='%d/%m/%Y'"))
    [failed] = small.build().features
    assert failed.error is not None
    assert failed.error.startswith(
        'features/f.sql: f: Invalid Input Error: Could not parse string "13/02/2024 10:00:00" according to format '
        'specifier "%d/%m/%Y"; 13/02/2024 10:00:00; Error: Full specifier did not match'
    )
    formats = "['%d/%m/%Y %H:%M:%S', '%d/%m/%Y']"
    assert f"leave it out and write try_strptime(column, {formats}) in the SQL" in failed.error
    small.feature("f", FEATURE.format(more="").replace("t, x", f"try_strptime(t, {formats}) AS t, x"))
    small.good()
    assert [row[1] for row in small.view("f")] == [dt.datetime(2024, 2, 13), dt.datetime(2024, 2, 13, 10)]
