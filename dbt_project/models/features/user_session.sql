-- Grain: one instant of one user with an event, or at which a session closes.
{{ config(meta={'family': 'user_session', 'update_by': 'user'}) }}

{%- if is_update() %}
-- The sessions that have a step from the first touched instant on, and the one before, whose pattern they know.
with log as (
    select events.*
    from {{ ref('int_events') }} as events
    join (
        select user_id, coalesce(max(session_ordinal) filter (where event_timestamp < touched_from), 0) as last_before
        from {{ of_touched(ref('int_events')) }}
        group by user_id
    ) as touched
        on events.user_id = touched.user_id and events.session_ordinal >= touched.last_before - 1
),

so_far as (
{%- else %}
with so_far as (
{%- endif %}
    select
        user_id,
        event_timestamp,
        event_position,
        session_ordinal,
        first_value(event_timestamp) over in_session as session_started_at,
        count(*) over in_session as session_event_count,
        sum(case when is_conversion then 1 else 0 end) over in_session as session_conversion_count,
        -- The session as a whole: used only at its close, when all of it is known.
        bool_or(is_conversion) over whole_session as has_conversion,
        bool_or(action_type in {{ text_list(actions_of_role('intent')) }}) over whole_session as has_intent,
        bool_or(action_type in {{ text_list(actions_of_role('search')) }}) over whole_session as has_search,
        ends_instant,
        ends_session
    from {{ 'log' if is_update() else of_part(ref('int_events')) }}
    window
        in_session as (partition by user_id, session_ordinal order by event_position rows unbounded preceding),
        whole_session as (partition by user_id, session_ordinal)
),

closed as (
    select
        user_id,
        session_ordinal,
        case
            when has_conversion then 'conversion'
            when has_intent then 'abandoned'
            when has_search then 'search_led'
            else 'browse_only'
        end as pattern
    from so_far
    where ends_session
),

steps as (
    select
        user_id,
        event_timestamp,
        session_ordinal,
        session_started_at,
        session_event_count,
        session_conversion_count,
        true as session_is_open,
        session_ordinal - 1 as last_closed_ordinal
    from so_far
    where ends_instant
    union all
    select
        user_id,
        {{ add_us('event_timestamp', session_gap_us()) }},
        session_ordinal,
        session_started_at,
        session_event_count,
        session_conversion_count,
        false,
        session_ordinal
    from so_far
    where ends_session
)

select
    steps.user_id,
    steps.event_timestamp,
    steps.session_ordinal,
    steps.session_started_at,
    cast(steps.session_event_count as bigint) as session_event_count,
    cast(steps.session_conversion_count as bigint) as session_conversion_count,
    steps.session_is_open,
    closed.pattern as last_closed_session_pattern,
    {{ computed_at() }} as computed_at
from {{ touched_instants('steps') }} as steps
left join closed
    on steps.user_id = closed.user_id and steps.last_closed_ordinal = closed.session_ordinal
