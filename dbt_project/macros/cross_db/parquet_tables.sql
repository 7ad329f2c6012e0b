{#-
  Spark's forms of the project's materializations. Each model is Parquet in the home and a table of the session over it;
  every build makes all of it.
-#}
{% materialization table, adapter='spark', supported_languages=['sql', 'python'] %}
  {%- if model.language == 'python' -%}
    {#- It reads its parents and writes its rows by itself: a model of that kind is one of few rows. -#}
    {%- set parents = {} -%}
    {%- for parent in model.depends_on.nodes -%}
      {%- set node = graph.nodes[parent] -%}
      {%- do parents.update({node.name: spark_folder(node)}) -%}
    {%- endfor -%}
    {%- set folder = spark_folder(model) -%}
    {% call statement('main') %}select 'made by Python'{% endcall %}
    {%- do step('run_python_model', [spark_absolute(flags.PROFILES_DIR) ~ '/' ~ model.original_file_path, tojson(parents), folder]) -%}
    {%- do spark_table(this, folder) -%}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
  {%- endif -%}
  {{ return(made_on_spark(compiled_code)) }}
{% endmaterialization %}

{% materialization incremental_table, adapter='spark' %}
  {{ return(made_on_spark(compiled_code)) }}
{% endmaterialization %}

{#- A reading of the log is compared with none before it, so nothing has changed; what remains is the clock. -#}
{% materialization change_log, adapter='spark' %}
  {%- set made = made_on_spark('select cast(0 as bigint) as version, * from (' ~ compiled_code ~ '\n)') -%}
  {%- if not flags.EMPTY -%}{%- do note_spark_clock() -%}{%- endif -%}
  {{ return(made) }}
{% endmaterialization %}

{% materialization incremental_parquet, adapter='spark' %}
  {%- do check_spark_contract(compiled_code) -%}
  {%- set keys = publishing_keys(model) -%}
  {%- set columns = [] -%}
  {%- for name, declared in model.columns.items() -%}
    {%- do columns.append('cast(' ~ identifier(name) ~ ' as ' ~ engine_type(declared.data_type) ~ ') as ' ~ identifier(name)) -%}
  {%- endfor -%}
  {#-
    Views lie by owner already, as their windows left them: each file is sorted, and needs no other shuffle. Labels are
    narrow, and readers take them whole: their files are in order, too.
  -#}
  {%- set order = 'order by ' if model.config.meta.publish == 'labels' else 'sort by ' -%}
  {%- set made = made_on_spark('select ' ~ columns | join(', ') ~ ' from (' ~ compiled_code ~ '\n) ' ~ order ~ keys | join(', ')) -%}
  {%- do check_keys(this, keys) -%}
  {{ return(made) }}
{% endmaterialization %}

{% macro made_on_spark(rows) %}
  {{ run_hooks(pre_hooks) }}
  {%- set folder = spark_folder(model) -%}
  {% call statement('main') %}
    insert overwrite directory {{ text(folder) }} using parquet
    {{ rows }}
  {% endcall %}
  {%- do spark_table(this, folder) -%}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmacro %}

{#- Where a model's Parquet files lie. -#}
{% macro spark_folder(node) %}
  {{- return(home() ~ '/spark/' ~ (node.config.meta.get('publish') or 'tables') ~ '/' ~ node.name ~ '.parquet') -}}
{% endmacro %}

{#- Name a folder of Parquet files as a table of the session. -#}
{% macro spark_table(name, folder) %}
  {%- set relation = name if name is not string else api.Relation.create(schema=target.schema, identifier=name) -%}
  {%- do run_query('drop table if exists ' ~ relation) -%}
  {%- do run_query('create table ' ~ relation ~ ' using parquet location ' ~ text(folder)) -%}
{% endmacro %}

{#- The contract: the names, in any order, and the types of what a model selects. -#}
{% macro check_spark_contract(sql) %}
  {%- set found = {} -%}
  {%- for row in run_query('describe query ' ~ sql).rows -%}{%- do found.update({row[0]: row[1]}) -%}{%- endfor -%}
  {%- set problems = [] -%}
  {%- for name, declared in model.columns.items() -%}
    {%- set wanted = engine_type(declared.data_type) -%}
    {%- if name not in found -%}{%- do problems.append(name ~ ' is missing') -%}
    {%- elif found[name] != wanted and not (found[name] == 'timestamp' and wanted == 'timestamp_ntz') -%}{%- do problems.append(name ~ ' is ' ~ found[name] ~ ' and not ' ~ wanted) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- for name in found if name not in model.columns -%}{%- do problems.append(name ~ ' is not declared') -%}{%- endfor -%}
  {%- if problems -%}
    {{ exceptions.raise_compiler_error(model.name ~ ' breaks its contract: ' ~ problems | join(', ')) }}
  {%- endif -%}
{% endmacro %}
