{# The instants of a flight, as TIMESTAMP in UTC. time_hour is the hour of the scheduled departure. #}

{% macro scheduled() %}(time_hour AT TIME ZONE 'UTC') + to_minutes("minute"){% endmacro %}

{# A flight that leaves before its hour counts from the hour: the source says that its rows are of that hour, and nothing
   may be known earlier than its source says. #}
{% macro departed() %}greatest(time_hour AT TIME ZONE 'UTC', (time_hour AT TIME ZONE 'UTC') + to_minutes("minute" + dep_delay)){% endmacro %}

{% macro landed() %}(time_hour AT TIME ZONE 'UTC') + to_minutes("minute" + dep_delay + air_time){% endmacro %}
