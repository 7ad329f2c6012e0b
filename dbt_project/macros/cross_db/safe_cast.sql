{#- dbt casts the cells of a unit test by this macro: on Spark, from JSON where a cell is an array. -#}
{% macro spark__safe_cast(field, type) %}
  {%- if field is string and type | lower is string and (type | lower).startswith('array') -%}
    {{- return("from_json('" ~ field.strip('"').strip("'") ~ "', '" ~ type ~ "')") -}}
  {%- endif -%}
  {{- return('cast(' ~ field ~ ' as ' ~ type ~ ')') -}}
{% endmacro %}
