{#-
  The log as the engine reads it: {columns, rows}. columns: {name: type} of its own columns, in the engine's words. rows: a
  query of every row of the log, with its place as `__log_position`, and of what a stream has taken in since.
-#}
{% macro log_source() %}
  {{- return(adapter.dispatch('log_source', 'scalespace')()) -}}
{% endmacro %}

{% macro default__log_source() %}
  {%- set rows = 'select * from ' ~ streaming_relation('arrivals') if is_streaming() else log_rows() -%}
  {{- return({'columns': log_columns(log_reader()), 'rows': rows}) -}}
{% endmacro %}

{#-
  Parquet it reads by itself. CSV and the journal's lines DuckDB brings into Parquet first, as text: what a quote, an
  encoding or a row that is too short means is then said in one place, and a log that outgrows a machine is not CSV.
-#}
{% macro spark__log_source() %}
  {%- set reader = log_reader() -%}
  {%- set files = waiting_journal() -%}
  {%- set log = api.Relation.create(schema=target.schema, identifier='scalespace_log') -%}
  {%- set is_staged = files or not log_is_parquet() -%}
  {%- if run_query('set spark.scalespace.log').rows[0][1] == '<undefined>' -%}
    {%- set path = step('resolve_path', [setting('events_path')]) -%}
    {%- if is_staged -%}
      {%- set path = home() ~ '/spark/log.parquet' -%}
      {%- set problem = step('stage_log', [log_rows_of(reader, fromjson(step('duckdb_columns', [reader])), files), path]) -%}
      {%- if problem -%}{{ bad_input(step('unreadable', [setting('events_path'), problem])) }}{%- endif -%}
    {%- endif -%}
    {#- A view would hide which file a row is from. -#}
    {%- do run_query('drop table if exists ' ~ log) -%}
    {%- do run_query('create table ' ~ log ~ ' using parquet options (path ' ~ text(path) ~ ", mergeSchema 'true')") -%}
    {%- do run_query('set spark.scalespace.log=known') -%}
  {%- endif -%}
  {%- set columns, names = {}, [] -%}
  {%- for row in run_query('describe query select * from ' ~ log).rows if row[0] != '__log_position' -%}
    {%- do columns.update({row[0]: row[1]}) -%}
    {%- do names.append('scalespace_log.' ~ identifier(row[0])) -%}
  {%- endfor -%}
  {%- if is_staged -%}
    {%- set rows = 'select ' ~ names | join(', ') ~ ', __log_position from ' ~ log ~ ' as scalespace_log' -%}
  {%- else -%}
    {#- By file, then by row: the rows of a file need no sort, and its first place is that of all before it. -#}
    {%- set rows -%}
    select {{ names | join(', ') }}, first_place + scalespace_log._metadata.row_index as __log_position
    from {{ log }} as scalespace_log
    join (
        select file, 1 + coalesce(sum(row_count) over (order by file rows between unbounded preceding and 1 preceding), 0) as first_place
        from (select _metadata.file_path as file, count(*) as row_count from {{ log }} group by _metadata.file_path)
    ) on scalespace_log._metadata.file_path = file
    {%- endset -%}
  {%- endif -%}
  {{- return({'columns': columns, 'rows': rows}) -}}
{% endmacro %}
