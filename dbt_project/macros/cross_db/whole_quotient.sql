{#- The whole part of a quotient of integers that are not negative. -#}
{% macro whole_quotient(number, divisor) %}
  {{- return(adapter.dispatch('whole_quotient', 'scalespace')(number, divisor)) -}}
{% endmacro %}

{% macro default__whole_quotient(number, divisor) %}
  {{- return(number ~ ' // ' ~ divisor) -}}
{% endmacro %}

{% macro spark__whole_quotient(number, divisor) %}
  {{- return(number ~ ' div ' ~ divisor) -}}
{% endmacro %}
