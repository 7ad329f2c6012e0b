-- Grain: one state of one user: each event, and `leave` at the close of each session.
{{ config(meta={'update_by': 'user', 'update_rows': 'history'}) }}

{%- set leave = actions() | length %}
{%- set size = states() | length %}
{%- set closes_at = add_us('event_timestamp', session_gap_us()) %}

with log as (
    select * from {{ until_now(ref('int_events')) if is_streaming() else of_touched(ref('int_events')) }}
),

events as (
    select
        user_id,
        event_timestamp,
        event_position,
        action_index as state_index,
        false as is_leave,
        ends_instant
        {%- if is_streaming() %},
        starts_instant,
        -- The state before an event is the event before it, or the leave of the session before: no need to put them in order.
        case
            when event_position > 1 {{ 'and starts_instant' if not setting('count_simultaneous', false) }}
                then case when starts_session then {{ leave }} else previous_action_index end * {{ size }} + action_index
        end as transition,
        windows_left
        {%- endif %}
    from log
),

leaves as (
    -- A leave happens session_gap after the last event. No event can share its instant: it would belong to the session.
    select
        user_id,
        {{ closes_at }} as event_timestamp,
        event_position,
        {{ leave }} as state_index,
        true as is_leave,
        true as ends_instant
        {%- if is_streaming() %},
        true as starts_instant,
        action_index * {{ size }} + {{ leave }} as transition,
        {{ windows_left(closes_at) }} as windows_left
        {%- endif %}
    from log
    where ends_session {{ 'and ' ~ closes_at ~ ' <= touched_until' if is_streaming() }}
),

states as (
    select * from events
    union all
    select * from leaves
)
{%- if is_streaming() %}

select * from states
{%- else %},

with_previous as (
    select
        *,
        lag(state_index) over in_order as previous_state_index,
        lag(event_timestamp) over in_order as previous_state_at
    from states
    window in_order as (partition by user_id order by event_position, is_leave)
)

select
    user_id,
    event_timestamp,
    event_position,
    is_leave,
    ends_instant,
    state_index,
    previous_state_at is distinct from event_timestamp as starts_instant,
    -- Row-major cell of the pair (previous state -> this one); null where there is none.
    case
        when previous_state_index is not null
        {%- if not setting('count_simultaneous', false) %}
            and previous_state_at < event_timestamp
        {%- endif %}
            then previous_state_index * {{ size }} + state_index
    end as transition
from with_previous
{%- endif %}
