{#- The end of the UTC hour or day that holds an instant: [h, h + 1) closes at h + 1. -#}
{% macro end_of_hour(instant) %}
  {{- return(add_us("date_trunc('hour', " ~ instant ~ ')', duration_us('1h'))) -}}
{% endmacro %}

{% macro end_of_day(instant) %}
  {{- return(add_us("date_trunc('day', " ~ instant ~ ')', duration_us('1d'))) -}}
{% endmacro %}
