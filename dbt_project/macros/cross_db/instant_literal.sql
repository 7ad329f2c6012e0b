{#- An instant of the dataset file as SQL, in UTC; read in UTC where it has no offset. -#}
{% macro instant_literal(value) %}
  {{- return(adapter.dispatch('instant_literal', 'scalespace')(value)) -}}
{% endmacro %}

{% macro default__instant_literal(value) %}
  {{- return("timezone('UTC', timestamptz " ~ text(value) ~ ')') -}}
{% endmacro %}

{% macro spark__instant_literal(value) %}
  {{- return('cast(' ~ text(value) ~ ' as timestamp)') -}}
{% endmacro %}
