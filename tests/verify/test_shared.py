"""What the proof shares with what it proves: macros that turn a time into microseconds, and that tell values apart which
only look equal. They are held against plain Python here, as are the shapes that its own macros write out."""

from __future__ import annotations

import datetime as dt
import math
import re
from fractions import Fraction
from types import SimpleNamespace

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlforge.sql.templates import _environment, template_root

EPOCH = dt.datetime(1970, 1, 1)
TEXTS = [
    "1970-01-01 00:00:00",
    "1969-12-31 23:59:59.999999",
    "2024-02-29 12:00:00.000001",
    "1931-05-31 01:02:03",
    "1700-01-01 00:00:00",
]
KINDS = ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "DATE"]


def test_only_these_macros_are_shared() -> None:
    used: set[str] = set()
    for path in sorted(template_root().glob("verify/*.j2")):
        text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
        imports = set(re.findall(r"\{%-?\s*(?:import|from|include|extends)\s+\"([^\"]+)\"(?: as (\w+))?", text))
        for file, name in imports:
            assert file in ("verify/lib.sql.j2", "lib/time.sql.j2", "lib/alike.sql.j2"), path.name
            if file != "verify/lib.sql.j2":
                used |= set(re.findall(rf"\b{name}\.(\w+)\(", text))
    assert used == {"micros", "micros_of_any", "hidden", "differ"}


FLOATS = [None, 0.0, -0.0, math.nan, 1.5, -1.5, math.inf]
MONTHS = [None, (0, 0), (1, 0), (0, 30), (0, 1)]  # months and days


def same(a: float | None, b: float | None) -> bool:
    if a is None or b is None or math.isnan(a) or math.isnan(b):
        return (a is None) == (b is None) and str(a) == str(b)
    return a == b and math.copysign(1, a) == math.copysign(1, b)


@pytest.mark.parametrize("how", ["zero", "text"])
@pytest.mark.parametrize("a", FLOATS)
@pytest.mark.parametrize("b", FLOATS)
def test_floats_differ_as_in_plain_python(how: str, a: float | None, b: float | None) -> None:
    alike = _environment().get_template("lib/alike.sql.j2").module
    with duckdb.connect() as con:
        query = f"SELECT coalesce({alike.differ('a', 'b', how)}, false) FROM (SELECT ?::DOUBLE AS a, ?::DOUBLE AS b)"  # type: ignore[attr-defined]
        assert con.execute(query, [a, b]).fetchall() == [(not same(a, b),)]
        query = query.replace("?::DOUBLE", "[?::DOUBLE]")
        assert how == "zero" or con.execute(query, [a, b]).fetchall() == [(not same(a, b),)]


@pytest.mark.parametrize("a", MONTHS)
@pytest.mark.parametrize("b", MONTHS)
def test_intervals_differ_as_in_plain_python(a: tuple[int, int] | None, b: tuple[int, int] | None) -> None:
    alike = _environment().get_template("lib/alike.sql.j2").module
    one, other = ("NULL::INTERVAL" if x is None else f"to_months({x[0]}) + to_days({x[1]})" for x in (a, b))
    query = f"SELECT coalesce({alike.differ('a', 'b', 'interval')}, false) FROM (SELECT {one} AS a, {other} AS b)"  # type: ignore[attr-defined]
    with duckdb.connect() as con:
        assert con.execute(query).fetchall() == [(a != b,)]


def micros(text: str, kind: str) -> int:
    at = dt.datetime.fromisoformat(text)
    if kind == "DATE":
        at = dt.datetime.combine(at.date(), dt.time())
    found = (at - EPOCH) // dt.timedelta(microseconds=1)
    per = {"TIMESTAMP_S": 1_000_000, "TIMESTAMP_MS": 1000}.get(kind, 1)
    return found // per * per


@pytest.mark.parametrize("macro", ["micros", "micros_of_any"])
@pytest.mark.parametrize("kind", KINDS)
def test_micros_are_those_of_plain_python(macro: str, kind: str) -> None:
    time = _environment().get_template("lib/time.sql.j2").module
    expression = time.micros("x", kind) if macro == "micros" else time.micros_of_any("x")  # type: ignore[attr-defined]
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'Asia/Tokyo'")
        for text in TEXTS:
            # Where fractions do not fit, versions of DuckDB round or cut.
            whole = text.split(".")[0] if kind in ("TIMESTAMP_S", "TIMESTAMP_MS") else text
            value = f"'{whole}+00'::TIMESTAMPTZ" if kind.endswith("ZONE") else f"'{whole}'::TIMESTAMP"
            con.execute(f"CREATE OR REPLACE TABLE rows AS SELECT CAST({value} AS {kind}) AS x")
            (found,) = con.execute(f"SELECT {expression} FROM rows").fetchall()
            assert found == (micros(whole, kind),), (text, kind)
        for none in ("NULL", "'infinity'", "'-infinity'") if kind not in ("TIMESTAMP_S", "TIMESTAMP_MS") else ("NULL",):
            assert con.execute(f"SELECT {expression} FROM (SELECT {none}::{kind} AS x)").fetchall() == [(None,)]


