{#- The sum of a list's elements, from the first to the last. `type`: bigint or double, as the list's. -#}
{% macro list_total(list, type) %}
  {{- return(adapter.dispatch('list_total', 'scalespace')(list, type)) -}}
{% endmacro %}

{% macro default__list_total(list, type) %}
  {{- return('list_sum(' ~ list ~ ')') -}}
{% endmacro %}

{% macro spark__list_total(list, type) %}
  {{- return('aggregate(' ~ list ~ ', cast(0 as ' ~ type ~ '), (total, element) -> total + element)') -}}
{% endmacro %}
