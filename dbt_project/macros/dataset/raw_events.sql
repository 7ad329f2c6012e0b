{#-
  Select every row of the log, with the columns renamed to ours and read as what they are, and nothing
  left out. Checks the mapping against the file, so that a renamed column is one line and not a guess.
-#}
{% macro raw_events() %}
  {%- if not execute -%}
    {{ return('select 1 as file_position') }}
  {%- endif -%}
  {%- set source = log_source() -%}
  {%- set found = source.columns -%}
  {%- set given = setting('columns') -%}

  {%- set forgotten = is_forgotten(log_value(given.user_id, found, 'user_id').sql) %}

  with {{ 'every_row' if forgotten else 'log' }} as (
    {{ source.rows }}
  ){{ ',' if forgotten }}
  {%- if forgotten %}

  {#- Of a forgotten user nothing is read but that there is a row. -#}
  told_apart as (
    select *, coalesce({{ forgotten }}, false) as __log_forgotten
    from every_row as log
  ),

  log as (
    select
      __log_position,
      __log_forgotten
      {%- for name in found %},
      case when not __log_forgotten then {{ identifier(name) }} end as {{ identifier(name) }}
      {%- endfor %}
    from told_apart
  )
  {%- endif %}

  select
    log.__log_position as file_position,
    {#- What an event is called that has no id of its own; of the others it would be the dearest column to compute. -#}
    {%- set id = log_value(given.event_id, found, 'event_id') if 'event_id' in given else none -%}
    {%- set hash = 'case when nullif(' ~ text_of(id.sql, id.type) ~ ", '') is null then " ~ row_hash(found) ~ ' end' if id else row_hash(found) %}
    {{ "case when log.__log_forgotten then concat('forgotten ', " ~ text_of('log.__log_position', 'bigint') ~ ') else ' ~ hash ~ ' end' if forgotten else hash }} as row_hash,
    {%- for name in ['event_id', 'user_id', 'item_id', 'category_id', 'location'] %}
    {%- set value = log_value(given[name], found, name) if name in given else none %}
    {{ 'nullif(' ~ text_of(value.sql, value.type) ~ ", '')" if value else 'cast(null as string)' }} as {{ name }},
    {%- endfor %}
    {%- set action = log_value(given.action_type, found, 'action_type') %}
    {{ text_of(action.sql, action.type) }} as raw_action_type,
    {%- set timestamp = log_value(given.event_timestamp, found, 'event_timestamp') %}
    {{ text_of(timestamp.sql, timestamp.type) }} as raw_event_timestamp,
    {{ parse_timestamp(timestamp.sql, timestamp.type, 'columns.event_timestamp') }} as event_timestamp,
    {%- if 'ingested_at' in given %}
    {%- set ingested = log_value(given.ingested_at, found, 'ingested_at') %}
    {{ parse_timestamp(ingested.sql, ingested.type, 'columns.ingested_at') }} as ingested_at,
    {%- else %}
    cast(null as timestamp) as ingested_at,
    {%- endif %}
    {%- if 'duration_ms' in given %}
    {%- set duration = log_value(given.duration_ms, found, 'duration_ms') %}
    {{ whole_number(duration.sql, duration.type) }} as raw_duration_ms
    {%- else %}
    cast(null as bigint) as raw_duration_ms
    {%- endif %}
    {%- if setting('item_text') is not none %},
    nullif(trim(cast({{ log_value(setting('item_text'), found, 'item_text').sql }} as varchar)), '') as item_text
    {%- endif %}
    {#- Measures are arithmetic: the columns that their expressions name are numbers there. -#}
    {%- for name, spec in mapping_setting('measures').items() %},
    cast(round(cast({{ measure_sql(name, spec.sql, found) }} as decimal(38, 6)), {{ measures()[name] }}) * {{ 10 ** measures()[name] }} as bigint) as {{ measure_column(name) }}
    {%- endfor %}
    {%- for tie in tie_order() %}{% if tie.column != 'file_position' %},
    {{ log_value(tie.column, found, 'tie_order') .sql }} as {{ tie.name }}
    {%- endif %}{%- endfor %}
  from log
{% endmacro %}

{#- What to do where the log has not the columns that the dataset file speaks of. -#}
{% macro correction(found) %}
  {#- A header that was read as one column has its fields divided by something else. -#}
  {%- if found | length == 1 and not log_is_parquet() -%}
    {%- for delimiter in [';', '\t', '|'] if delimiter in (found.keys() | first) -%}
      {%- set shown = delimiter | replace('\t', '\\t') -%}
      {{ return("where '" ~ shown ~ "' divides the fields, set csv: {delimiter: \"" ~ shown ~ '"}') }}
    {%- endfor -%}
  {%- endif -%}
  {{ return('correct the dataset file') }}
{% endmacro %}

{#- One entry of `columns`: the name of a column of the log, or {sql: expression over its columns}. -#}
{% macro log_value(entry, found, what) %}
  {%- if entry is mapping -%}
    {%- set sql = entry.get('sql') -%}
    {%- if not sql -%}{{ bad_input('dataset ' ~ setting('dataset') ~ ': columns.' ~ what ~ ' must be a column name or {sql: ...}') }}{%- endif -%}
    {%- do check_expression('columns.' ~ what, sql, found) -%}
    {%- set type = run_query('select typeof(' ~ sql ~ ') from (select ' ~ null_columns(found) ~ ')').rows[0][0] -%}
    {{ return({'sql': '(' ~ sql ~ ')', 'type': type}) }}
  {%- endif -%}
  {%- for name in found -%}
    {%- if name | lower == entry | string | lower -%}
      {{ return({'sql': 'log.' ~ identifier(name), 'type': found[name]}) }}
    {%- endif -%}
  {%- endfor -%}
  {{ bad_input(setting('events_path') ~ ": no column '" ~ entry ~ "' (the dataset file names it for " ~ what ~ '); it has ' ~ found.keys() | join(', ') ~ ': ' ~ correction(found)) }}
{% endmacro %}

{#- An expression that the engine refuses is one line here; inside the model it would be twenty. -#}
{% macro check_expression(what, sql, found) %}
  {%- set query = 'select ' ~ sql ~ ' from (select ' ~ null_columns(found) ~ ') as log' -%}
  {%- set problem = refused_query(query) -%}
  {%- if problem -%}
    {{ bad_input(setting('events_path') ~ ': ' ~ what ~ ' cannot be computed: ' ~ problem ~ ' The log has ' ~ found.keys() | join(', ') ~ ': ' ~ correction(found)) }}
  {%- endif -%}
{% endmacro %}

{% macro null_columns(found) %}
  {%- set columns = [] -%}
  {%- for name, type in found.items() -%}{%- do columns.append('cast(null as ' ~ type ~ ') as ' ~ identifier(name)) -%}{%- endfor -%}
  {{ return(columns | join(', ')) }}
{% endmacro %}

{#- A measure's expression with the log's columns in it as exact decimals: text and floats are not. -#}
{% macro measure_sql(name, sql, found) %}
  {%- set out = namespace(sql=sql) -%}
  {%- for column in found -%}
    {%- if modules.re.fullmatch('[A-Za-z_][A-Za-z0-9_]*', column) -%}
      {%- set out.sql = modules.re.sub('(?i)(?<![\\w."])' ~ column ~ '(?![\\w."(])', 'try_cast(log.' ~ identifier(column) ~ ' as decimal(19, 6))', out.sql) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- do check_expression('measures.' ~ name, out.sql, found) -%}
  {{ return(out.sql) }}
{% endmacro %}

{#- Inside, a measure is an integer of its smallest unit. -#}
{% macro measure_column(name) %}
  {{ return(identifier('measure_' ~ name)) }}
{% endmacro %}

{#- `tie_order` as a list of {column, name, direction}. -#}
{% macro tie_order() %}
  {%- set entries = [] -%}
  {%- for given in list_setting('tie_order') -%}
    {%- set words = (given | string).split() -%}
    {%- set direction = words[-1] | lower if words | length > 1 else 'asc' -%}
    {%- if words | length > 2 or direction not in ['asc', 'desc'] -%}
      {{ bad_input('dataset ' ~ setting('dataset') ~ ": tie_order entry '" ~ given ~ "': write a column, then asc or desc") }}
    {%- endif -%}
    {%- set column = words[0] -%}
    {%- do entries.append({'column': column, 'direction': direction,
        'name': 'file_position' if column == 'file_position' else 'tie_' ~ loop.index}) -%}
  {%- endfor -%}
  {{ return(entries) }}
{% endmacro %}

{#- The order of a user's events (semantics: event_timestamp, tie_order, event_id). -#}
{% macro total_order() %}
  {%- set terms = ['event_timestamp'] -%}
  {%- for tie in tie_order() -%}
    {#- CSV is read as text, and there 10 comes after 9 all the same. -#}
    {%- if tie.column != 'file_position' and not log_is_parquet() -%}
      {%- do terms.append('try_cast(' ~ tie.name ~ ' as double) ' ~ tie.direction ~ ' nulls last') -%}
    {%- endif -%}
    {%- do terms.append(tie.name ~ ' ' ~ tie.direction ~ ' nulls last') -%}
  {%- endfor -%}
  {{ return((terms + ['event_id']) | join(', ')) }}
{% endmacro %}
