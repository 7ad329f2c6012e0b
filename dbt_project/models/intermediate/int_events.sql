-- Grain: one accepted event, in its user's total order, with what the order says of it.
{{ config(meta={'update_by': 'user', 'update_rows': 'history'}) }}
{%- if not execute %}{# The order of the build, and the version. #}{% do ref('event_changes') %}{% endif %}

with ordered as (
    select
        *,
        cast(row_number() over in_order as bigint) as event_position,
        lag(event_timestamp) over in_order as previous_event_at,
        lead(event_timestamp) over in_order as next_event_at
        {%- if is_streaming() %},
        lag(action_index) over in_order as previous_action_index,
        count(*) over (partition by user_id) as events_until_now
        {%- endif %}
    from {{ until_now(ref('stg_events')) if is_streaming() else of_touched(ref('stg_events')) }}
    window in_order as (partition by user_id order by {{ total_order() }})
),

sessions as (
    select
        *,
        -- A gap of exactly session_gap still belongs to the session.
        coalesce({{ epoch_us('event_timestamp') }} - {{ epoch_us('previous_event_at') }} > {{ session_gap_us() }}, true) as starts_session,
        coalesce({{ epoch_us('next_event_at') }} - {{ epoch_us('event_timestamp') }} > {{ session_gap_us() }}, true) as ends_session,
        next_event_at is distinct from event_timestamp as ends_instant
    from ordered
),

numbered as (
    select
        *,
        -- Not count(*) filter (...): over a growing frame that costs the square of a user's history.
        cast(sum(case when starts_session then 1 else 0 end) over so_far as bigint) as session_ordinal,
        -- The last category and location that were known before this event.
        {{ last_known('category_id', 'event_position') }} over before as known_category_id,
        {{ last_known('location', 'event_position') }} over before as known_location
    from sessions
    window
        so_far as (partition by user_id order by event_position rows unbounded preceding),
        before as (
            partition by user_id order by event_position rows between unbounded preceding and 1 preceding
        )
)

select
    user_id,
    event_position,
    event_timestamp,
    event_id,
    ingested_at,
    action_type,
    action_index,
    item_id,
    category_id,
    location,
    duration_ms,
    {%- for name in measures() %}
    {{ measure_column(name) }},
    {%- endfor %}
    -- From the event before, in whole milliseconds; 0 inside one instant, null for the first event.
    {{ whole_quotient('(' ~ epoch_us('event_timestamp') ~ ' - ' ~ epoch_us('previous_event_at') ~ ')', 1000) }} as event_gap_ms,
    cast(hour(event_timestamp) as bigint) as hour,
    starts_session,
    ends_session,
    ends_instant,
    session_ordinal,
    coalesce(category_id <> known_category_id, false) as changes_category,
    coalesce(location <> known_location, false) as changes_location,
    action_type in {{ text_list(actions_of_role('conversion')) }} as is_conversion,
    {%- if is_streaming() %}
    previous_event_at is distinct from event_timestamp as starts_instant,
    previous_action_index,
    events_until_now - event_position as events_after,
    {{ windows_left() }} as windows_left
    {%- else %}
    -- Distance to the same item's (category's, day's, location's) event before and after: what counts it once in a window.
    {{ reappearance_distances(reappearing_things('user_activity') + reappearing_things('user_rhythm'), 'user_id', 'event_position') | trim }}
    {%- endif %}
from numbered
