{#- The raw log as dbt sees it: every row of the file or files, in their order, as text where it is CSV. -#}

{% macro log_is_parquet() %}
  {%- set path = setting('events_path') | string | lower -%}
  {{ return(path.endswith('.parquet') or path.endswith('.pq')) }}
{% endmacro %}

{#- A table function of DuckDB over the file or files, on every engine (see log_source). CSV is read as text, so that '007' stays '007'. -#}
{% macro log_reader() %}
  {%- set path = step('resolve_path', [setting('events_path')]) -%}
  {%- set problem = step('problem_with', [path]) -%}
  {%- if problem -%}{{ bad_input(problem) }}{%- endif -%}
  {%- if log_is_parquet() -%}
    {{ return('read_parquet(' ~ default__text(path) ~ ', union_by_name = true, filename = ' ~ default__text('__log_file') ~ ', file_row_number = true)') }}
  {%- endif -%}
  {%- set csv = mapping_setting('csv') -%}
  {%- for key in csv -%}
    {%- if key not in ['header', 'delimiter', 'names', 'quote', 'escape', 'encoding', 'skip'] -%}
      {{ bad_input('dataset ' ~ setting('dataset') ~ ': csv.' ~ key ~ ' is unknown; known are header, delimiter, names, quote, escape, encoding, skip') }}
    {%- endif -%}
  {%- endfor -%}
  {#- A row that is too short or too long stops the build with its line: padded or skipped, it would be a guess. -#}
  {%- set options = [
      'header = ' ~ csv.get('header', true) | string | lower,
      'delim = ' ~ default__text(csv.get('delimiter', ',')),
      "quote = " ~ default__text(csv.get('quote', '"')),
      "escape = " ~ default__text(csv.get('escape', '"')),
      'all_varchar = true', 'auto_detect = false'] -%}
  {%- if csv.get('encoding') -%}{%- do options.append('encoding = ' ~ default__text(csv.encoding)) -%}{%- endif -%}
  {%- if csv.get('skip') -%}{%- do options.append('skip = ' ~ csv.skip) -%}{%- endif -%}
  {%- set names = csv.get('names') or csv_header(path, csv) -%}
  {%- set typed = [] -%}
  {%- for name in names -%}{%- do typed.append(default__text(name) ~ ": 'VARCHAR'") -%}{%- endfor -%}
  {%- do options.append('columns = {' ~ typed | join(', ') ~ '}') -%}
  {{ return('read_csv(' ~ default__text(path) ~ ', ' ~ options | join(', ') ~ ')') }}
{% endmacro %}

{#- The names in the first line. Not by DuckDB's sniffer: it guesses from the data, and a row that is too long adds a column. -#}
{% macro csv_header(path, csv) %}
  {%- if csv.get('header', true) is false -%}
    {{ bad_input('dataset ' ~ setting('dataset') ~ ': a log without a header needs csv.names, the list of its columns in order') }}
  {%- endif -%}
  {%- set header = fromjson(step('csv_header', [path, tojson(csv)])) -%}
  {%- if header.problem -%}{{ bad_input(header.problem) }}{%- endif -%}
  {{ return(header.names) }}
{% endmacro %}

{#- {name: type} of the log's own columns, as DuckDB sees them. -#}
{% macro log_columns(reader) %}
  {%- set found = {} -%}
  {%- for row in run_query('describe select * from ' ~ reader).rows -%}
    {%- if row[0] not in ['__log_file', 'file_row_number'] -%}{%- do found.update({row[0]: row[1]}) -%}{%- endif -%}
  {%- endfor -%}
  {%- if hashes_user_ids() -%}
    {%- for name in found if is_user_column(name) -%}{%- do found.update({name: 'VARCHAR'}) -%}{%- endfor -%}
  {%- endif -%}
  {{ return(found) }}
{% endmacro %}
