"""What DuckDB evaluates on reading: kept statements, and the same values as any other connection gives."""

from __future__ import annotations

import datetime
import threading

import duckdb
import pytest

from mlforge.errors import OnlineError
from mlforge.online import evaluate
from mlforge.online.published import Engine

SQL = "SELECT {} AS v FROM (SELECT unnest(CAST($1 AS {}[])) AS a, unnest(CAST($2 AS {}[])) AS b)"
NOON = datetime.datetime(2024, 3, 1, 12)


def made(expression: str, a: str = "DOUBLE", b: str = "DOUBLE") -> Engine:
    return Engine(sql=SQL.format(expression, a, b), parameters=[], outputs=["v"])


@pytest.mark.parametrize(
    ("expression", "kinds", "values"),
    [
        ("a / (1 + b) + a / (1 + b)", ("DOUBLE", "DOUBLE"), [[0.1, 1e300, None, -0.0], [0.2, 1e-300, 3.0, -1.0]]),
        ("CASE WHEN b = 0 THEN NULL ELSE a // b END", ("BIGINT", "BIGINT"), [[7, -7, 2**62], [0, 2, 3]]),
        ("a + b + 0.1 + 0.2", ("DOUBLE", "DOUBLE"), [[0.3, 1e16], [0.7, 1.0]]),
        ("regexp_replace(a, '^x+', '') || coalesce(b, '-')", ("VARCHAR", "VARCHAR"), [["xxy", "ü"], [None, "z"]]),
        ("date_trunc('month', a) + to_days(b::INTEGER)", ("TIMESTAMP", "BIGINT"), [[NOON, None], [40, 1]]),
        ("list_sum(list_transform(a, lambda x: x * b))", ("DOUBLE[]", "DOUBLE"), [[[1.5, 2.5], []], [2.0, 1.0]]),
        ("a IN (1, 2, 3) AND NOT (b BETWEEN 2 AND 1)", ("BIGINT", "BIGINT"), [[1, 9, None], [1, 2, 3]]),
    ],
)
def test_values_are_those_of_a_plain_connection(
    expression: str, kinds: tuple[str, str], values: list[list[object]]
) -> None:
    one = made(expression, *kinds)
    with duckdb.connect(":memory:") as con:
        assert repr(evaluate.run(one, "f", values)) == repr(con.execute(one.sql, values).fetchall())  # NaN is not NaN


def test_a_statement_that_refused_values_takes_others() -> None:
    one = made("CASE WHEN a < 0 THEN error('less than nothing')::DOUBLE ELSE sqrt(a) END")
    assert evaluate.run(one, "root", [[4.0], [0.0]]) == [(2.0,)]
    with pytest.raises(OnlineError, match=r"root cannot be evaluated for these entity rows: .*less than nothing"):
        evaluate.run(one, "root", [[-1.0], [0.0]])
    assert evaluate.run(one, "root", [[9.0, 16.0], [0.0, 0.0]]) == [(3.0,), (4.0,)]


def test_statements_beyond_those_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "STATEMENTS", 3)
    for _ in range(2):
        for n in range(10):
            assert evaluate.run(made(f"a + b + {n}"), "f", [[1.0], [2.0]]) == [(3.0 + n,)]


def test_every_thread_has_its_own() -> None:
    found: list[object] = []
    one = made("a * b")

    def ask(n: int) -> None:
        found.append(all(evaluate.run(one, "f", [[float(n)], [float(m)]]) == [(float(n * m),)] for m in range(50)))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4
