-- Grain: one instant of the spine. What comes first strictly after it; null where the log does not show it.
{{ config(meta={'update_by': 'user', 'reach_instant': true, 'log_end_us': session_gap_us()}) }}

with log_end as (
    select max(event_timestamp) as log_end from {{ ref('int_events') }}
),

next_states as (
    -- The first state of each instant; a leave after the log's end has not been seen.
    select user_id, event_timestamp, state_index
    from {{ touched_instants(ref('int_states')) }}, log_end
    where starts_instant and event_timestamp <= log_end
),

next_events as (
    select user_id, event_timestamp, item_id, category_id
    from {{ touched_instants(ref('int_events')) }}
    qualify row_number() over (partition by user_id, event_timestamp order by event_position) = 1
),

with_states as (
    select
        spine.user_id,
        spine.event_timestamp,
        next_states.state_index,
        next_states.event_timestamp as next_state_at
    from {{ asof_join(touched_instants(ref('spine')), 'next_states', ['spine', 'next_states'], 'user_id', 'spine.event_timestamp', compared='>', outer=true) }}
)

select
    with_states.user_id,
    with_states.event_timestamp,
    {{ state_name('with_states.state_index') }} as next_action,
    with_states.next_state_at,
    next_events.item_id as next_item_id,
    next_events.category_id as next_category_id,
    {{ whole_quotient('(' ~ epoch_us('next_events.event_timestamp') ~ ' - ' ~ epoch_us('with_states.event_timestamp') ~ ')', 1000) }} as next_gap_ms
from {{ asof_join('with_states', 'next_events', ['with_states', 'next_events'], 'user_id', 'with_states.event_timestamp', compared='>', outer=true) }}
