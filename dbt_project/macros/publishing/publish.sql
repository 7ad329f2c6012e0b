{#-
  Write, audit, publish. Each published model writes its rows to .staging/ when it is built; when every
  model and test of the build has passed, all that is staged goes into force at one instant. A build that
  fails leaves what was published before in force.
-#}

{% macro stage_for_publishing() %}
  {%- if execute and flags.WHICH in ['build', 'run'] and not flags.EMPTY -%}
    {%- set keys = publishing_keys(model) -%}
    {%- set path = home() ~ '/.staging/' ~ model.config.meta.publish ~ '/' ~ model.name ~ '.parquet.partial' -%}
    {%- set wrong = run_query(
        'select count(*) - count(distinct (' ~ keys | join(', ') ~ ')), count(*) filter (where ' ~ keys | join(' is null or ') ~ ' is null) from ' ~ this).rows[0] -%}
    {%- if wrong[0] or wrong[1] -%}
      {{ exceptions.raise_compiler_error(model.name ~ ' is not unique by (' ~ keys | join(', ') ~ '): ' ~ wrong[0] ~ ' rows too many, ' ~ wrong[1] ~ ' with a null key') }}
    {%- endif -%}
    {%- do run_query('copy (select * from ' ~ this ~ ' order by ' ~ keys | join(', ') ~ ') to ' ~ text(path) ~ ' (format parquet, compression zstd)') -%}
    {%- do run_query('select scalespace_keep(' ~ text(path) ~ ')') -%}
  {%- endif -%}
{% endmacro %}

{#- The columns that a row is unique by: the entity (or what the model names) and the instant. -#}
{% macro publishing_keys(node) %}
  {{ return(node.config.meta.get('keys') or [node.config.meta.get('entity', 'user') ~ '_id', 'event_timestamp']) }}
{% endmacro %}

{% macro publish_staged() %}
  {%- set views = [] -%}
  {%- for node in graph.nodes.values() -%}
    {%- if node.resource_type == 'model' and node.config.meta.get('publish') -%}
      {%- do views.append([node.config.meta.publish, node.name]) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- set said = run_query('select scalespace_publish(' ~ text(home()) ~ ', ' ~ text(tojson(views)) ~ ')').rows[0][0] -%}
  {%- do log('scalespace: published: ' ~ said, info=true) -%}
{% endmacro %}
