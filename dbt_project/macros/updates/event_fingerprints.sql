{#-
  The accepted events as they are compared from one reading of the log to the next: whose they are, when, and a hash
  of all that is known of them; their place among the user's events of the same instant too, unless the ids alone decide it.
-#}
{% macro event_fingerprints() %}
    select
        event_id,
        user_id,
        event_timestamp,
        item_id,
        hash(
            user_id, action_index, event_timestamp, ingested_at, item_id, category_id, location, duration_ms
            {%- for name in measures() %},
            {{ measure_column(name) }}
            {%- endfor %}
            {%- if tie_order() %},
            row_number() over (partition by user_id, event_timestamp order by {{ total_order() }})
            {%- endif %}
        ) as content
    from {{ ref('stg_events') }}
{% endmacro %}

{#- Whether there was a reading before that can be compared with this one. -#}
{% macro has_fingerprints_before() %}
  {%- if not execute or not keeps_updates() or flags.WHICH not in ['build', 'run'] or model.resource_type != 'model' -%}{{ return(false) }}{%- endif -%}
  {%- set noted = run_query("select code from state.applied where name = 'event_changes' order by note_id desc limit 1").rows -%}
  {{ return(noted | length > 0 and noted[0][0] == change_code() and load_relation(this) is not none) }}
{% endmacro %}

{#- The code that decides what a fingerprint says. -#}
{% macro change_code() %}
  {{ return(local_md5(model.raw_code ~ project_code())) }}
{% endmacro %}
