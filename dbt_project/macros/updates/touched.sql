{#-
  The keys that changed between two versions, as a relation for `from`, each with the first instant whose row can differ.

  That is the first touched instant, unless the model's meta says that its rows look ahead: `reach_us`, by how much;
  `reach_instant`, to the owner's next instant with an event; `log_end_us`, that of every owner the rows of the last so
  many microseconds before the log's end depend on where that is.
-#}
{% macro touched_rows(node, scope) %}
  {%- if is_streaming() -%}{{ return(streaming_relation('touched')) }}{%- endif -%}
  {%- set meta = node.config.meta -%}
  {#- Not by ref(): the models that look ahead come after it, though not all of them read it. -#}
  {%- set instants = api.Relation.create(database=target.database, schema=target.schema, identifier='int_user_totals') -%}
  {%- set between = 'entity = ' ~ text(update_entity(node)) ~ ' and version > ' ~ scope.since ~ ' and version <= ' ~ scope.version -%}
  {%- set changes = '(select key, touched_from - to_microseconds(' ~ (meta.get('reach_us') or 0) ~ ') as touched_from from ' ~ event_changes_relation() ~ ' where ' ~ between ~ ')' -%}
  {%- if meta.get('reach_instant') -%}
    {%- set changes = '(select key, coalesce(event_timestamp, touched_from) as touched_from from ' ~ changes
        ~ ' as changes asof left join ' ~ instants ~ ' as totals on changes.key = totals.user_id and changes.touched_from > totals.event_timestamp)' -%}
  {%- endif -%}
  {%- if meta.get('log_end_us') is not none -%}
    {%- set changes = '(select * from ' ~ changes ~ ' union all select distinct user_id, log_end - to_microseconds(' ~ meta.log_end_us ~ ') from ' ~ instants
        ~ ', (select min(log_end) as log_end from state.versions where version between ' ~ scope.since ~ ' and ' ~ scope.version ~ ') where log_end is not null)' -%}
  {%- endif -%}
  {{- return(changes) -}}
{% endmacro %}

{% macro event_changes_relation() %}
  {{ return(api.Relation.create(database=target.database, schema=target.schema, identifier='event_changes')) }}
{% endmacro %}

{#- Whether the model that is being rendered redoes only what was touched. -#}
{% macro is_update() %}
  {{ return(not update_scope().whole) }}
{% endmacro %}

{#-
  `<key>, touched_from` of what the model redoes, in a stream with `touched_until`; to be used only where is_update().
-#}
{% macro touched(key='user_id') %}
  {#- A stream asks for no step after its clock, which stands beside each owner. -#}
  {%- if is_streaming() -%}{{- return('(select key as ' ~ key ~ ', touched_from, touched_until from ' ~ streaming_relation('touched') ~ ')') -}}{%- endif -%}
  {{- return('(select key as ' ~ key ~ ', min(touched_from) as touched_from from ' ~ touched_rows(model, update_scope()) ~ ' group by key)') -}}
{% endmacro %}

{#- Leave out of a relation the owners that nothing touched; all of it where the model is made whole. -#}
{% macro of_touched(relation, key='user_id') %}
  {%- if is_update() -%}
    {{ return('(select * from ' ~ relation ~ ' join ' ~ touched(key) ~ ' using (' ~ key ~ '))') }}
  {%- endif -%}
  {{ return(relation) }}
{% endmacro %}

{#- Of a relation, what lies at or after the owner's first touched instant; all of it where the model is made whole. -#}
{% macro touched_instants(relation, key='user_id') %}
  {%- if is_update() -%}
    {{ return('(select * from ' ~ of_touched(relation, key) ~ ' where event_timestamp >= touched_from)') }}
  {%- endif -%}
  {{ return(relation) }}
{% endmacro %}

{#- The instant that rows made now carry: see update_scope. -#}
{% macro computed_at() %}
  {{- return(update_scope().computed_at) -}}
{% endmacro %}
