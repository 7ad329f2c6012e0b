{#-
  A published model: a Parquet file, sorted by its keys, and a view of the warehouse over it, by which other models and
  tests read it. It is kept up to date: rows of what was touched are made again, the rest of the file is taken over.

  The file lies in .built/ until the build publishes it. It gets a new name whenever it changes, and the view and the
  note of its version change in one transaction: a killed build leaves the old file in use, or the new one.
-#}
{% materialization incremental_parquet, adapter='duckdb' %}
  {%- set scope = update_scope() -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='view') -%}
  {%- set keys = publishing_keys(model) -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- do get_assert_columns_equivalent(compiled_code) -%}

  {%- set file = scope.file -%}
  {%- set parts = user_parts(compiled_code) if scope.whole and not scope.unchanged else [] -%}
  {% call statement('main') -%}
    {%- if scope.unchanged -%}
      select 'nothing was touched'
    {%- elif parts -%}
      select {{ text(write_parts(get_select_subquery(compiled_code), parts, scope, keys)) }}
    {%- elif scope.whole -%}
      {{ write_rows(get_select_subquery(compiled_code), scope, keys, built_file(scope) ~ '.partial') }}
    {%- else -%}
      create or replace temporary table {{ changed_rows() }} as {{ get_select_subquery(compiled_code) }}
    {%- endif -%}
  {%- endcall %}
  {%- if parts -%}
    {%- set file = built_file(scope) -%}
  {%- elif scope.whole and not scope.unchanged -%}
    {%- set file = built_file(scope) -%}
    {%- do run_query('select scalespace_keep(' ~ text(file ~ '.partial') ~ ')') -%}
  {%- elif not scope.unchanged -%}
    {%- do check_keys(changed_rows(), keys, touched(update_entity(model) ~ '_id')) -%}
    {%- set file = merge_changed_rows(scope, keys) -%}
    {%- do run_query('drop table ' ~ changed_rows()) -%}
  {%- endif -%}
  {%- if file != scope.file -%}
    {%- if existing is not none and not existing.is_view -%}{%- do adapter.drop_relation(existing) -%}{%- endif -%}
    {%- do run_query('create or replace view ' ~ target ~ ' as select * from read_parquet(' ~ text(file) ~ ')') -%}
    {%- if scope.whole -%}{%- do check_keys(target, keys) -%}{%- endif -%}
  {%- endif -%}
  {%- do note_applied(scope, file) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{#- The columns that a row is unique by: the entity (or what the model names) and the instant. -#}
{% macro publishing_keys(node) %}
  {{ return(node.config.meta.get('keys') or [node.config.meta.get('entity', 'user') ~ '_id', 'event_timestamp']) }}
{% endmacro %}

{#- A name that no file had before. -#}
{% macro built_file(scope) %}
  {%- if not scope.built_file -%}
    {%- do scope.update({'built_file': home() ~ '/.built/' ~ model.config.meta.publish ~ '/' ~ model.name ~ '.' ~ run_query("select nextval('state.note_ids')").rows[0][0] ~ '.parquet'}) -%}
  {%- endif -%}
  {{ return(scope.built_file) }}
{% endmacro %}

{% macro changed_rows() %}
  {{ return(identifier(model.name ~ '__changed')) }}
{% endmacro %}

{#- COPY rows, sorted, to a file. -#}
{% macro write_rows(rows, scope, keys, file) %}
  {%- set order = '' if scope.whole and model.config.meta.get('sorts_narrow') else ' order by ' ~ file_order(keys) -%}
  {{- return('copy (select * from (' ~ nullable(rows) ~ ')' ~ order
      ~ ') to ' ~ text(file) ~ ' (format parquet, compression zstd, row_group_size ' ~ rows_of_a_group() ~ ')') -}}
{% endmacro %}

{#-
  A changed row costs the decoding and writing of its row group. DuckDB's own size is six times this; the smaller groups
  take no more time to write and read, and no more room.
-#}
{% macro rows_of_a_group() %}
  {{- return(20480) -}}
{% endmacro %}

{#- Write the model's next file part by part, and return its name. -#}
{% macro write_parts(rows, parts, scope, keys) %}
  {%- set file = built_file(scope) -%}
  {%- set written = [] -%}
  {%- for part in parts -%}
    {%- do written.append(file ~ '.' ~ loop.index ~ '.partial') -%}
    {%- do run_query(write_rows(rows | replace(any_user(), part), scope, keys, written[-1])) -%}
  {%- endfor -%}
  {%- set files = [] -%}
  {%- for name in written -%}{%- do files.append({'file': name}) -%}{%- endfor -%}
  {%- do run_query('select scalespace_splice(' ~ text(tojson({'parts': files, 'drop': written, 'out': file})) ~ ')') -%}
  {{ return(file) }}
{% endmacro %}

{% macro file_order(keys) %}
  {{- return((time_slices() + keys) | join(', ')) -}}
{% endmacro %}

{#-
  A relation in the order that the model's file will have, for a model that makes wide rows of narrow ones and nothing
  else afterwards: DuckDB keeps the order of what it projects, and wide rows cost more to sort. meta.sorts_narrow tells
  write_rows of it, which sorts nothing then.
-#}
{% macro in_file_order(relation) %}
  {%- set scope = update_scope() -%}
  {%- if not scope.whole or scope.code == 'none' -%}{{ return(relation) }}{%- endif -%}
  {{ return('(select * from ' ~ relation ~ ' order by ' ~ file_order(publishing_keys(model)) ~ ')') }}
{% endmacro %}

{#-
  DuckDB writes a column as required where it can tell that it holds no null, and that differs from build to build. Row
  groups of two files fit together only if both say the same: a row of nulls that never comes makes every column optional.
-#}
{% macro nullable(rows) %}
  {%- set nulls = [] -%}
  {%- for name in model.columns -%}{%- do nulls.append('null') -%}{%- endfor -%}
  {{ return('select * from (' ~ rows ~ ') union all select ' ~ nulls | join(', ') ~ ' where random() < -1') }}
{% endmacro %}

{#-
  A long file is sorted by slices of time first, so that what happens after its log's end, and what an update makes
  again, lies in few of its row groups. Short files are one slice.
-#}
{% macro time_slices() %}
  {%- set slices = [] -%}
  {%- for cut in run_query('select cut from state.time_slices order by cut').columns[0].values() -%}
    {%- do slices.append("cast(event_timestamp > timestamp '" ~ cut ~ "' as integer)") -%}
  {%- endfor -%}
  {{ return(['(' ~ slices | join(' + ') ~ ')'] if slices else []) }}
{% endmacro %}

{#-
  Put the changed rows into the file, as a new one, and return its name. Row groups without a row to replace are taken
  over as they are; the others' rows that nothing touched are written again, with the changed ones. A row that was made
  again and is what it was keeps its computed_at.
-#}
{% macro merge_changed_rows(scope, keys) %}
  {%- set owner = update_entity(model) ~ '_id' -%}
  {%- set old = 'read_parquet(' ~ text(scope.file) ~ ', file_row_number = true)' -%}
  {%- set groups = run_query(
      'with row_groups as (select row_group_id, row_group_num_rows as row_count, coalesce(sum(row_group_num_rows) over (order by row_group_id rows between unbounded preceding and 1 preceding), 0) as first_row'
      ~ ' from (select distinct row_group_id, row_group_num_rows from parquet_metadata(' ~ text(scope.file) ~ ') where row_group_id is not null)),'
      ~ ' replaced as (select rows.file_row_number from ' ~ old ~ ' as rows join ' ~ touched(owner) ~ ' as touched on rows.' ~ owner ~ ' = touched.' ~ owner ~ ' and rows.event_timestamp >= touched.touched_from),'
      ~ ' opened as (select distinct row_group_id from replaced asof join row_groups on file_row_number >= first_row)'
      ~ ' select row_group_id, first_row, first_row + row_count, opened.row_group_id is not null from row_groups left join opened using (row_group_id) order by 1').rows -%}
  {%- set kept, opened = [], [] -%}
  {%- for group in groups -%}
    {#- What comes after all that the file holds goes to its last row group, which would else be one of many small ones. -#}
    {%- set is_small_end = loop.last and group[2] - group[1] < rows_of_a_group() -%}
    {%- if not group[3] and not is_small_end -%}{%- do kept.append(group[0] | int) -%}
    {%- elif opened and opened[-1][1] == group[1] -%}{%- do opened.append([opened.pop()[0], group[2]]) -%}
    {%- else -%}{%- do opened.append([group[1], group[2]]) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- set places = [] -%}
  {%- for first, end in opened -%}{%- do places.append('file_row_number >= ' ~ first ~ ' and file_row_number < ' ~ end) -%}{%- endfor -%}

  {%- set columns = [] -%}
  {%- for name in model.columns -%}{%- do columns.append(identifier(name)) -%}{%- endfor -%}
  {%- set values = [] -%}
  {%- for name in model.columns if name not in keys + ['computed_at'] -%}{%- do values.append(identifier(name)) -%}{%- endfor -%}
  {%- set rows -%}
    with opened as (
        select rows.*, touched.{{ owner }} is not null as is_replaced
        from {{ old }} as rows
        left join {{ touched(owner) }} as touched
            on rows.{{ owner }} = touched.{{ owner }} and rows.event_timestamp >= touched.touched_from
        where {{ '(' ~ places | join(') or (') ~ ')' if places else 'false' }}
    )
    select {{ columns | join(', ') }} from opened where not is_replaced
    union all
    select
        {%- for name in columns %}
        {%- if name == '"computed_at"' %}
        case when replaced.is_replaced and ({% for value in values %}changed.{{ value }} is not distinct from replaced.{{ value }}{{ ' and ' if not loop.last }}{% endfor %})
            then replaced.computed_at else changed.computed_at end as computed_at
        {%- else %}
        changed.{{ name }}
        {%- endif %}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ changed_rows() }} as changed
    left join (select * from opened where is_replaced) as replaced
        on {% for key in keys %}changed.{{ key }} = replaced.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
  {%- endset -%}
  {%- set file = built_file(scope) -%}
  {%- do run_query(write_rows(rows, scope, keys, file ~ '.partial')) -%}
  {%- if kept -%}
    {%- set request = tojson({'parts': [{'file': scope.file, 'keep': kept}, {'file': file ~ '.partial'}], 'drop': [file ~ '.partial'], 'out': file}) -%}
    {%- if run_query('select scalespace_splice(' ~ text(request) ~ ')').rows[0][0] -%}
      {{ return(file) }}
    {%- endif -%}
    {{ exceptions.raise_compiler_error(model.name ~ ': its file has other columns than before: run with --full-refresh') }}
  {%- endif -%}
  {%- do run_query('select scalespace_keep(' ~ text(file ~ '.partial') ~ ')') -%}
  {{ return(file) }}
{% endmacro %}

{#-
  Where no test of the keys will run, as for a scale that is one file, they are checked while the model is built. Rows of
  an update by themselves: they take the place of all that their owners had from the first touched instant on, so a file
  that was unique still is, if no row lies before that instant.
-#}
{% macro check_keys(relation, keys, touched=none) %}
  {%- for node in graph.nodes.values() if flags.WHICH == 'build' and node.resource_type == 'test' and node.attached_node == model.unique_id and node.test_metadata and node.test_metadata.name == 'unique_by' -%}
    {{ return(none) }}
  {%- endfor -%}
  {%- set wrong = run_query(
      'select coalesce(sum(times - 1), 0), coalesce(sum(times) filter (where ' ~ keys | join(' is null or ') ~ ' is null), 0)'
      ~ ' from (select ' ~ keys | join(', ') ~ ', count(*) as times from ' ~ relation ~ ' group by ' ~ keys | join(', ') ~ ')').rows[0] -%}
  {%- if wrong[0] or wrong[1] -%}
    {{ exceptions.raise_compiler_error(model.name ~ ' is not unique by (' ~ keys | join(', ') ~ '): ' ~ wrong[0] ~ ' rows too many, ' ~ wrong[1] ~ ' with a null key') }}
  {%- endif -%}
  {%- if touched -%}
    {%- set owner = update_entity(model) ~ '_id' -%}
    {%- set outside = run_query(
        'select count(*) from ' ~ relation ~ ' as changed left join ' ~ touched ~ ' as touched using (' ~ owner ~ ')'
        ~ ' where touched_from is null or event_timestamp < touched_from').rows[0][0] -%}
    {%- if outside -%}
      {{ exceptions.raise_compiler_error(model.name ~ ': ' ~ outside ~ ' rows of an update lie before what was touched') }}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}
