{#- How many elements a list has. -#}
{% macro list_length(list) %}
  {{- return(adapter.dispatch('list_length', 'scalespace')(list)) -}}
{% endmacro %}

{% macro default__list_length(list) %}
  {{- return('len(' ~ list ~ ')') -}}
{% endmacro %}

{% macro spark__list_length(list) %}
  {{- return('cardinality(' ~ list ~ ')') -}}
{% endmacro %}
