{#- The UTC weekday of an instant: 0 for Monday. -#}
{% macro iso_weekday(instant) %}
  {{- return(adapter.dispatch('iso_weekday', 'scalespace')(instant)) -}}
{% endmacro %}

{% macro default__iso_weekday(instant) %}
  {{- return('(isodow(' ~ instant ~ ') - 1)') -}}
{% endmacro %}

{% macro spark__iso_weekday(instant) %}
  {{- return('weekday(' ~ instant ~ ')') -}}
{% endmacro %}
