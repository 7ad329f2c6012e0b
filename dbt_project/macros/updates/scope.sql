{#-
  What a build has to do anew of one model.

  Every reading of the log in which events came, changed or went has a number, its version, and says which users and
  items it touched and from which instant on (model event_changes). Every table and file that is kept up to date says
  of which version it is and by which code it was made. So a model redoes what the versions between its own and its
  parents' touched, and is made whole where that cannot be known: for the first time, after --full-refresh or --empty,
  with other code or another dataset file, or when its file is gone. Whatever was selected, skipped, failed or killed
  before, that is right: a version is noted in the same transaction as the rows that it speaks of.
-#}

{#- Made before the first model runs. -#}
{% macro create_update_state() %}
  {%- do run_query('create schema if not exists state') -%}
  {#- One row per model and build of it; the last one holds. Appended only, so that models built side by side never conflict. -#}
  {%- do run_query('create table if not exists state.applied (name varchar, version bigint, code varchar, computed_at timestamp, file varchar, note_id bigint)') -%}
  {%- do run_query('create sequence if not exists state.note_ids') -%}
  {%- do run_query('create table if not exists state.versions (version bigint, computed_at timestamp)') -%}
  {%- do run_query('alter table state.versions add column if not exists log_end timestamp') -%}
  {%- do run_query('create table if not exists state.time_slices (cut timestamp)') -%}
  {%- do run_query('delete from state.applied where note_id not in (select max(note_id) from state.applied group by name)') -%}
{% endmacro %}

{#-
  {whole, version, code, computed_at, since, touched, unchanged, file} of the model that is being built.

  whole: make all of it. version: what it will be of. since: the version that it is of now. touched: how many keys of
  its entity have changed in between. unchanged: whether there is nothing to do. computed_at: SQL of the instant that
  rows made now carry. file: where its rows lie now. Outside of `dbt run` and `dbt build`, and in unit tests, a model is whole.
-#}
{% macro update_scope() %}
  {%- if model.update_scope -%}{{ return(model.update_scope) }}{%- endif -%}
  {%- if not keeps_updates() -%}{{ return(whole_scope()) }}{%- endif -%}
  {%- do model.update({'update_scope': find_update_scope()}) -%}
  {{ return(model.update_scope) }}
{% endmacro %}

{% macro find_update_scope() %}
  {%- set scope = {'whole': true, 'version': 0, 'since': none, 'code': 'none', 'touched': 0, 'unchanged': false, 'file': none, 'computed_at': "timestamp '1970-01-01'"} -%}
  {%- if is_streaming() -%}
    {%- do scope.update({'whole': model.config.meta.get('publish') != 'features' or not update_entity(model)}) -%}
    {{ return(scope) }}
  {%- endif -%}
  {%- if not execute or flags.WHICH not in ['build', 'run'] or model.resource_type != 'model' -%}
    {{ return(scope) }}
  {%- endif -%}
  {%- set names = [model.name] -%}
  {%- for parent in model.depends_on.nodes if parent.startswith('model.') -%}
    {%- do names.append(parent.split('.')[-1]) -%}
  {%- endfor -%}
  {%- set noted = {} -%}
  {%- for row in run_query('select name, version, code, epoch_us(computed_at), file from state.applied where name in ' ~ text_list(names) ~ ' qualify row_number() over (partition by name order by note_id desc) = 1').rows -%}
    {%- do noted.update({row[0]: {'version': row[1] | int, 'code': row[2], 'computed_us': row[3], 'file': home() ~ row[4] if row[4] else none}}) -%}
  {%- endfor -%}

  {%- set own = noted.pop(model.name, none) -%}
  {%- set codes = [model.raw_code, tojson(model.config.meta, sort_keys=true), project_code()] -%}
  {%- set versions = [] -%}
  {%- for name in noted | sort -%}
    {%- do codes.append(noted[name].code) -%}
    {%- do versions.append(noted[name].version) -%}
  {%- endfor -%}
  {%- if model.config.meta.get('whole_when_other') -%}{%- do codes.append(content_of(model.config.meta.whole_when_other)) -%}{%- endif -%}
  {%- set code = empty_code() if flags.EMPTY else local_md5(codes | join('\n')) -%}
  {%- set version = versions | min if versions else 0 -%}
  {%- do scope.update({'version': version, 'code': code}) -%}

  {%- set clock = run_query('select coalesce(max(epoch_us(computed_at)) filter (where version = ' ~ version ~ '), 0), coalesce(bool_or(version = ' ~ (own.version if own else -1) ~ '), false) from state.versions').rows[0] -%}
  {%- set known = own and clock[1] -%}
  {%- if own and own.code == code and known and not flags.FULL_REFRESH and file_exists(own.file) and is_there(own.file) -%}
    {%- do scope.update({'since': own.version, 'file': own.file}) -%}
    {%- if update_entity(model) -%}
      {%- do scope.update({'whole': false}) -%}
      {%- set touched = run_query('select count(distinct key) from ' ~ touched_rows(model, scope)).rows[0][0] if version > own.version else 0 -%}
      {%- do scope.update({'touched': touched | int}) -%}
    {%- endif -%}
    {%- do scope.update({'unchanged': not scope.touched if update_entity(model) else version == own.version}) -%}
  {%- endif -%}
  {#- Rows that other code made, or another reading, are other rows: their instant is a later one, though the log's clock stands. -#}
  {%- set computed_us = clock[0] | int -%}
  {%- if own and own.computed_us is not none -%}
    {%- set is_other = own.code not in [code, empty_code()] and not flags.EMPTY or version > own.version -%}
    {%- set computed_us = [computed_us, own.computed_us | int + (1 if is_other else 0)] | max -%}
  {%- endif -%}
  {%- do scope.update({'computed_at': 'make_timestamp(' ~ computed_us ~ ')'}) -%}
  {{ return(scope) }}
{% endmacro %}

{#- How the note of a model begins that `--empty` built: it holds nothing that could be kept up to date. -#}
{% macro empty_code() %}
  {{ return('of an empty build') }}
{% endmacro %}

{#- Whose changes a model follows: user or item; none for a model that is made whole where anything changed. -#}
{% macro update_entity(node) %}
  {{ return(node.config.meta.get('update_by')) }}
{% endmacro %}

{#- A fingerprint of a small table whose every row decides every row of a model: meta.whole_when_other names it. -#}
{% macro content_of(name) %}
  {%- set relation = api.Relation.create(database=target.database, schema=target.schema, identifier=name) -%}
  {{ return(run_query('select md5(cast(list(content order by content) as varchar)) from ' ~ relation ~ ' as content').rows[0][0] | string) }}
{% endmacro %}

{% macro file_exists(file) %}
  {{ return(file is none or run_query('select count(*) from glob(' ~ text(file) ~ ')').rows[0][0] > 0) }}
{% endmacro %}

{% macro is_there(file) %}
  {%- set relation = adapter.get_relation(this.database, this.schema, this.identifier) -%}
  {{ return(relation is not none and relation.type == ('table' if file is none else 'view')) }}
{% endmacro %}

{#- Everything outside of the models that decides their values; hashed once a build, in a mapping that all its models share. -#}
{% macro project_code() %}
  {%- if 'project_code' not in graph -%}{%- do graph.update({'project_code': hash_of_project()}) -%}{%- endif -%}
  {{ return(graph['project_code']) }}
{% endmacro %}

{#- The macros, and the dataset file but for where the log lies and what is told of it. -#}
{% macro hash_of_project() %}
  {%- set parts = [] -%}
  {%- for key, macro in ref.manifest.macros.items() | sort(attribute='0') if macro.package_name == model.package_name -%}
    {%- do parts.append(macro.macro_sql) -%}
  {%- endfor -%}
  {%- for key in dataset_keys() if key not in ['events_path', 'split', 'freshness', 'known_at', 'item_vectors'] -%}
    {%- do parts.append(key ~ '=' ~ (setting(key) | string)) -%}
  {%- endfor -%}
  {{ return(local_md5(parts | join('\n'))) }}
{% endmacro %}

{#- Note what was built, in the transaction that built it. -#}
{% macro note_applied(scope, file=none) %}
  {%- do run_query('insert into state.applied (name, version, code, computed_at, file, note_id) values (' ~ [
      text(model.name), scope.version, text(scope.code), scope.computed_at, text(file | replace(home(), '', 1)) if file else 'null', "nextval('state.note_ids')"] | join(', ') ~ ')') -%}
{% endmacro %}

{#- Delete the files in .built/ that no note speaks of any more: a killed build leaves some, and every change of a file one. -#}
{% macro sweep_built_files() %}
  {%- do run_query('select scalespace_sweep(' ~ text(home()) ~ ', ' ~ text(tojson(built_files().values() | list)) ~ ')') -%}
{% endmacro %}

{#- {name: file} of every published model, as it was built last. -#}
{% macro built_files() %}
  {%- set files = {} -%}
  {%- for row in run_query('select name, file from state.applied where file is not null qualify row_number() over (partition by name order by note_id desc) = 1').rows -%}
    {%- do files.update({row[0]: home() ~ row[1]}) -%}
  {%- endfor -%}
  {{ return(files) }}
{% endmacro %}

{#- A home that was moved or copied: its views speak of files in another place. -#}
{% macro point_views_at_built_files() %}
  {%- set views = {} -%}
  {%- for row in run_query('select view_name, sql from duckdb_views() where schema_name = ' ~ text(target.schema) ~ ' and not internal').rows -%}
    {%- do views.update({row[0]: row[1]}) -%}
  {%- endfor -%}
  {%- for name, file in built_files().items() if name in views and text(file) not in views[name] and file_exists(file) -%}
    {%- do run_query('create or replace view ' ~ api.Relation.create(database=target.database, schema=target.schema, identifier=name) ~ ' as select * from read_parquet(' ~ text(file) ~ ')') -%}
  {%- endfor -%}
{% endmacro %}
