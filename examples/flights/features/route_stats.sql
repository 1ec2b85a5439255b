{{ config(
    entity="route",
    timestamp="landed_at",
    interval="1d",
    description="What a route is like, refreshed every midnight UTC",
    tags=["routes", "daily"],
    owner="flights",
    validators={"air_time_avg_30d": [greater_than(0)]},
) }}
SELECT
    origin,
    dest,
    {{ landed() }}  AS landed_at,
    AVG(air_time)                  OVER last_30d,
    MEDIAN(arr_delay)              OVER last_30d  AS route_delay_30d,
    COUNT(*)                       OVER last_30d  AS route_flights_30d,
    APPROX_COUNT_DISTINCT(tailnum) OVER last_30d  AS route_planes_30d
FROM {{ source("flights") }}
WHERE air_time IS NOT NULL
