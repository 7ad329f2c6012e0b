{#-
  A table that is kept up to date: the rows of what was touched are deleted and made again.

  meta.update_by says whose changes it follows (user or item; a model without it is made whole), and meta.update_rows
  which of an owner's rows are made again: `tail`, those from the first touched instant on, or `history`, all of them.
-#}
{% materialization incremental_table, adapter='duckdb' %}
  {%- set scope = update_scope() -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='table') -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- if scope.unchanged -%}
    {% call statement('main') %}select 'nothing was touched'{% endcall %}
  {%- elif scope.whole -%}
    {%- if existing is not none and not existing.is_table -%}{%- do adapter.drop_relation(existing) -%}{%- endif -%}
    {% call statement('main') -%}
      create or replace table {{ target }} as ({{ compiled_code }}
      )
    {%- endcall %}
  {%- else -%}
    {%- set key = update_entity(model) ~ '_id' -%}
    {% call statement('main') -%}
      delete from {{ target }} using {{ touched(key) }} as touched
      where {{ target.identifier }}.{{ key }} = touched.{{ key }}
      {%- if model.config.meta.update_rows == 'tail' %} and {{ target.identifier }}.event_timestamp >= touched.touched_from{% endif %};
      insert into {{ target }} by name ({{ compiled_code }}
      )
    {%- endcall %}
  {%- endif -%}
  {%- do note_applied(scope) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}
