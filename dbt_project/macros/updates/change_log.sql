{#-
  The materialization of event_changes: adds what this reading of the log changed, under a new version, and keeps the
  reading's fingerprints for the next one. Both in one transaction: a change is never lost, and never told twice.
-#}
{% materialization change_log, adapter='duckdb' %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- set is_first = not has_fingerprints_before() -%}

  {%- if not is_first -%}{%- do run_query('create or replace temporary table reading as ' ~ event_fingerprints()) -%}{%- endif -%}
  {% call statement('main') -%}
    create table if not exists {{ this }} (version bigint, entity varchar, key varchar, touched_from timestamp);
    create or replace temporary table changed as {{ compiled_code }}
  {%- endcall %}

  {%- if not flags.EMPTY -%}
    {%- set changed = run_query('select count(*) from changed').rows[0][0] > 0 -%}
    {%- set before = run_query('select coalesce(max(version), 0), coalesce(max(epoch_us(computed_at)), -1) from state.versions').rows[0] -%}
    {%- set version = before[0] | int -%}
    {%- if is_first or changed -%}
      {%- set version = version + 1 -%}
      {%- if is_first -%}
        {#- Nothing before can be compared with what comes: whoever is of an earlier version is made whole. -#}
        {%- do run_query('delete from ' ~ this) -%}
        {%- do run_query('delete from state.versions') -%}
      {%- endif -%}
      {%- do run_query('insert into ' ~ this ~ ' select ' ~ version ~ ', entity, key, touched_from from changed') -%}
      {#- The log's clock: when it last learned of something. It never goes back, also where late rows do not say when they came. -#}
      {%- do run_query('insert into state.versions (version, computed_at, log_end) select ' ~ version ~ ', make_timestamp(greatest(coalesce(max(epoch_us(ingested_at)), 0), ' ~ before[1] ~ ' + 1)), max(event_timestamp) from ' ~ ref('stg_events')) -%}
      {%- do run_query('create or replace table state.event_fingerprints as ' ~ (event_fingerprints() if is_first else 'from reading')) -%}
      {%- do cut_time_slices() -%}
      {%- do forget_versions() -%}
    {%- endif -%}
    {%- do note_applied({'version': version, 'code': change_code(), 'computed_at': 'null'}) -%}
  {%- endif -%}
  {%- do run_query('drop table changed') -%}
  {%- if not is_first -%}{%- do run_query('drop table reading') -%}{%- endif -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

{#-
  Where long files are cut (see incremental_parquet): at each eighth of the events, ever finer towards the log's end, where
  late events come, and at the end, after which expiries alone lie: those an event that comes next changes.
-#}
{% macro cut_time_slices() %}
  {%- set shares = [] -%}
  {%- for eighth in range(1, 8) -%}{%- do shares.append(eighth / 8) -%}{%- endfor -%}
  {%- for parts in [16, 32, 64] -%}{%- do shares.append(1 - 1 / parts) -%}{%- endfor -%}
  {%- do run_query('create or replace table state.time_slices as select distinct unnest(list_append(quantile_disc(event_timestamp, [' ~ shares | join(', ') ~ ']), max(event_timestamp))) as cut from ' ~ ref('stg_events') ~ ' having count(*) >= 250000') -%}
{% endmacro %}

{#- Drop the versions that every model of the project has taken in. -#}
{% macro forget_versions() %}
  {%- set names = [] -%}
  {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name != 'event_changes' and update_entity(node) -%}
    {%- do names.append(node.name) -%}
  {%- endfor -%}
  {%- set oldest = run_query('select min(version) from (select version from state.applied where name in ' ~ text_list(names) ~ ' qualify row_number() over (partition by name order by note_id desc) = 1)').rows[0][0] -%}
  {%- if oldest is not none -%}
    {%- do run_query('delete from state.versions where version < ' ~ oldest) -%}
    {%- do run_query('delete from ' ~ event_changes_relation() ~ ' where version <= ' ~ oldest) -%}
  {%- endif -%}
{% endmacro %}
