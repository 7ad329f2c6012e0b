{#- Whether models are kept up to date from build to build; else every build makes all of them anew. -#}
{% macro keeps_updates() %}
  {{- return(adapter.dispatch('keeps_updates', 'scalespace')()) -}}
{% endmacro %}

{% macro default__keeps_updates() %}
  {{- return(true) -}}
{% endmacro %}

{#- A session of Spark knows nothing of the one before. -#}
{% macro spark__keeps_updates() %}
  {{- return(false) -}}
{% endmacro %}
