{# ref() joins another feature as of each row's own time: a landing is compared with what was known of its carrier at that
   landing, never with a later figure. #}
{{ config(
    entity="plane",
    timestamp="known_at",
    description="How much later a plane lands than its carrier's average of the week",
    tags=["delays"],
    owner="flights",
) }}
SELECT
    f.tailnum,
    {{ landed() }} AS known_at,
    AVG(f.arr_delay - c.arr_delay_avg_7d) OVER last_30d AS excess_delay_30d
FROM {{ source("flights") }} AS f
LEFT JOIN {{ ref("carrier_delays") }} AS c ON f.carrier = c.carrier
WHERE f.air_time IS NOT NULL
