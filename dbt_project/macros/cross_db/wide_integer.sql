{#- The type of sums that pass a BIGINT, as of the squares of gaps. -#}
{% macro wide_integer() %}
  {{- return(adapter.dispatch('wide_integer', 'scalespace')()) -}}
{% endmacro %}

{% macro default__wide_integer() %}
  {{- return('hugeint') -}}
{% endmacro %}

{% macro spark__wide_integer() %}
  {{- return('decimal(38, 0)') -}}
{% endmacro %}
