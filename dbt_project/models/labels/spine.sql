-- Grain: one instant of one user to predict at: every event instant, and landmarks between events.
{{ config(meta={'update_by': 'user', 'log_end_us': 0}) }}

with instants as (
    select
        user_id,
        event_timestamp,
        event_position,
        lead(event_timestamp) over (partition by user_id order by event_timestamp) as next_instant
    from {{ of_touched(ref('int_user_totals')) }}
),

log_end as (
    select max(event_timestamp) as log_end from {{ ref('int_events') }}
),

landmarks as (
    -- Ever further from the last event, 2 hours times 4 ** k: a model sees idle users at every scale, and a
    -- gap of any length costs a handful of rows.
    select
        user_id,
        {{ add_us('event_timestamp', '7200000000 * cast(power(4, step) as bigint)') }} as landmark,
        event_position,
        next_instant
    from instants
    cross join range(0, 10) as steps (step)
),

all_instants as (
    select user_id, event_timestamp, false as is_landmark, event_position
    from instants
    union all
    select user_id, landmark, true, event_position
    from landmarks, log_end
    where landmark < coalesce(next_instant, timestamp '9999-01-01') and landmark <= log_end
)

select user_id, event_timestamp, is_landmark, event_position
from {{ touched_instants('all_instants') }}
