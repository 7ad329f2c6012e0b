{#-
  The model action_transitions_<scale>, whole: its contract and its rows.

  A transition counts for the population from the end of the UTC day of its second state on. The population has no
  1h scale: its values change at the ends of days.
-#}
{% macro action_transitions(scale) %}
  {{ config(
      meta=dict(population_updates({}), **{'publish': 'features', 'entity': 'action', 'family': 'action_transitions', 'scale': scale,
            'description': 'One row per state and end of a UTC day at which the population\'s transitions from it in the last ' ~ scale ~ ' can change.'})) }}
  {%- do check_whole(scale, '1d', 'action_transitions') -%}
  {%- set span = window_span(scale, 'the log\'s') ~ ', of closed UTC days' -%}
  {%- do declare_columns([
      column('population_transition_counts_' ~ scale, 'bigint[]', 'Transitions of all users from this state whose second state lies ' ~ span ~ ': to the actions in their declared order, then to leave.'),
      column('population_transition_total_' ~ scale, 'bigint', 'Transitions of all users from this state ' ~ span ~ '.'),
      column('population_probabilities_' ~ scale, 'double[]', 'That row, smoothed: (count + prior / states) / (row total + prior).'),
    ], entity='action') %}

with counted as (
    {%- call window_steps(ref('int_population_totals'), scale, key='action_id') %}
        {{ not_below_zero(window_list_difference('transition_counts', scale)) }} as counts
    {%- endcall %}
)

select
    action_id,
    event_timestamp,
    counts as population_transition_counts_{{ scale }},
    cast({{ list_total('counts', 'bigint') }} as bigint) as population_transition_total_{{ scale }},
    {{ smoothed_row('counts', list_total('counts', 'bigint')) }} as population_probabilities_{{ scale }},
    {{ computed_at() }} as computed_at
from counted
{% endmacro %}
