-- Grain: one instant of one user with an event.
{#- Of 50,000 events, the sequences of fifty have 0.25 GB, and 0.5 GB where names are long: what sorts in a gigabyte of memory and a spill file. -#}
{{ config(meta={'family': 'user_sequence', 'update_by': 'user', 'events_of_a_part': 50000}) }}

{#- Arrays hold no null on the way through a feature store, so what is missing has a value that no event can have. -#}
{%- set arrays = {
    'sequence_actions': 'action_type',
    'sequence_items': "coalesce(item_id, '')",
    'sequence_categories': "coalesce(category_id, '')",
    'sequence_locations': "coalesce(location, '')",
    'sequence_gaps_ms': 'coalesce(event_gap_ms, -1)',
    'sequence_durations_ms': 'coalesce(duration_ms, -1)',
    'sequence_hours': 'hour',
    'sequence_weekdays': 'cast(' ~ iso_weekday('events.event_timestamp') ~ ' as bigint)',
} %}
{%- if is_streaming() %}
-- Only the last sequence of each user is asked for: a window would make those of the fifty events before it as well.
with sequences as (
    select
        user_id,
        max(event_timestamp) as event_timestamp,
        true as ends_instant
        {%- for name, value in arrays.items() %},
        list({{ value }} order by event_position) as {{ name }}
        {%- endfor %}
    from {{ ref('int_events') }} as events
    where events_after < 50
    group by user_id
)
{%- else %}
{%- if is_update() %}
-- The events that the sequences from the first touched instant on can hold.
with log as (
    select events.*
    from {{ ref('int_events') }} as events
    join (
        select user_id, coalesce(min(event_position) filter (where event_timestamp >= touched_from), 0) as first_position
        from {{ of_touched(ref('int_events')) }}
        group by user_id
    ) as touched
        on events.user_id = touched.user_id and events.event_position > touched.first_position - 50
),

sequences as (
{%- else %}
with sequences as (
{%- endif %}
    select
        user_id,
        event_timestamp,
        ends_instant
        {%- for name, value in arrays.items() %},
        array_agg({{ value }}) over last_50 as {{ name }}
        {%- endfor %}
    from {{ 'log' if is_update() else of_part(ref('int_events')) }} as events
    window last_50 as (partition by user_id order by event_position rows between 49 preceding and current row)
)
{%- endif %}

select
    user_id,
    event_timestamp
    {%- for name in arrays %},
    {{ name }}
    {%- endfor %},
    {{ computed_at() }} as computed_at
from {{ touched_instants('sequences') }}
where ends_instant
