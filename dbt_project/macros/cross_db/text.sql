{#- A text as a literal of SQL. -#}
{% macro text(value) %}
  {{- return(adapter.dispatch('text', 'scalespace')(value | string)) -}}
{% endmacro %}

{% macro default__text(value) %}
  {{- return("'" ~ value | replace("'", "''") ~ "'") -}}
{% endmacro %}

{#- Here a backslash in a literal begins an escape. -#}
{% macro spark__text(value) %}
  {{- return("'" ~ value | replace('\\', '\\\\') | replace("'", "\\'") ~ "'") -}}
{% endmacro %}
