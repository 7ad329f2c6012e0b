-- Grain: one instant of one user's state sequence. Running counts of every transition, and the state now.
{{ config(meta={'update_by': 'user', 'update_rows': 'tail' if transitions_are_packed() else 'history'}) }}
{%- set cells = transition_cells() %}
{%- if transitions_are_packed() %}

with increments as (
    select
        user_id,
        {{ 'windows_left, max(event_timestamp) as ' if is_streaming() }}event_timestamp,
        -- The state at the end of the instant.
        max_by(state_index, {{ 'event_position * 2 + cast(is_leave as bigint)' if is_streaming() else 'event_position' }}) as state_index,
        {{- packed_increments('transitions', cells, 'transition') }}
    from {{ touched_instants(ref('int_states')) }}
    group by user_id, {{ 'windows_left' if is_streaming() else 'event_timestamp' }}
)

{{ running_totals('increments', packed_columns('transitions', cells), kept=['state_index']) | trim }}
{%- else %}

-- Of the many possible transitions a user makes few, so only those that he ever makes are counted along his instants.
with states as (
    select * from {{ of_touched(ref('int_states')) }}
),

{%- if is_streaming() %}
-- Of the states between two bounds of windows, the last.
instants as (
    select
        user_id,
        windows_left,
        max(event_timestamp) as event_timestamp,
        max_by(state_index, event_position * 2 + cast(is_leave as bigint)) as state_index
    from states
    group by user_id, windows_left
),

made as (
    select states.user_id, transition, instants.event_timestamp, count(*) as times
    from states
    join instants using (user_id, windows_left)
    where transition is not null
    group by states.user_id, transition, instants.event_timestamp
),
{%- else %}
instants as (
    select user_id, event_timestamp, state_index
    from states
    where ends_instant
),

made as (
    select user_id, transition, event_timestamp, count(*) as times
    from states
    where transition is not null
    group by user_id, transition, event_timestamp
),
{%- endif %}

running as (
    select
        instants.user_id,
        instants.event_timestamp,
        ever_made.transition,
        cast(sum(coalesce(made.times, 0)) over so_far as bigint) as transition_count
    from instants
    join (select distinct user_id, transition from made) as ever_made using (user_id)
    left join made
        on instants.user_id = made.user_id
        and ever_made.transition = made.transition
        and instants.event_timestamp = made.event_timestamp
    window so_far as (
        partition by instants.user_id, ever_made.transition order by instants.event_timestamp rows unbounded preceding
    )
),

packed as (
    {{- dense_lists('running', 'transition', 'transition_count', cells) }}
)

select
    instants.user_id,
    instants.event_timestamp,
    instants.state_index,
    -- A user without any transition has nothing but zeros.
    coalesce(packed.counts, cast({{ list_of([0] * cells) }} as {{ engine_type('bigint[]') }})) as transition_counts
    {%- if is_streaming() %},
    instants.windows_left,
    coalesce(lead(instants.windows_left) over (partition by instants.user_id order by instants.event_timestamp), -1) as next_windows_left
    {%- endif %}
from instants
left join packed using (user_id, event_timestamp)
{%- endif %}
