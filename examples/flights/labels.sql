-- One row per flight that arrived: what was known when it was due to leave, and was it late?
SELECT
    (time_hour AT TIME ZONE 'UTC') + to_minutes("minute")  AS label_time,
    tailnum,
    carrier,
    origin,
    dest,
    distance,
    arr_delay > 15                                         AS late
FROM 'data/flights.parquet'
WHERE arr_delay IS NOT NULL
