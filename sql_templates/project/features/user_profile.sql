-- What is known about a user and does not change.
{{ config(
    entity="user",
    description="What a user told us when signing up", tags=["users"],
    validators={"plan": is_in(["free", "plus", "pro"])},
) }}
SELECT user_id, country, plan, signed_up
FROM {{ source("users") }}
