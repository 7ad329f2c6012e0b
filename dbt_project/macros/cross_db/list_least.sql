{#- The least element of a list. -#}
{% macro list_least(list) %}
  {{- return(adapter.dispatch('list_least', 'scalespace')(list)) -}}
{% endmacro %}

{% macro default__list_least(list) %}
  {{- return('list_min(' ~ list ~ ')') -}}
{% endmacro %}

{% macro spark__list_least(list) %}
  {{- return('array_min(' ~ list ~ ')') -}}
{% endmacro %}
