{{ config(
    entity="carrier",
    timestamp="departed_at",
    description="What is going on at a carrier right now, from the flights that have left",
    tags=["delays"],
    owner="flights",
) }}
SELECT
    carrier,
    {{ departed() }}                      AS departed_at,
    COUNT(*)               OVER last_3h   AS departures_3h,
    AVG(dep_delay)         OVER last_3h   AS dep_delay_avg_3h,
    MAX(dep_delay)         OVER last_24h  AS dep_delay_max_24h,
    COUNT(DISTINCT dest)   OVER last_24h  AS destinations_24h
FROM {{ source("flights") }}
WHERE dep_delay IS NOT NULL
