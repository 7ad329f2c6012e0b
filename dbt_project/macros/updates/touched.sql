{#- The keys that changed between two versions, as a relation for `from`. -#}
{% macro touched_rows(node, scope) %}
  {{- return('(select key, touched_from from ' ~ event_changes_relation() ~ ' where entity = ' ~ text(update_entity(node))
      ~ ' and version > ' ~ scope.since ~ ' and version <= ' ~ scope.version ~ ')') -}}
{% endmacro %}

{% macro event_changes_relation() %}
  {{ return(api.Relation.create(database=target.database, schema=target.schema, identifier='event_changes')) }}
{% endmacro %}

{#- Whether the model that is being rendered redoes only what was touched. -#}
{% macro is_update() %}
  {{ return(not update_scope().whole) }}
{% endmacro %}

{#-
  `<key>, touched_from` of what the model redoes; to be used only where is_update().
-#}
{% macro touched(key='user_id') %}
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
