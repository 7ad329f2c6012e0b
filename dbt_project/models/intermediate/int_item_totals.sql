-- Grain: one closed UTC hour with an event of one item, by its end. Running totals up to and including that hour.
with per_hour as (
    select
        item_id,
        event_timestamp
        {%- for measure in item_measures() %},
        sum({{ measure.name }}) as {{ measure.name }}
        {%- endfor %}
    from {{ ref('int_item_hours') }}
    group by item_id, event_timestamp
)

select
    item_id,
    event_timestamp
    {%- for measure in item_measures() %},
    cast(sum({{ measure.name }}) over so_far as bigint) as {{ measure.name }}
    {%- endfor %}
from per_hour
window so_far as (partition by item_id order by event_timestamp rows unbounded preceding)
