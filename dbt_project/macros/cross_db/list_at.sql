{#- The element of a list at a place, from 1; null where the place is null. -#}
{% macro list_at(list, place) %}
  {{- return(adapter.dispatch('list_at', 'scalespace')(list, place)) -}}
{% endmacro %}

{% macro default__list_at(list, place) %}
  {{- return(list ~ '[' ~ place ~ ']') -}}
{% endmacro %}

{% macro spark__list_at(list, place) %}
  {{- return('element_at(' ~ list ~ ', cast(' ~ place ~ ' as int))') -}}
{% endmacro %}
