{#- The model user_transitions_<scale>, whole: its contract and its rows. -#}
{% macro user_transitions(scale) %}
  {{ config(
      meta={'publish': 'features', 'entity': 'user', 'family': 'user_transitions', 'scale': scale,
            'description': 'One row per user and instant at which transitions in the last ' ~ scale ~ ', or the state now, can change.'}) }}
  {%- set size = states() | length -%}
  {%- set span = 'over the user\'s whole history' if scale == 'all' else 'in the last ' ~ scale -%}
  {%- do declare_columns([
      column('transition_counts_' ~ scale, 'bigint[]', 'Transitions a to b whose second state lies ' ~ span ~ ': row-major over the actions in their declared order, then leave.'),
      column('transition_total_' ~ scale, 'bigint', 'Transitions ' ~ span ~ '.'),
      column('next_probabilities_' ~ scale, 'double[]', 'Smoothed row of the state now: (count + prior / states) / (row total + prior).'),
      column('transition_entropy_' ~ scale, 'double', 'Entropy of that row in nats.'),
    ]) -%}

with {{ window_instants(ref('int_transition_totals'), scale) | trim }},

counted as (
    select
        instants.user_id,
        instants.event_timestamp,
        now.state_index as state_index,
        {%- if scale == 'all' %}
        now.transition_counts as counts
        {%- else %}
        case
            when past.transition_counts is null then now.transition_counts
            else list_transform(list_zip(now.transition_counts, past.transition_counts), lambda pair: pair[1] - pair[2])
        end as counts
        {%- endif %}
    {{ from_window(ref('int_transition_totals'), scale) | trim }}
),

rows_now as (
    select *, counts[state_index * {{ size }} + 1 : (state_index + 1) * {{ size }}] as row_counts
    from counted
),

smoothed as (
    select
        *,
        list_transform(
            row_counts,
            lambda n: (n + {{ transition_prior() }} / cast({{ size }} as double)) / (list_sum(row_counts) + {{ transition_prior() }})
        ) as probabilities
    from rows_now
)

select
    user_id,
    event_timestamp,
    counts as transition_counts_{{ scale }},
    cast(list_sum(counts) as bigint) as transition_total_{{ scale }},
    probabilities as next_probabilities_{{ scale }},
    -list_sum(list_transform(probabilities, lambda p: p * ln(p))) as transition_entropy_{{ scale }}
from smoothed
{% endmacro %}
