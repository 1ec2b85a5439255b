{{ config(
    entity="airport",
    description="Where an airport is",
    columns={"alt": "Feet above the sea"},
    owner="flights",
    validators={"airport": [not_null(), unique()]},
) }}
SELECT
    faa AS airport,
    lat,
    lon,
    alt
FROM {{ source("airports") }}
