{# A PLANTED LEAK, kept out of features/: see ../leak.py. The strongest wind of a flight's day is looked for in all hours of
   that day, those after the flight too. #}
{{ config(
    entity="carrier",
    timestamp="due_at",
    description="How windy it is where the carrier's flights of the day leave, from hours that are still to come",
    allow_lookahead=true,
) }}
WITH windy AS (
    SELECT origin, year, month, day, MAX(wind_speed) AS wind
    FROM {{ source("weather") }}
    GROUP BY ALL
)
SELECT
    f.carrier,
    f.time_hour AT TIME ZONE 'UTC'  AS due_at,
    MAX(w.wind) OVER last_3h        AS wind_3h
FROM {{ source("flights") }} AS f
JOIN windy AS w ON f.origin = w.origin AND f.year = w.year AND f.month = w.month AND f.day = w.day
