{#- A value of the log, of the type that it has there, as a BIGINT; null where it is no number, rounded where it has a fraction. -#}
{% macro whole_number(value, type) %}
  {{- return(adapter.dispatch('whole_number', 'scalespace')(value, type)) -}}
{% endmacro %}

{% macro default__whole_number(value, type) %}
  {{- return('try_cast(' ~ value ~ ' as bigint)') -}}
{% endmacro %}

{#- Its cast of a text with a fraction is null, and of a number with one cuts it off. -#}
{% macro spark__whole_number(value, type) %}
  {{- return('try_cast(round(try_cast(' ~ value ~ ' as decimal(38, 18))) as bigint)' if type in ['string', 'double', 'float'] or type.startswith('decimal') else 'try_cast(' ~ value ~ ' as bigint)') -}}
{% endmacro %}
