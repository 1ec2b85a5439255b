{# The instants of a flight, as TIMESTAMP in UTC. time_hour is the hour of the scheduled departure. #}

{% macro scheduled() %}(time_hour AT TIME ZONE 'UTC') + to_minutes("minute"){% endmacro %}

{% macro departed() %}(time_hour AT TIME ZONE 'UTC') + to_minutes("minute" + dep_delay){% endmacro %}

{% macro landed() %}(time_hour AT TIME ZONE 'UTC') + to_minutes("minute" + dep_delay + air_time){% endmacro %}
