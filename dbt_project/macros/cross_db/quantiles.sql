{#-
  An aggregate: the values at or below which these shares of all lie, as a list; each is one of the values. `expression` is
  a double.
-#}
{% macro quantiles(expression, shares) %}
  {{- return(adapter.dispatch('quantiles', 'scalespace')(expression, shares)) -}}
{% endmacro %}

{% macro default__quantiles(expression, shares) %}
  {{- return('quantile_disc(' ~ expression ~ ', [' ~ shares | join(', ') ~ '])') -}}
{% endmacro %}

{% macro spark__quantiles(expression, shares) %}
  {%- set found = [] -%}
  {%- for share in shares -%}
    {%- do found.append('percentile_disc(' ~ share ~ ') within group (order by ' ~ expression ~ ')') -%}
  {%- endfor -%}
  {{- return('array(' ~ found | join(', ') ~ ')') -}}
{% endmacro %}
