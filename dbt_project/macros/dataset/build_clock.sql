{#- The instant of `known_at` as a TIMESTAMP in UTC; read in UTC where it has no offset. None where it is not set. -#}
{% macro known_at() %}
  {%- if var('known_at', none) is none -%}{{ return(none) }}{%- endif -%}
  {{ return(instant_literal(var('known_at'))) }}
{% endmacro %}

{#- The clock of the build: a build as of `known_at` had that one. A stream's goes on from batch to batch. -#}
{% macro build_clock() %}
  {%- if is_streaming() -%}{{ return('(select instant from ' ~ streaming_relation('clock') ~ ')') }}{%- endif -%}
  {{ return(known_at() or ('timestamp ' ~ text(run_started_at.strftime('%Y-%m-%d %H:%M:%S')))) }}
{% endmacro %}
