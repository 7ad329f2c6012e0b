-- Grain: one instant of one user. Running totals from the user's first event up to and including this instant.
with per_instant as (
    select
        user_id,
        event_timestamp,
        max(event_position) as event_position
        {%- for measure in event_measures() %},
        {{ measure.increment }} as {{ measure.name }}
        {%- endfor %}
    from {{ ref('int_events') }}
    group by user_id, event_timestamp
),

with_gaps as (
    select
        *,
        (epoch_us(event_timestamp) - epoch_us(lag(event_timestamp) over (
            partition by user_id order by event_timestamp
        ))) // 1000 as gap_ms
    from per_instant
)

select
    user_id,
    event_timestamp,
    event_position,
    gap_ms
    {%- for measure in event_measures() %},
    cast(sum({{ measure.name }}) over so_far as {{ measure.type or 'bigint' }}) as {{ measure.name }}
    {%- endfor %}
    {%- for measure in instant_measures() %},
    cast(sum({{ measure.increment }}) over so_far as {{ measure.type or 'bigint' }}) as {{ measure.name }}
    {%- endfor %}
from with_gaps
window so_far as (partition by user_id order by event_timestamp rows unbounded preceding)
