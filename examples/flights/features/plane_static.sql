{# No timestamp: what is true of a plane at any time. About one flight in six has a plane that the register lacks. #}
{{ config(
    entity="plane",
    description="What a plane is",
    columns={"built": "Year in which the plane was built"},
    owner="flights",
    validators={"tailnum": [not_null(), unique()], "seats": [greater_than(0)]},
) }}
SELECT
    tailnum,
    "year" AS built,
    manufacturer,
    engines,
    seats
FROM {{ source("planes") }}
