{#- The end of the UTC hour or day that holds an instant: [h, h + 1) closes at h + 1. -#}
{% macro end_of_hour(instant) %}
  {{- return("date_trunc('hour', " ~ instant ~ ') + to_microseconds(' ~ duration_us('1h') ~ ')') -}}
{% endmacro %}

{% macro end_of_day(instant) %}
  {{- return("date_trunc('day', " ~ instant ~ ') + to_microseconds(' ~ duration_us('1d') ~ ')') -}}
{% endmacro %}
