{# Refreshed once a day, at midnight in New York: what a nightly job would serve. The average of a
   week in which a carrier landed once may be many hours: HA51 was 21 hours late on 9 January. #}
{{ config(
    entity="carrier",
    timestamp="landed_at",
    interval="1d",
    timezone="America/New_York",
    description="How late a carrier's flights arrive, refreshed every midnight",
    tags=["delays", "daily"],
    owner="flights",
    validators={"carrier": [not_null()], "arr_delay_avg_7d": [in_range(-120, 1500)]},
) }}
SELECT
    carrier,
    {{ landed() }}  AS landed_at,
    {{ rolling("arr_delay", ["avg", "stddev", "median"], ["7d", "30d"]) }},
    COUNT(*) OVER last_7d AS flights_7d
FROM {{ source("flights") }}
WHERE air_time IS NOT NULL
