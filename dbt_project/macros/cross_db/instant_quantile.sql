{#- An aggregate: the instant at or before which this share of all lie. -#}
{% macro instant_quantile(instant, share) %}
  {{- return(adapter.dispatch('instant_quantile', 'scalespace')(instant, share)) -}}
{% endmacro %}

{% macro default__instant_quantile(instant, share) %}
  {{- return('quantile_disc(' ~ instant ~ ', ' ~ share ~ ')') -}}
{% endmacro %}

{#- It has quantiles of numbers alone, and gives them as doubles: microseconds are exact until the year 2255. -#}
{% macro spark__instant_quantile(instant, share) %}
  {{- return('timestamp_micros(cast(percentile_disc(' ~ share ~ ') within group (order by unix_micros(' ~ instant ~ ')) as bigint))') -}}
{% endmacro %}
