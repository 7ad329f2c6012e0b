{#- What a build remembers of the one before, made ready before the first model runs. -#}
{% macro prepare_state() %}
  {{- return(adapter.dispatch('prepare_state', 'scalespace')()) -}}
{% endmacro %}

{% macro default__prepare_state() %}
  {%- if flags.WHICH in ['build', 'run'] -%}
    {%- do create_update_state() -%}
    {%- do sweep_built_files() -%}
    {%- do point_views_at_built_files() -%}
  {%- endif -%}
{% endmacro %}

{#- The catalog lives as long as the session: what lies in the home from a build before, as where only some models are selected, is named again. -#}
{% macro spark__prepare_state() %}
  {#- A session may have seen another home, or another log. -#}
  {%- do run_query('drop schema if exists ' ~ target.schema ~ ' cascade') -%}
  {%- do run_query('create schema ' ~ target.schema) -%}
  {%- for name in ['log', 'clock'] -%}{%- do run_query('reset spark.scalespace.' ~ name) -%}{%- endfor -%}
  {%- do step('prepare', [home() ~ '/spark']) -%}
  {%- for entry in fromjson(step('spark_tables', [home()])) -%}
    {%- do spark_table(entry[0], entry[1]) -%}
  {%- endfor -%}
{% endmacro %}

{#- Forget the files that nothing needs any more, when a build has been published. -#}
{% macro sweep_state() %}
  {{- return(adapter.dispatch('sweep_state', 'scalespace')()) -}}
{% endmacro %}

{% macro default__sweep_state() %}
  {%- do sweep_built_files() -%}
{% endmacro %}

{% macro spark__sweep_state() %}
{% endmacro %}

{#- {name: file or folder} of every published model, as it was built last. -#}
{% macro files_built() %}
  {{- return(adapter.dispatch('files_built', 'scalespace')()) -}}
{% endmacro %}

{% macro default__files_built() %}
  {{- return(built_files()) -}}
{% endmacro %}

{% macro spark__files_built() %}
  {%- set found = {} -%}
  {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.config.meta.get('publish') -%}
    {%- do found.update({node.name: spark_folder(node)}) -%}
  {%- endfor -%}
  {{- return(found) -}}
{% endmacro %}

{#- The scope of a model where every build makes all of it: see update_scope. -#}
{% macro whole_scope() %}
  {{- return({'whole': true, 'version': 0, 'since': none, 'code': 'none', 'touched': 0, 'unchanged': false, 'file': none, 'computed_at': spark_clock()}) -}}
{% endmacro %}

{#- The log's clock, as change_log notes it: when it last learned of something; asked for once a session. -#}
{% macro spark_clock() %}
  {%- if not execute or flags.WHICH not in ['build', 'run'] or model.resource_type != 'model' -%}{{ return("timestamp '1970-01-01'") }}{%- endif -%}
  {%- set known = run_query('set spark.scalespace.clock').rows[0][1] -%}
  {{- return('timestamp_micros(' ~ (known if known != '<undefined>' else note_spark_clock()) ~ ')') -}}
{% endmacro %}

{% macro note_spark_clock() %}
  {%- set log = api.Relation.create(schema=target.schema, identifier='stg_events') -%}
  {%- set clock = run_query('select greatest(coalesce(max(unix_micros(ingested_at)), 0), 0) from ' ~ log).rows[0][0] | int -%}
  {%- do run_query('set spark.scalespace.clock=' ~ clock) -%}
  {{- return(clock) -}}
{% endmacro %}
