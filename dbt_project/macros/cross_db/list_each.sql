{#- A list of what an expression makes of each element, which it calls `name`. -#}
{% macro list_each(list, name, expression) %}
  {{- return(adapter.dispatch('list_each', 'scalespace')(list, name, expression)) -}}
{% endmacro %}

{% macro default__list_each(list, name, expression) %}
  {{- return('list_transform(' ~ list ~ ', lambda ' ~ name ~ ': ' ~ expression ~ ')') -}}
{% endmacro %}

{% macro spark__list_each(list, name, expression) %}
  {{- return('transform(' ~ list ~ ', ' ~ name ~ ' -> ' ~ expression ~ ')') -}}
{% endmacro %}
