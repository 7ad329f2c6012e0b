{#- A list of expressions. -#}
{% macro list_of(expressions) %}
  {{- return(adapter.dispatch('list_of', 'scalespace')(expressions | join(', '))) -}}
{% endmacro %}

{% macro default__list_of(expressions) %}
  {{- return('[' ~ expressions ~ ']') -}}
{% endmacro %}

{% macro spark__list_of(expressions) %}
  {{- return('array(' ~ expressions ~ ')') -}}
{% endmacro %}
