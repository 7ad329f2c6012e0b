-- Grain: one instant of one user with an event.
{{ config(meta={'family': 'user_sequence'}) }}

{#- Arrays hold no null on the way through a feature store, so what is missing has a value that no event can have. -#}
{%- set arrays = {
    'sequence_actions': 'action_type',
    'sequence_items': "coalesce(item_id, '')",
    'sequence_categories': "coalesce(category_id, '')",
    'sequence_gaps_ms': 'coalesce(event_gap_ms, -1)',
    'sequence_durations_ms': 'coalesce(duration_ms, -1)',
    'sequence_hours': 'hour',
} %}
with sequences as (
    select
        user_id,
        event_timestamp,
        ends_instant
        {%- for name, value in arrays.items() %},
        list({{ value }}) over last_50 as {{ name }}
        {%- endfor %}
    from {{ ref('int_events') }}
    window last_50 as (partition by user_id order by event_position rows between 49 preceding and current row)
)

select * exclude (ends_instant)
from sequences
where ends_instant
