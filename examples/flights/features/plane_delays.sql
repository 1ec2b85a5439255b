{# A delay is known when the plane has landed, not when it was due to leave. Joined on the scheduled departure, 235 of the
   year's 323,309 "previous delays" would come from a flight still in the air. known_at says when each row was known.
   Models read this feature: the contract stops a build that would change the names or types of its columns. #}
{{ config(
    entity="plane",
    timestamp="known_at",
    description="How late a plane has been, from the flights that have landed",
    columns={
        "last_arr_delay": "Minutes late at the last landing; negative is early",
        "late_30d": "Landings more than 15 minutes late, 30 days",
        "minutes_since_landing": "Minutes since the plane last landed",
    },
    tags=["delays"],
    owner="flights",
    contract=true,
    validators={
        "tailnum": [not_null()],
        "input.arr_delay": [not_null(), in_range(-120, 1500)],
        "flights_7d": [greater_than(0)],
    },
) }}
SELECT
    tailnum,
    {{ landed() }}                                                AS known_at,
    arr_delay                                                     AS last_arr_delay,
    date_diff('minute', known_at, as_of())                        AS minutes_since_landing,
    COUNT(*)                                OVER last_7d          AS flights_7d,
    COUNT(*) FILTER (WHERE arr_delay > 15)  OVER last_30d         AS late_30d,
    AVG(arr_delay)                          OVER last_7d,
    MAX(arr_delay)                          OVER last_30d,
    SUM(air_time)                           OVER last_24h         AS air_minutes_24h,
    COUNT(*) FILTER (WHERE arr_delay > 15) OVER last_30d / NULLIF(COUNT(*) OVER last_30d, 0)  AS late_share_30d
FROM {{ source("flights") }}
WHERE air_time IS NOT NULL
