-- Grain: one closed UTC hour with an event of one item, by its end. Running totals up to and including that hour.
{{ config(meta={'update_by': 'item', 'update_rows': 'tail'}) }}

with increments as (
    select
        item_id,
        event_timestamp
        {%- for measure in item_measures() %},
        sum({{ measure.name }}) as {{ measure.name }}
        {%- endfor %}
    from {{ touched_instants(ref('int_item_hours'), 'item_id') }}
    group by item_id, event_timestamp
)

{{ running_totals('increments', item_measures(), key='item_id') | trim }}
