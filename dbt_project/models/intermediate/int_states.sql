-- Grain: one state of one user: each event, and `leave` at the close of each session.
{{ config(meta={'update_by': 'user', 'update_rows': 'history'}) }}

{%- set leave = actions() | length %}
{%- set size = states() | length %}
{%- if is_streaming() %}

-- The state before an event is the event before it, or the leave of the session before: no need to put them in order.
with log as (
    select * from {{ until_now(ref('int_events')) }}
),

events as (
    select
        user_id,
        event_timestamp,
        event_position,
        false as is_leave,
        ends_instant,
        action_index as state_index,
        starts_instant,
        case
            when event_position > 1 {{ 'and starts_instant' if not setting('count_simultaneous', false) }}
                then case when starts_session then {{ leave }} else previous_action_index end * {{ size }} + action_index
        end as transition,
        windows_left
    from log
),

leaves as (
    select
        user_id,
        {{ add_us('event_timestamp', session_gap_us()) }} as event_timestamp,
        event_position,
        true as is_leave,
        true as ends_instant,
        {{ leave }} as state_index,
        true as starts_instant,
        action_index * {{ size }} + {{ leave }} as transition,
        {{ windows_left(add_us('event_timestamp', session_gap_us())) }} as windows_left
    from log
    where ends_session and {{ add_us('event_timestamp', session_gap_us()) }} <= touched_until
)

select * from events
union all
select * from leaves
{%- else %}

with log as (
    select * from {{ of_touched(ref('int_events')) }}
),

events as (
    select user_id, event_timestamp, event_position, action_index as state_index, false as is_leave, ends_instant
    from log
),

leaves as (
    -- A leave happens session_gap after the last event. No event can share its instant: it would belong to the session.
    select
        user_id,
        {{ add_us('event_timestamp', session_gap_us()) }} as event_timestamp,
        event_position,
        {{ actions() | length }} as state_index,
        true as is_leave,
        true as ends_instant
    from log
    where ends_session
),

states as (
    select * from events
    union all
    select * from leaves
),

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
            then previous_state_index * {{ states() | length }} + state_index
    end as transition
from with_previous
{%- endif %}
