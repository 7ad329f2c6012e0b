{#- What the engine calls a type of a contract: contracts have DuckDB's names, which Feast reads. -#}
{% macro engine_type(data_type) %}
  {{- return(adapter.dispatch('engine_type', 'scalespace')(data_type | lower)) -}}
{% endmacro %}

{% macro default__engine_type(data_type) %}
  {{- return(data_type) -}}
{% endmacro %}

{#- A published timestamp has no zone, so that a reader of the file sees what DuckDB would have written. -#}
{% macro spark__engine_type(data_type) %}
  {%- if data_type.endswith('[]') -%}{{ return('array<' ~ spark__engine_type(data_type[:-2]) ~ '>') }}{%- endif -%}
  {{- return({'varchar': 'string', 'timestamp': 'timestamp_ntz'}.get(data_type, data_type)) -}}
{% endmacro %}
