-- Grain: one instant of one user's state sequence. Running counts of every transition, and the state now.
{{ config(meta={'update_by': 'user', 'update_rows': 'tail' if transitions_are_packed() else 'history'}) }}
{%- set cells = transition_cells() %}
{%- if transitions_are_packed() %}

with increments as (
    select
        user_id,
        event_timestamp,
        -- The state at the end of the instant.
        max_by(state_index, event_position) as state_index,
        {{- packed_increments('transitions', cells, 'transition') }}
    from {{ touched_instants(ref('int_states')) }}
    group by user_id, event_timestamp
)

{{ running_totals('increments', packed_columns('transitions', cells), kept=['state_index']) | trim }}
{%- else %}

-- Of the many possible transitions a user makes few, so only those that he ever makes are counted along his instants.
with states as (
    select * from {{ of_touched(ref('int_states')) }}
),

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
from instants
left join packed using (user_id, event_timestamp)
{%- endif %}
