{#- A value of the log, of the type that it has there, as text. -#}
{% macro text_of(value, type) %}
  {{- return(adapter.dispatch('text_of', 'scalespace')(value, type)) -}}
{% endmacro %}

{% macro default__text_of(value, type) %}
  {{- return('cast(' ~ value ~ ' as varchar)') -}}
{% endmacro %}

{#- DuckDB writes the zone of an instant, and numbers from 10^7 on and below 10^-3 without an exponent. -#}
{% macro spark__text_of(value, type) %}
  {%- if type == 'timestamp' -%}{{ return('concat(cast(' ~ value ~ " as string), '+00')") }}{%- endif -%}
  {%- if type in ['double', 'float'] -%}
    {%- set plain = 'regexp_replace(cast(cast(' ~ value ~ ' as decimal(38, 18)) as string), ' ~ text('(\\.[0-9]+?)0+$') ~ ', ' ~ text('$1') ~ ')' -%}
    {{ return('case when abs(' ~ value ~ ') >= 10000000 and abs(' ~ value ~ ') < 1e16 or abs(' ~ value ~ ') < 0.001 and abs(' ~ value ~ ') >= 0.000001 then ' ~ plain ~ ' else cast(' ~ value ~ ' as string) end') }}
  {%- endif -%}
  {{- return('cast(' ~ value ~ ' as string)') -}}
{% endmacro %}
