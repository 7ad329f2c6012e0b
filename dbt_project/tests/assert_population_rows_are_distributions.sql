-- The next states of a state have probabilities that sum to 1, also over no transitions, with which each scale ends.
{%- for scale in ['1d', '7d', '30d', '90d', '365d', 'all'] %}
select action_id, event_timestamp
from (
    select *, lead(event_timestamp) over (partition by action_id order by event_timestamp) is null as is_last
    from {{ ref('action_transitions_' ~ scale) }}
)
where round({{ list_total('population_probabilities_' ~ scale, 'double') }}, 9) <> 1
    or {{ list_length('population_transition_counts_' ~ scale) }} <> {{ states() | length }}
    or {{ list_least('population_transition_counts_' ~ scale) }} < 0
    {%- if scale != 'all' %}
    or is_last and population_transition_total_{{ scale }} <> 0
    {%- endif %}
{{ 'union all' if not loop.last }}
{%- endfor %}
