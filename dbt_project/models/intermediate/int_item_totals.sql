-- Grain: one closed UTC hour with an event of one item, by its end. Running totals up to and including that hour.
{{ config(meta=population_updates({'update_by': 'item', 'update_rows': 'tail'})) }}

with increments as (
    {%- if releases_privately() %}
    -- depends_on: {{ ref('privacy_ledger') }}
    select
        item_id,
        event_timestamp,
        sum(event_count) as item_event_count
        {%- for action in actions() %},
        sum(event_count) filter (where action_index = {{ loop.index0 }}) as item_{{ action }}_count
        {%- endfor %}
    from state.released_items
    group by item_id, event_timestamp
    {%- else %}
    select
        item_id,
        event_timestamp
        {%- for measure in item_measures() %},
        sum({{ measure.name }}) as {{ measure.name }}
        {%- endfor %}
    from {{ touched_instants(ref('int_item_hours'), 'item_id') }}
    group by item_id, event_timestamp
    {%- endif %}
)

{{ running_totals('increments', item_measures(), key='item_id') | trim }}
