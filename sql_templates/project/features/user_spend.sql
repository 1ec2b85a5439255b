-- What a user spent lately, refreshed once a day.
{{ config(
    entity="user", timestamp="event_time", interval="1d",
    description="What a user spent lately", tags=["users", "daily"],
    columns={"big_payments_30d": "Payments above 100 in 30 days"},
    validators={"input.amount": [not_null(), greater_than(0)], "payments_7d": greater_than_or_equal(0)},
) }}
SELECT
    user_id,
    event_time,
    SUM(amount)                          OVER last_7d   AS spend_7d,
    COUNT(*)                             OVER last_7d   AS payments_7d,
    AVG(amount)                          OVER last_30d,                    -- named amount_avg_30d
    COUNT(*) FILTER (WHERE amount > 100) OVER last_30d  AS big_payments_30d
FROM {{ source("transactions") }}
WHERE status = 'settled'
