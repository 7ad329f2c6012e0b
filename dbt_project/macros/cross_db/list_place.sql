{#- The place, from 1, of the first element that is equal to a value which the list holds; null where the list is. -#}
{% macro list_place(list, value) %}
  {{- return(adapter.dispatch('list_place', 'scalespace')(list, value)) -}}
{% endmacro %}

{% macro default__list_place(list, value) %}
  {{- return('list_position(' ~ list ~ ', ' ~ value ~ ')') -}}
{% endmacro %}

{% macro spark__list_place(list, value) %}
  {{- return('array_position(' ~ list ~ ', ' ~ value ~ ')') -}}
{% endmacro %}