@pytest.mark.parametrize("macro", ["micros", "micros_of_any"])
@pytest.mark.parametrize(
    ("nanos", "expected"),
    [
        (0, 0),
        (999, 0),
        (1000, 1),
        (-1, -1),
        (-1000, -1),
        (-1001, -2),
        (1_709_294_400_000_000_999, 1_709_294_400_000_000),
    ],
)
def test_nanoseconds_are_floored(macro: str, nanos: int, expected: int) -> None:
    time = _environment().get_template("lib/time.sql.j2").module
    text = time.micros("x", "TIMESTAMP_NS") if macro == "micros" else time.micros_of_any("x")  # type: ignore[attr-defined]
    with duckdb.connect() as con:
        query = f"SELECT {text} FROM (SELECT make_timestamp_ns({nanos}) AS x)"
        assert con.execute(query).fetchall() == [(expected,)]


def shape(function: str, values: list[float]) -> float | None:
    """By the definition, in exact numbers."""
    n = len(values)
    exact = [Fraction(v) for v in values]
    if len(set(exact)) < 2 or n <= {"skewness": 2, "kurtosis": 3, "kurtosis_pop": 1}[function]:
        return None
    mean = sum(exact) / n
    second, third, fourth = (sum((v - mean) ** k for v in exact) / n for k in (2, 3, 4))
    if function == "skewness":
        return math.copysign(math.sqrt(third**2 / second**3), third) * math.sqrt(n * (n - 1)) / (n - 2)
    peak = fourth / second**2 - 3
    return float(peak if function == "kurtosis_pop" else Fraction(n - 1, (n - 2) * (n - 3)) * ((n + 1) * peak + 6))


NUMBERS = st.floats(min_value=-1e6, max_value=1e6).map(lambda x: round(x, 3))


@pytest.mark.parametrize("function", ["skewness", "kurtosis", "kurtosis_pop"])
def test_shapes_are_those_of_plain_python(function: str) -> None:
    """Of the proof, and of the frames that it proves."""
    proof = _environment().get_template("verify/lib.sql.j2").module
    call = SimpleNamespace(function=function, args=("x",), type="DOUBLE", distinct=False, filter=None)
    frames = _environment().get_template("lib/frames.sql.j2").module
    framed = str(frames.over_sorted(call, "(ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)", True))  # type: ignore[attr-defined]
    with duckdb.connect() as con:

        @settings(max_examples=40, deadline=None, database=None, derandomize=True)
        @given(st.lists(NUMBERS | st.sampled_from([0.0, 0.1, 1e6, 1e6 + 0.5]), max_size=9))
        def same(values: list[float]) -> None:
            wanted = shape(function, values)
            text = proof.of_values(call, True)  # type: ignore[attr-defined]
            found = con.execute(
                f"SELECT list_transform([?::DOUBLE[]], lambda _mlforge_z: {text})[1]", [values]
            ).fetchall()
            ways = [found[0][0]]
            rows = "SELECT unnest(?::DOUBLE[]) AS x, TRUE AS _mlforge_ev"
            ways += [y for (y,) in con.execute(f"SELECT {framed} FROM ({rows})", [values]).fetchall()[:1]]
            for value in ways:
                assert (value is None) == (wanted is None), values
                if wanted is not None and value is not None:
                    assert math.isclose(value, wanted, rel_tol=1e-7, abs_tol=1e-7), values

        same()


MAGNITUDES = st.integers(-20, 20).flatmap(lambda e: st.floats(-1, 1).map(lambda x: x * 2.0**e))


def test_exact_sums_are_those_of_plain_python() -> None:
    """Zero exactly where the numbers cancel, else as rounded once; also beside the least and the greatest doubles."""
    proof = _environment().get_template("verify/lib.sql.j2").module
    text = proof.total(SimpleNamespace(scale=0))  # type: ignore[attr-defined]
    edges = st.sampled_from([0.0, 5e-324, -5e-324, 2.0**-945, 1.5e300, -1.5e300, 2.0**53, -1.0, 0.1, 0.2, -0.3])
    numbers = st.lists(MAGNITUDES, max_size=12) | st.lists(edges, max_size=4)
    with duckdb.connect() as con:

        @settings(max_examples=150, deadline=None, database=None, derandomize=True)
        @given(numbers, st.booleans())
        def same(values: list[float], cancels: bool) -> None:
            values = sorted([*values, *(-v for v in values)] if cancels else values)
            query = f"SELECT list_transform([?::DOUBLE[]], lambda _mlforge_z: {text})[1]"
            found = con.execute(query, [values]).fetchall()[0][0]
            if not values:
                assert found is None
                return
            sizes = [abs(v) for v in values if v]
            if sizes and math.frexp(max(sizes))[1] - math.frexp(min(sizes))[1] + len(values).bit_length() > 65:
                return  # these do not fit, and no build finds them to
            wanted = sum(map(Fraction, values))
            if min(sizes, default=1.0) > 2.0**-900:  # 2^k must be a double
                assert (found == 0) == (wanted == 0), values
            assert math.isclose(found, float(wanted), rel_tol=1e-15), values

        same()
