{#- A quoted identifier: the log's own column names may be anything. -#}
{% macro identifier(name) %}
  {{- return(adapter.dispatch('identifier', 'scalespace')(name | string)) -}}
{% endmacro %}

{% macro default__identifier(name) %}
  {{- return('"' ~ name | replace('"', '""') ~ '"') -}}
{% endmacro %}

{% macro spark__identifier(name) %}
  {{- return('`' ~ name | replace('`', '``') ~ '`') -}}
{% endmacro %}
