-- The latest payment of a user; it counts for 90 days.
{{ config(
    entity="user", timestamp="event_time", ttl="90d",
    description="The latest payment of a user", tags=["users"],
    validators={"last_merchant": not_null()},
) }}
SELECT
    user_id,
    event_time,
    merchant  AS last_merchant,
    amount    AS last_amount
FROM {{ source("transactions") }}
WHERE status = 'settled'
