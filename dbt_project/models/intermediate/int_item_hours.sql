-- Grain: one closed UTC hour in which one user did something with one item, by its end.
{{ config(meta={'update_by': 'item', 'update_rows': 'history'}) }}

with hours as (
    select
        item_id,
        user_id,
        {{ end_of_hour('event_timestamp') }} as event_timestamp
        {%- for measure in item_measures() %},
        {{ measure.increment }} as {{ measure.name }}
        {%- endfor %}
    from {{ of_touched(ref('int_events'), 'item_id') }}
    where item_id is not null
    group by item_id, user_id, {{ end_of_hour('event_timestamp') }}
)

select
    *,
    -- Distance to the hour before and after in which the user did something with the item.
    {{ reappearance_distances(reappearing_things('item_activity'), 'item_id', 'event_timestamp') | trim }}
from hours
