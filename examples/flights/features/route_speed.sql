{# On demand: computed when a value is asked for, from a column that comes with the request. Nothing is stored. #}
{{ config(
    entity="route",
    on_demand=true,
    request={"distance": "DOUBLE"},
    description="Miles an hour at which this flight would have to fly to take as long as the route usually takes",
    owner="flights",
) }}
SELECT distance / NULLIF(air_time_avg_30d / 60, 0) AS usual_mph
FROM {{ ref("route_stats") }}
