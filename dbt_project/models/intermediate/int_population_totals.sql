-- Grain: one state and closed UTC day, by its end, on which somebody went on from it, and the log's first day.
-- Running counts of the states that came next, up to and including that day.
{{ config(meta=population_updates({})) }}
{%- set size = states() | length %}
{%- set counts = [] %}
{%- for state in states() %}{% do counts.append('cast(sum(to_' ~ loop.index0 ~ ') over so_far as bigint)') %}{% endfor %}
{%- if releases_privately() %}
-- depends_on: {{ ref('privacy_ledger') }}
with per_day as (
    select
        transition // {{ size }} as state_index,
        event_timestamp
        {%- for state in states() %},
        sum(transition_count) filter (where transition % {{ size }} = {{ loop.index0 }}) as to_{{ loop.index0 }}
        {%- endfor %}
    from state.released_transitions
    group by all
)
{%- else %}
with first_day as (
    select {{ end_of_day('min(event_timestamp)') }} as event_timestamp
    from {{ ref('int_states') }}
    having count(*) > 0
),

-- On the first day every state has a row: before it there is no history, from then on there is one.
made as (
    select
        {{ whole_quotient('transition', size) }} as state_index,
        {{ end_of_day('event_timestamp') }} as event_timestamp,
        transition % {{ size }} as next_state_index
    from {{ ref('int_states') }}
    where transition is not null
    union all
    select state_index, event_timestamp, null
    from first_day, range({{ size }}) as every_state (state_index)
),

per_day as (
    select
        state_index,
        event_timestamp
        {%- for state in states() %},
        count(*) filter (where next_state_index = {{ loop.index0 }}) as to_{{ loop.index0 }}
        {%- endfor %}
    from made
    group by state_index, event_timestamp
)
{%- endif %}

select
    {{ state_name('state_index') }} as action_id,
    event_timestamp,
    {{ list_of(counts) }} as transition_counts
from per_day
window so_far as (partition by state_index order by event_timestamp rows unbounded preceding)
