{#-
  Every row of the log, with its place as `__log_position`: the file or files in their order, then what a stream has
  taken in, in the order of its arrival (see journal_values).
-#}
{% macro log_rows() %}
  {%- set reader = log_reader() -%}
  {{- log_rows_of(reader, log_columns(reader), waiting_journal()) -}}
{% endmacro %}

{#- Files of the journal that a build reads; a stream knows its own. -#}
{% macro waiting_journal() %}
  {{ return([] if is_streaming() else fromjson(step('journal_files', [home()]))) }}
{% endmacro %}

{#- In DuckDB's SQL, on every engine. found: {name: type} of the log's columns; files: the journal's. -#}
{% macro log_rows_of(reader, found, files) %}
  {%- set position = 'row_number() over (order by __log_file, file_row_number)' if log_is_parquet() else 'row_number() over ()' -%}
  {%- set columns, values = [], [] -%}
  {%- for name in found -%}
    {%- do columns.append(default__identifier(name)) -%}
    {#- Of the files alone: a stream has hashed an identifier before it went to the journal. -#}
    {%- do values.append(('scalespace_pseudonym(cast(' ~ default__identifier(name) ~ ' as varchar)) as ' if hashes_user_ids() and is_user_column(name) else '') ~ default__identifier(name)) -%}
  {%- endfor %}
    select {{ values | join(', ') }}, {{ position }} as __log_position from {{ reader }}
  {%- if files %}
    union all
    select {{ columns | join(', ') }}, __log_position
    from (
        {{ journal_values(journal_lines(files), found) }}
    )
  {%- endif %}
{% endmacro %}

{#-
  The journal's lines as rows of the log. Each holds an event's values as text under the names of the log's columns, so
  that they are read as a CSV would be; text that a typed column cannot hold is null, which is how a log of that type
  would have it. Their places come after those of any log.
-#}
{% macro journal_values(lines, found) %}
  {%- set pointers, values = [], [] -%}
  {%- for name, type in found.items() -%}
    {%- do pointers.append(default__text('/event/' ~ (name | replace('~', '~0') | replace('/', '~1')))) -%}
    {%- set value = 'event[' ~ loop.index ~ ']' -%}
    {%- do values.append((value if type == 'VARCHAR' else 'try_cast(' ~ value ~ ' as ' ~ type ~ ')') ~ ' as ' ~ default__identifier(name)) -%}
  {%- endfor -%}
        select {{ values | join(', ') }}, __log_position
        from (
            select
                json_extract_string(line, [{{ pointers | join(', ') }}]) as event,
                {{ 10 ** 12 }} + cast(json_extract_string(line, '/number') as bigint) as __log_position
            from {{ lines }}
        )
{%- endmacro %}

{#- The lines of the journal's files. Of the file that is being written the last line may still be half of one. -#}
{% macro journal_lines(files) %}
  {%- set options = "header = false, auto_detect = false, delim = chr(1), quote = '', escape = '', columns = {'line': 'VARCHAR'}, filename = '__journal_file'" -%}
  {%- set names = [] -%}
  {%- for file in files -%}{%- do names.append(default__text(file)) -%}{%- endfor -%}
  {{ return('(select line from read_csv([' ~ names | join(', ') ~ '], ' ~ options ~ ') where json_valid(line) or __journal_file <> ' ~ names[-1] ~ ')') }}
{% endmacro %}
