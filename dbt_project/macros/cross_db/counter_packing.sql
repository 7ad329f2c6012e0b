{#- How several counters of 31 bits share one column: {type, counters}. -#}
{% macro counter_packing() %}
  {{- return(adapter.dispatch('counter_packing', 'scalespace')()) -}}
{% endmacro %}

{% macro default__counter_packing() %}
  {{- return({'type': 'hugeint', 'counters': 4}) -}}
{% endmacro %}

{#- Its wide integers are decimals, which have no bits. -#}
{% macro spark__counter_packing() %}
  {{- return({'type': 'bigint', 'counters': 2}) -}}
{% endmacro %}
