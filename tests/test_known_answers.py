"""A year of real flights, with answers that were counted by other means."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import mlforge as mlf
from tests.oracle.runner import fetch

DATA = Path(__file__).parent.parent / "examples" / "flights" / "data"

YAML = """\
name: known
sources:
  flights: {{path: '{data}/flights.parquet'}}
  weather: {{path: '{data}/weather.parquet'}}
  planes: {{path: '{data}/planes.parquet'}}
entities:
  plane: {{key: tailnum}}
  airport: {{key: origin}}
"""
SCHEDULED = """(time_hour AT TIME ZONE 'UTC') + to_minutes("minute")"""
LANDED = """(time_hour AT TIME ZONE 'UTC') + to_minutes("minute" + dep_delay + air_time)"""
FEATURES = {
    "by_departure": f"""\
{{{{ config(entity="plane", timestamp="due", closed="left") }}}}
SELECT tailnum, {SCHEDULED} AS due, {LANDED} AS landed FROM {{{{ source("flights") }}}} WHERE air_time IS NOT NULL
""",
    "by_landing": f"""\
{{{{ config(entity="plane", timestamp="known_at") }}}}
SELECT tailnum, {LANDED} AS known_at, {LANDED} AS landed_before, COUNT(*) OVER ever AS landings
FROM {{{{ source("flights") }}}} WHERE air_time IS NOT NULL
""",
    "last_weather": """\
{{ config(entity="airport", timestamp="hour") }}
SELECT origin, time_hour AT TIME ZONE 'UTC' AS hour, time_hour AT TIME ZONE 'UTC' AS measured, temp
FROM {{ source("weather") }}
""",
    "plane": """\
{{ config(entity="plane") }}
SELECT tailnum, manufacturer FROM {{ source("planes") }}
""",
}


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> mlf.Forge:
    root = tmp_path_factory.mktemp("flights")
    (root / "features").mkdir()
    (root / "mlforge.yaml").write_text(YAML.format(data=DATA))
    for name, text in FEATURES.items():
        (root / f"features/{name}.sql").write_text(text)
    forge = mlf.open(str(root))
    forge.build()
    return forge


def labels(where: str = "true") -> pa.Table:
    sql = f"SELECT tailnum, origin, {SCHEDULED} AS label_time FROM '{DATA}/flights.parquet' WHERE {where}"
    with duckdb.connect() as con:
        return fetch(con, sql)


def used_before_known(rows: pa.Table, landed: str) -> tuple[int, int]:
    """Label rows that got a previous flight, and those of them whose flight had not landed."""
    found = rows.filter(pc.is_valid(rows[landed]))
    return found.num_rows, pc.sum(pc.greater(found[landed], found["label_time"])).as_py()


def test_a_join_on_event_time_leaks_and_known_at_does_not(flights: mlf.Forge) -> None:
    asked = labels("tailnum IS NOT NULL AND air_time IS NOT NULL")
    rows = flights.get_training_data(features=["by_departure", "by_landing"], entity_df=asked, timestamp="label_time")
    assert rows.num_rows == asked.num_rows == 327_346
    assert used_before_known(rows, "landed") == (323_309, 235)
    _, leaked = used_before_known(rows, "landed_before")
    assert leaked == 0
    assert pc.sum(pc.greater_equal(rows["landed_before"], rows["label_time"])).as_py() == 0
    assert pc.sum(pc.is_valid(rows["landed_before"])).as_py() == pc.sum(pc.greater(rows["landings"], 0)).as_py()


def test_weather_and_planes_of_every_flight(flights: mlf.Forge) -> None:
    rows = flights.get_training_data(features=["last_weather", "plane"], entity_df=labels(), timestamp="label_time")
    assert rows.num_rows == 336_776
    assert pc.sum(pc.is_valid(rows["measured"])).as_py() == 336_776
    assert pc.sum(pc.is_valid(rows["temp"])).as_py() == 336_759  # one report has no temperature
    assert pc.sum(pc.is_valid(rows["manufacturer"])).as_py() == 336_776 - 52_606
