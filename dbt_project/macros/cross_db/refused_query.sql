{#- One line that says why the engine refuses a query without tables; empty where it does not, or where it only says so by failing. -#}
{% macro refused_query(query) %}
  {{- return(adapter.dispatch('refused_query', 'scalespace')(query)) -}}
{% endmacro %}

{% macro default__refused_query(query) %}
  {{- return(step('problem_with_sql', [query])) -}}
{% endmacro %}

{% macro spark__refused_query(query) %}
  {{- return('') -}}
{% endmacro %}
