-- How a payment that is asked for now compares with the user's usual one.
{{ config(
    entity="user", on_demand=true, request={"amount": "DOUBLE"},
    description="A payment against the user's usual one", tags=["users"],
) }}
SELECT
    amount / NULLIF(spend.amount_avg_30d, 0)  AS amount_to_usual
FROM {{ ref("user_spend") }} AS spend
