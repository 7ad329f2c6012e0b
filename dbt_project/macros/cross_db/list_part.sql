{#- So many elements of a list, after the first `skipped`. -#}
{% macro list_part(list, skipped, length) %}
  {{- return(adapter.dispatch('list_part', 'scalespace')(list, skipped, length)) -}}
{% endmacro %}

{% macro default__list_part(list, skipped, length) %}
  {{- return(list ~ '[' ~ skipped ~ ' + 1 : ' ~ skipped ~ ' + ' ~ length ~ ']') -}}
{% endmacro %}

{% macro spark__list_part(list, skipped, length) %}
  {{- return('slice(' ~ list ~ ', cast(' ~ skipped ~ ' + 1 as int), ' ~ length ~ ')') -}}
{% endmacro %}
