{#- An instant so many microseconds later; earlier where they are below 0. -#}
{% macro add_us(instant, microseconds) %}
  {{- return(adapter.dispatch('add_us', 'scalespace')(instant, microseconds)) -}}
{% endmacro %}

{% macro default__add_us(instant, microseconds) %}
  {{- return(instant ~ ' + to_microseconds(' ~ microseconds ~ ')') -}}
{% endmacro %}

{#- An interval would do as well, but its microseconds come from a fraction of seconds. -#}
{% macro spark__add_us(instant, microseconds) %}
  {{- return('timestamp_micros(unix_micros(' ~ instant ~ ') + ' ~ microseconds ~ ')') -}}
{% endmacro %}
