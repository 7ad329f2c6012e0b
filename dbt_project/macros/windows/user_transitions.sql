{#- The model user_transitions_<scale>, whole: its contract and its rows. -#}
{% macro user_transitions(scale) %}
  {{ config(
      meta={'publish': 'features', 'entity': 'user', 'family': 'user_transitions', 'scale': scale,
            'description': 'One row per user and instant at which transitions in the last ' ~ scale ~ ', or the state now, can change.'}) }}
  {%- set size = states() | length -%}
  {%- set span = window_span(scale) -%}
  {%- do declare_columns([
      column('transition_counts_' ~ scale, 'bigint[]', 'Transitions a to b whose second state lies ' ~ span ~ ': row-major over the actions in their declared order, then leave.'),
      column('transition_total_' ~ scale, 'bigint', 'Transitions ' ~ span ~ '.'),
      column('next_probabilities_' ~ scale, 'double[]', 'Smoothed row of the state now: (count + prior / states) / (row total + prior).'),
      column('transition_entropy_' ~ scale, 'double', 'Entropy of that row in nats.'),
    ]) -%}

with counted as (
    {%- call window_steps(ref('int_transition_totals'), scale) %}
        now.state_index as state_index,
        {{ window_list_difference('transition_counts', scale) }} as counts
    {%- endcall %}
),

rows_now as (
    select *, counts[state_index * {{ size }} + 1 : (state_index + 1) * {{ size }}] as row_counts
    from counted
),

row_totals as (
    select *, list_sum(row_counts) as row_total
    from rows_now
),

smoothed as (
    select
        *,
        {{ smoothed_row('row_counts', 'row_total') }} as probabilities
    from row_totals
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
