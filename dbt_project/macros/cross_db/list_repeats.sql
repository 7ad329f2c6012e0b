{#- How many elements of a list, but for null, occur in it already before. -#}
{% macro list_repeats(list) %}
  {{- return(adapter.dispatch('list_repeats', 'scalespace')(list)) -}}
{% endmacro %}

{% macro default__list_repeats(list) %}
  {{- return('len(list_filter(' ~ list ~ ', lambda element: element is not null)) - list_unique(' ~ list ~ ')') -}}
{% endmacro %}

{#- Its array_agg leaves nulls out. -#}
{% macro spark__list_repeats(list) %}
  {{- return('cardinality(' ~ list ~ ') - cardinality(array_distinct(' ~ list ~ '))') -}}
{% endmacro %}
